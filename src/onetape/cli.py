"""`onetape`: one entry point; `onetape --help` is the map."""

import argparse
import os
import sys
import traceback
from typing import Any

DESCRIPTION = """\
onetape: low-latency stream processing for financial markets.

One tape, one compiled operator, every runtime, the same answer.
"""

EPILOG = """\
begin with
  onetape demo                          a simulated exchange, live in the terminal
  onetape replay FILE --out out/        the standard pipeline over a recorded ITCH file
  onetape explain pipeline.py           what a pipeline is made of
`onetape COMMAND --help` says more about each.

exit status: 0 done, 1 it failed or found a difference, 2 wrong usage, 130 ended by Ctrl-C
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status. Errors meant for a person are one line on stderr."""
    try:
        _check_python()
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("onetape: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(argv: list[str]) -> int:
    from onetape.records import OnetapeError

    parser = make_parser()
    args = parser.parse_args([word for word in argv if word != "--traceback"])
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    shows_all = "--traceback" in argv  # before the command or after it
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print(f"onetape: interrupted{_remains(args)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except OnetapeError as error:
        if shows_all:
            raise
        print(f"onetape: {error}", file=sys.stderr)
    except OSError as error:
        if shows_all:
            raise
        what = f"{error.filename}: " if error.filename is not None else ""
        print(f"onetape: {what}{error.strerror or error}", file=sys.stderr)
    except Exception as error:
        if shows_all:
            raise
        said = f"{_place(error, args)}{type(error).__name__}: {error}"
        first = said.splitlines()[0] if said.strip() else said
        print(f"onetape: {first} (use --traceback to see all)", file=sys.stderr)
    return 1


def _remains(args: argparse.Namespace) -> str:
    """What an interrupted command has left behind."""
    if getattr(args, "command", "") == "run":
        return "; what is on the tape stays: go on with the same command and --resume"
    return "; no half-written file is left"


def _place(error: Exception, args: argparse.Namespace) -> str:
    """'file:line: ' in the person's own pipeline file, if the error came through it."""
    own = getattr(args, "pipeline", None)
    for step in reversed(traceback.extract_tb(error.__traceback__)):
        if own is not None and os.path.abspath(step.filename) == os.path.abspath(own):
            return f"{own}:{step.lineno}: "
    return ""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each lives beside what it runs."""
    from onetape import __version__
    from onetape.runtimes import bench, demo, receive, replay, run, top, verify
    from onetape.sim import commands as sim
    from onetape.sim.venue import commands as venue
    from onetape.tape.commands import add_tape_parser

    parser = argparse.ArgumentParser(
        prog="onetape",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"onetape {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands: Any = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    demo.add_parser(commands)
    replay.add_parser(commands)
    run.add_parser(commands)
    top.add_parser(commands)
    receive.add_parser(commands)
    verify.add_parser(commands)
    run.add_explain_parser(commands)
    add_tape_parser(commands)
    sim.add_parser(commands)
    venue.add_parsers(commands)
    bench.add_parser(commands)
    return parser


def _check_python() -> None:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        version = ".".join(str(part) for part in sys.version_info[:3])
        print(f"onetape: Python {version} is not supported; use 3.11 to 3.13", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
