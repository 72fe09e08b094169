"""`onetape tape ls|cat|verify FOLDER`: arguments in, lines and an exit status out.

Exit status: 0 all is well; 1 the tape is not what was written; 2 there is no such tape.
"""

import argparse
import json
import sys
from typing import Any

from onetape.records.errors import IntegrityError, OperatorError
from onetape.tape import inspect

_EPILOG = """\
A tape is a folder that a recording made. Reading one is safe beside its writer: it needs no lock
and shows what is durable.

  onetape tape ls day1                          segments, frames, checkpoints, manifest
  onetape tape cat day1 --from 1000 --count 5   frames 1000 to 1004 as lines
  onetape tape cat day1 --kind manifest --json  which code read this tape, from where on
  onetape tape verify day1                      check every byte; exit status 1 if damaged
"""


def add_tape_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command `tape` to an argparse sub-parsers object."""
    tape: argparse.ArgumentParser = subparsers.add_parser(
        "tape",
        help="look at a recorded tape: ls, cat, verify",
        description="Look at a tape: what it holds, its frames, whether it is intact.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = tape.add_subparsers(dest="action", required=True, metavar="ls|cat|verify")
    for name, text in (
        ("ls", "segments, frames, durable end, checkpoints, manifest (reads headers only)"),
        ("cat", "one line for each frame"),
        ("verify", "check every durable byte, the checkpoints and the stored code"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("folder", help="the tape's folder")
        action.add_argument("--json", action="store_true", help="for programs: JSON, not prose")
    cat = actions.choices["cat"]
    cat.add_argument("--from", type=int, dest="start", metavar="OFFSET", help="first frame")
    cat.add_argument("--count", type=int, metavar="N", help="at most N frames")
    cat.add_argument(
        "--kind",
        action="append",
        choices=[*(name.lower() for name in inspect.KINDS.values() if name != "PAD"), "swap"],
        help="only frames of this kind; may be repeated. A swap is a control frame",
    )
    cat.add_argument(
        "--bytes",
        type=int,
        default=inspect.PREVIEW_BYTES,
        metavar="N",
        help="show the first N bytes of each payload (default %(default)s)",
    )
    tape.set_defaults(run=run)
    return tape


def run(args: argparse.Namespace) -> int:
    """Run a parsed `tape` command; returns the exit status."""
    try:
        return _ACTIONS[args.action](args)
    except IntegrityError as why:
        print(f"onetape tape {args.action}: {why}", file=sys.stderr)
        return 1
    except OperatorError as why:
        print(f"onetape tape {args.action}: {why}", file=sys.stderr)
        return 2


def _ls(args: argparse.Namespace) -> int:
    found = inspect.ls(args.folder)
    _show([json.dumps(found, sort_keys=True)] if args.json else inspect.ls_lines(found))
    return 0


def _cat(args: argparse.Namespace) -> int:
    kinds = None
    if args.kind:
        asked = ["control" if name == "swap" else name for name in args.kind]
        kinds = {kind for kind, name in inspect.KINDS.items() if name.lower() in asked}
    _show(
        inspect.cat(
            args.folder,
            start_offset=args.start,
            count=args.count,
            kinds=kinds,
            preview_bytes=args.bytes,
            as_json=args.json,
        )
    )
    return 0


def _verify(args: argparse.Namespace) -> int:
    found = inspect.verify(args.folder)
    _show([json.dumps(found, sort_keys=True)] if args.json else inspect.verify_lines(found))
    return 1 if found["problems"] else 0


def _show(lines: Any) -> None:
    for line in lines:
        print(line)


_ACTIONS = {"ls": _ls, "cat": _cat, "verify": _verify}
