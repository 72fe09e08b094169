"""`onetape explain`: what a pipeline is made of, and what a node holds of it now."""

import argparse
import json
from pathlib import Path
from typing import Any

from onetape.engine import explain
from onetape.engine.planner import plan
from onetape.engine.usage import line_of
from onetape.runtimes.edge import live
from onetape.runtimes.settings import add_options, load_with_settings

DESCRIPTION = """\
Show what a pipeline is made of: its nodes and what each takes, the settings and capacities they
have, the address space they reserve, the outputs and the size of a row, and with --driver the
generated code that runs it. Nothing is compiled and nothing runs. With --tape also how many keys
the node on that tape holds now (`onetape top` shows more).
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "explain",
        help="show a pipeline's graph, state, capacities and generated driver",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  onetape explain standard\n  onetape explain pipeline.py --driver",
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("--driver", action="store_true", help="print the generated driver too")
    parser.add_argument("--tape", type=Path, metavar="TAPE", help="of a running node: what it uses")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    planned = plan(load_with_settings(args))
    state = live.of_node(args.tape)["state"] if args.tape else {}
    if args.json:
        print(json.dumps(explain.explain(planned) | ({"state": state} if args.tape else {})))
        return 0
    print(explain.text(planned, driver=args.driver))
    for name, used in state.items():
        print(f"now {line_of(name, used)}")
    return 0
