"""`onetape spark setup`: the environment that `onetape run --on sail` and `--on spark` need."""

import argparse
import sys
from typing import Any

from onetape.runtimes import environments

DESCRIPTION = """\
Make the environment of an engine, apart from the one onetape runs in: Sail (no Java; 0.8 GB), or
Apache Spark (needs Java 17 or later; 1.1 GB). Versions are exact and checked by their hashes.
"""
EPILOG = """\
examples:
  onetape spark setup                   Sail
  onetape spark setup --engine spark
then:
  onetape run standard --on sail --file day.itch --out out/
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "spark",
        help="make the environment of Sail or Spark (run --on sail)",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    does = parser.add_subparsers(title="what", metavar="WHAT", required=True)
    setup = does.add_parser(
        "setup",
        help="make it, or say that it is there",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    setup.add_argument(
        "--engine", choices=("sail", "spark"), default="sail", help="(default: %(default)s)"
    )
    setup.add_argument(
        "--python", default=sys.executable, metavar="PATH", help="3.11 to 3.13 (default: this one)"
    )
    setup.set_defaults(run=run_setup)


def run_setup(args: argparse.Namespace) -> int:
    environments.check_java(args.engine)
    python = environments.make(
        args.engine, lambda line: print(line, file=sys.stderr), python=args.python
    )
    print(f"{args.engine} is ready: {python}")
    return 0
