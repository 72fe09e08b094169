"""What `onetape verify --runtimes` takes besides."""

import argparse
from typing import Any

from onetape.engine.partition import PARTS_MAX
from onetape.records import OperatorError
from onetape.runtimes.replay import parse_date

RUNTIMES = ("edge", "batch", "flink", "sail", "spark")
DEFAULTS: dict[str, Any] = {"file": None, "date": None, "shards": 1, "skip_absent": False}


def add_runtimes_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("one recorded input through several runtimes")
    group.add_argument(
        "--runtimes",
        type=parse_runtimes,
        metavar="NAME,NAME",
        help=f"of {','.join(RUNTIMES)}: compare these",
    )
    group.add_argument(
        "--file",
        action="append",
        metavar="FILE",
        help="in place of TAPE: as `onetape run` takes it; neither: the pipeline's own tables",
    )
    group.add_argument("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date of it")
    group.add_argument(
        "--shards",
        type=int,
        default=1,
        metavar="N",
        help="divide instruments among N workers of each engine (default: %(default)s)",
    )
    group.add_argument(
        "--skip-absent", action="store_true", help="leave out engines that are not there"
    )


def parse_runtimes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in RUNTIMES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}: expected some of {','.join(RUNTIMES)}")
    if len(set(names)) != len(names) or not names:
        raise argparse.ArgumentTypeError(f"{text!r}: expected each runtime once")
    return names


def check_runtimes(args: argparse.Namespace) -> None:
    if args.tape is not None and args.file:
        raise OperatorError("give a tape, or what it was made of (--file FILE), not both")
    if args.tape is not None and not args.tape.is_dir():
        raise OperatorError(f"no such tape: {args.tape}; give a folder that `onetape run` made")
    if not 1 <= args.shards <= PARTS_MAX:
        raise OperatorError(f"--shards was {args.shards}; expected 1 to {PARTS_MAX}")


def check_no_runtimes(args: argparse.Namespace) -> None:
    """Without --runtimes there is a tape, and options of --runtimes would do nothing."""
    for name, default in DEFAULTS.items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} goes with --runtimes {','.join(RUNTIMES)}, or some")
    if args.tape is None:
        raise OperatorError("there is no tape: give the folder of one that `onetape run` made")
