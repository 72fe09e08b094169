"""`onetape run PIPELINE --on ENGINE`: the same pipeline on an engine that exists already.

An engine is one function: it takes the arguments of the command, runs the job to its end, prints
what it came to and returns the exit status. Its module is imported when it is asked for.
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from onetape.engine.partition import PARTS_MAX
from onetape.records import OperatorError

ENGINES = {
    "flink": "onetape.runtimes.flink.run:run_on",
    "sail": "onetape.runtimes.spark.run:run_on",
    "spark": "onetape.runtimes.spark.run:run_on",
}
# What `onetape run` takes besides, which an engine has no use for.
OF_THE_EDGE: dict[str, Any] = {
    "tape": None, "udp": None, "simulate": False, "speed": None, "resume": False,
    "partitions": None, "send": [], "seconds": None, "cpu": None, "realtime": None,
}  # fmt: skip


def add_on_options(parser: argparse.ArgumentParser) -> None:
    on = parser.add_argument_group("on a distributed engine, in its own environment")
    on.add_argument(
        "--on", choices=["edge", *ENGINES], default="edge", help="the runtime (default: edge)"
    )
    on.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="of one that runs already: HOST:PORT of a JobManager, sc://HOST:PORT of a Spark "
        "Connect or Sail server, spark://HOST:PORT (default: one in this process, for this job)",
    )
    on.add_argument(
        "--shards",
        type=int,
        default=1,
        metavar="N",
        help="divide instruments among N workers; the rows stay the same (default: %(default)s)",
    )
    on.add_argument(
        "--carry",
        type=Path,
        metavar="DIR",
        help="of sail and spark, with --from-lake: go on from the state that the last run left "
        "there, and leave what this one comes to",
    )


def run_on(args: argparse.Namespace) -> int:
    """Hand the command to the engine that it names."""
    for name, default in OF_THE_EDGE.items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} is of a run at the edge; leave it out with --on")
    if not 1 <= args.shards <= PARTS_MAX:
        raise OperatorError(f"--shards was {args.shards}; expected 1 to {PARTS_MAX}")
    module, _, function = ENGINES[args.on].partition(":")
    return int(getattr(import_module(module), function)(args))


def check_not_on(args: argparse.Namespace) -> None:
    """Without --on its options would do nothing."""
    for name, default in {"cluster": None, "shards": 1, "from_lake": None, "carry": None}.items():
        if getattr(args, name) != default:
            raise OperatorError(
                f"--{name.replace('_', '-')} is of a run on an engine; say which: "
                f"--on {' or --on '.join(ENGINES)}"
            )
