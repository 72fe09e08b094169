"""`onetape bench`: the benches of the source checkout, found from where the package lies."""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import onetape.runtimes
from onetape.records import OperatorError

DESCRIPTION = """\
Measure on this machine: one bench by NAME (itch, window, columns, tape, wire and more: an unknown
name lists them), or all that are short. Each checks its answer before it prints figures. They are
part of the source checkout.
"""


def add_parser(subparsers: Any) -> None:
    """The options are the benches' own; here they are only found."""
    parser = subparsers.add_parser(
        "bench",
        help="measure this machine: itch, window, columns, tape, wire and others",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  onetape bench itch\n  onetape bench wire --rate 100000 --wait spin",
    )
    parser.add_argument("name", nargs="?", default="all", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="shorter, less exact")
    parser.add_argument("--record", action="store_true", help="append to bench/history.jsonl")
    wire = parser.add_argument_group("of wire, soak and swap")
    wire.add_argument(
        "--rate", type=int, metavar="N", help="of wire, swap, kafka: messages a second"
    )
    wire.add_argument("--wait", choices=("spin", "yield", "sleep"), help="how the node waits")
    wire.add_argument("--swaps", type=int, metavar="N", help="of swap: how many")
    wire.add_argument("--seconds", type=float, metavar="S", help="length of a slice; of soak")
    wire.add_argument(
        "--commit-every", type=float, metavar="MS", help="of wire: the journal, at most"
    )
    parser.add_argument(
        "--sizes", type=parse_sizes, metavar="MB,MB", help="of checkpoint: megabytes of state"
    )
    parser.add_argument(
        "--price", type=float, metavar="USD", help="of cluster: what a core costs an hour"
    )
    parser.add_argument("--only", metavar="WAY,WAY", help="of cluster: only these")
    parser.add_argument(
        "--messages", type=int, metavar="N", help="of cluster, kafka: the simulated day"
    )
    parser.set_defaults(run=run)


def parse_sizes(text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}; expected megabytes: 16,256,1024")
    return tuple(map(int, text.split(",")))


def run(args: argparse.Namespace) -> int:
    root = Path(onetape.runtimes.__path__[0]).resolve().parents[2]
    if not (root / "bench" / "run.py").is_file():
        raise OperatorError(
            f"the benches are part of the source checkout, and there are none in {root}/bench; "
            "clone the repository and install it with pip install -e ."
        )
    sys.path.insert(0, str(root))
    return int(import_module("bench.run").run(args))
