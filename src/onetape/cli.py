"""`onetape`: one entry point; `onetape --help` is the map."""

import argparse
import os
import sys
import traceback
from collections.abc import Collection
from importlib import import_module
from typing import Any

from onetape.native.interrupts import end_on_sigterm

DESCRIPTION = """\
onetape: low-latency stream processing for financial markets.

One tape, one compiled operator, every runtime, the same answer.
"""

EPILOG = """\
begin with
  onetape doctor                        what this machine can do, and what to mend
  onetape demo                          a simulated exchange, live in the terminal
  onetape new NAME                      a pipeline of your own, and its test
  onetape replay FILE --out out/        the standard pipeline over a recorded ITCH file
  onetape explain pipeline.py           what a pipeline is made of
`onetape COMMAND --help` says more about each.

exit status: 0 done, 1 it failed or found a difference, 2 wrong usage, 75 rows wait for who is to
have them (or a job for another), 130 cut short by Ctrl-C.
What runs until somebody ends it (run --udp, listen, exchange, relay, top) is done at Ctrl-C: 0.
"""

# What it does, as `onetape --help` has it, and what adds its options. A command's module is only
# imported when it is the one that runs; tests/test_cli.py holds the texts to those in the modules.
COMMANDS = {
    "doctor": ("what this machine can do, and what to mend", "runtimes.doctor.command:add_parser"),
    "demo": ("a simulated exchange, live in the terminal", "runtimes.demo.command:add_parser"),
    "new": ("make a folder with a pipeline and its test", "runtimes.new:add_parser"),
    "replay": (
        "run the standard pipeline over a recorded file, leave Parquet behind",
        "runtimes.replay:add_parser",
    ),
    "run": ("run a pipeline at the edge, on a tape", "runtimes.run.command:add_parser"),
    "lake": (
        "recorded input and outputs as Delta tables: write, ls, compact, retain, versions",
        "runtimes.lake.commands:add_parser",
    ),
    "batch": (
        "run a pipeline over days of a lake, on all cores, resumable",
        "runtimes.lake.batch:add_parser",
    ),
    "backfill": (
        "compute days of a lake anew, show the differences, swap them in",
        "runtimes.lake.backfill:add_parser",
    ),
    "deploy": ("put another version of a pipeline on a running node", "runtimes.deploy:add_parser"),
    "schema": (
        "show the schemas of a pipeline's outputs, check and register them",
        "runtimes.schema:add_parser",
    ),
    "top": ("watch a running node", "runtimes.top:add_parser"),
    "publish": (
        "write a recorded input into a Kafka topic, as blocks",
        "runtimes.publish:add_parser",
    ),
    "consume": (
        "print the rows that are in a Kafka topic, and their digests",
        "runtimes.consume:add_parser",
    ),
    "listen": ("print the rows that a running node sends", "runtimes.receive:add_parser"),
    "verify": (
        "check that every runtime gives the same answer on a tape",
        "runtimes.verify.command:add_parser",
    ),
    "explain": (
        "show a pipeline's graph, state, capacities and generated driver",
        "runtimes.explain:add_parser",
    ),
    "dev": ("run a pipeline again at every save, with a live view", "runtimes.dev.dev:add_parser"),
    "debug": (
        "stop in an operator, at an event of a tape, with its state",
        "runtimes.dev.debug:add_parser",
    ),
    "why": (
        "tell what led to a row: events and state changes, step by step",
        "runtimes.dev.why:add_parser",
    ),
    "cases": (
        "list the cases that rows have opened, or show one with its evidence",
        "runtimes.cases:add_parser",
    ),
    "state": (
        "show what a pipeline held at a moment of its tape: the book at 10:31:07.2",
        "runtimes.state.command:add_parser",
    ),
    "checkpoints": (
        "list the checkpoints of a tape, and check them",
        "runtimes.checkpoints:add_parser",
    ),
    "restore": (
        "make a tape's folder of the newest checkpoint in an object store",
        "runtimes.checkpoints:add_parser",
    ),
    "query": (
        "ask in SQL for what runs left behind: outputs, tapes, checkpoints",
        "runtimes.query.query:add_parser",
    ),
    "flink": (
        "make Flink's environment; look after jobs on a Flink cluster",
        "runtimes.flink.commands:add_parser",
    ),
    "tape": ("look at a recorded tape: ls, cat, verify", "tape.commands:add_tape_parser"),
    "sim": (
        "write a simulated market day (ITCH 5.0), with labelled quote stuffing",
        "sim.commands:add_parser",
    ),
    "exchange": (
        "serve a simulated or recorded day on the network (MoldUDP64)",
        "sim.venue.commands:add_parsers",
    ),
    "relay": (
        "pass datagrams on as a bad network would: lost, late, damaged, by a seed",
        "sim.venue.commands:add_parsers",
    ),
    "nats": (
        "put a recorded input into a stream of NATS, or check a stream of rows",
        "runtimes.nats_commands:add_parser",
    ),
    "spark": (
        "make the environment of Sail or Spark (run --on sail)",
        "runtimes.spark.commands:add_parser",
    ),
    "bench": (
        "measure this machine: itch, window, columns, tape, wire and others",
        "runtimes.bench:add_parser",
    ),
    "job": (
        "run a command once for a key, with retries and a record: for cron, Airflow, Argo",
        "runtimes.job.commands:add_parser",
    ),
    "completion": ("print what makes a shell complete onetape", "runtimes.completion:add_parser"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status. Errors meant for a person are one line on stderr."""
    try:
        _check_python()
        if argv is None:
            end_on_sigterm()
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("onetape: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(argv: list[str]) -> int:
    from onetape.records import OnetapeError

    ours = argv[: argv.index("--")] if "--" in argv else argv  # behind it: of another command
    words = [word for word in ours if word != "--traceback"] + argv[len(ours) :]
    parser = make_parser([word for word in words if not word.startswith("-")][:1])
    args = parser.parse_args(words)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    shows_all = "--traceback" in ours  # before the command or after it
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
    command = getattr(args, "command", "")
    if command in ("exchange", "relay"):
        return "; nothing was sent"
    if command == "run":
        if args.tape is None or not (args.tape / "manifest").exists():
            return "; nothing was begun"
        return "; what is on the tape stays: go on with the same command and --resume"
    if command in ("lake", "batch", "backfill"):
        return "; what is done stays: go on with the same command"
    if command == "publish" or (command == "nats" and "file" in args):
        return "; the blocks that are there stay: the same command writes the rest, and none twice"
    return "; no half-written file is left"


def _place(error: Exception, args: argparse.Namespace) -> str:
    """'file:line: ' in the person's own pipeline file, if the error came through it."""
    own = getattr(args, "pipeline", None)
    for step in reversed(traceback.extract_tb(error.__traceback__)):
        if own is not None and os.path.abspath(step.filename) == os.path.abspath(own):
            return f"{own}:{step.lineno}: "
    return ""


def make_parser(loaded: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of all commands, of which only those in `loaded` know their options."""
    from onetape import __version__

    parser = argparse.ArgumentParser(
        prog="onetape",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"onetape {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.set_defaults(make_parser=make_parser)  # for `completion`, which reads them all
    commands: Any = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    needed = {adder for name, (_, adder) in COMMANDS.items() if name in loaded}
    for name, (text, adder) in COMMANDS.items():
        if name in commands.choices:  # one module may add several
            continue
        if adder in needed:
            module, _, function = adder.partition(":")
            getattr(import_module(f"onetape.{module}"), function)(commands)
        else:
            commands.add_parser(name, help=text)
    return parser


def _check_python() -> None:
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        version = ".".join(str(part) for part in sys.version_info[:3])
        print(f"onetape: Python {version} is not supported; use 3.11 to 3.13", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
