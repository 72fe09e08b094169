"""`onetape checkpoints TAPE`: which there are; `onetape restore URL TAPE`: from an object store."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from onetape.connect.checkpoint_store import CheckpointStore
from onetape.records import IntegrityError
from onetape.runtimes.dev.words import time_of
from onetape.tape import checkpoint
from onetape.tape.checkpoint_manifest import folder_of, read_manifest
from onetape.tape.layout import read_facts

DESCRIPTION = """\
List the checkpoints of a tape, oldest first: the frame before which each stands, the newest event
time, the state it holds and what it wrote. Only manifests are read; --verify checks every chunk.
Exit status 1 if one is not what was written: a start passes it over for the one before it.
"""
RESTORE_DESCRIPTION = """\
Make a tape's folder of the newest checkpoint that `onetape run --checkpoints URL` has brought to
an object store and that is whole. The frames of a tape are not brought there: the folder is a tape
that begins at the checkpoint, and `onetape run ... --resume --tape TAPE` goes on from it. What came
after the checkpoint has to come from the input again: of a file it does, of a feed as far as the
venue's re-request server reaches back; the rest is a gap, and counted.
"""
RESTORE_EXAMPLES = """\
example:
  onetape restore s3://bucket/desk1 tape/
  onetape run pipeline.py --file day.itch --tape tape/ --resume
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "checkpoints",
        help="list the checkpoints of a tape, and check them",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape checkpoints tape/ --verify",
    )
    parser.add_argument("tape", type=Path, metavar="TAPE", help="folder of a tape")
    parser.add_argument("--verify", action="store_true", help="check every byte of each")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)
    restore = subparsers.add_parser(
        "restore",
        help="make a tape's folder of the newest checkpoint in an object store",
        description=RESTORE_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=RESTORE_EXAMPLES,
    )
    restore.add_argument("url", metavar="URL", help="s3://BUCKET/PREFIX, as run --checkpoints had")
    restore.add_argument("tape", type=Path, metavar="TAPE", help="a new folder")
    restore.add_argument("--json", action="store_true", help="print one JSON object")
    restore.set_defaults(run=run_restore)


def run(args: argparse.Namespace) -> int:
    read_facts(str(args.tape))  # says so where there is no tape
    found = [examine(str(args.tape), n, args.verify) for n in checkpoint.offsets(args.tape)]
    if args.json:
        print(json.dumps({"checkpoints": found, "verified": args.verify}))
    else:
        print("\n".join(lines_of(found, args.verify)))
    return 1 if any(one["problem"] for one in found) else 0


def examine(tape: str, offset: int, verify: bool) -> dict[str, Any]:
    """What is to be said of one checkpoint."""
    try:
        manifest = read_manifest(folder_of(tape), offset)
    except IntegrityError as why:
        return {"offset": offset, "problem": str(why)}
    try:
        if verify:
            checkpoint.check(tape, offset)
        problem = None
    except IntegrityError as why:
        problem = str(why)
    return {
        "offset": offset,
        "event_ns": manifest.header.get("event_ns"),
        "written_ns": manifest.written_ns,
        "state_bytes": manifest.state_bytes(),
        "new_bytes": manifest.new_bytes(),
        "problem": problem,
    }


def lines_of(found: list[dict[str, Any]], verified: bool) -> list[str]:
    """The list for a person."""
    if not found:
        return ["no checkpoints: a run makes one every 30 s (onetape run --checkpoint S)"]
    lines = [
        f"{'frame':>12}  {'event time (UTC)':29}  {'written (UTC)':19}  {'state':>9}  {'new':>9}"
    ]
    for one in found:
        if "state_bytes" in one:
            event_ns = one["event_ns"]
            lines.append(
                f"{one['offset']:>12}  {'-' if event_ns is None else time_of(event_ns):29}  "
                f"{time_of(one['written_ns'])[:19]}  {_size(one['state_bytes'])}  "
                f"{_size(one['new_bytes'])}{'  ok' if verified and not one['problem'] else ''}"
            )
        if one["problem"]:
            lines.append(f"{one['offset']:>12}  DAMAGED {one['problem']}")
    return lines


def run_restore(args: argparse.Namespace) -> int:
    manifest, problems = CheckpointStore(args.url).restore(str(args.tape))
    event_ns = manifest.header.get("event_ns")
    for problem in problems:
        said = f"{problem}; the one before frame {manifest.offset} is used"
        print(f"onetape: {said}", file=sys.stderr)
    if args.json:
        facts = {"tape": str(args.tape), "offset": manifest.offset, "event_ns": event_ns}
        facts |= {"state_bytes": manifest.state_bytes(), "damaged": problems}
        print(json.dumps(facts))
        return 0
    at = "" if event_ns is None else f", event time {time_of(event_ns)} (UTC)"
    size = _size(manifest.state_bytes()).strip()
    print(f"{args.tape} begins at frame {manifest.offset}{at}, {size} of state")
    print("go on with the command that ran, --resume, and this folder as --tape")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e6:>6.1f} MB"
