"""`onetape flink`: its environment, and the jobs of a cluster."""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onetape.records import OperatorError
from onetape.runtimes.environments import folder_of
from onetape.runtimes.flink.environment import ENGINE, PYTHON
from onetape.runtimes.flink.rest import Cluster
from onetape.runtimes.flink.setup import setup

ADDRESS = "127.0.0.1:8081"
VARIABLE = "ONETAPE_FLINK_CLUSTER"
DESCRIPTION = """\
Flink runs in an environment of its own, because its pins are old: make it once with `setup`. Then
`onetape run PIPELINE --on flink` runs a pipeline there, on a cluster of this machine or another,
and the rest of these words look after its jobs. docs/FLINK.md
"""
EPILOG = """\
examples:
  onetape flink setup
  onetape run standard --on flink --file day.itch
  onetape run standard --on flink --kafka 127.0.0.1:9092 --topic itch --topic-out watch
  onetape flink status standard
  onetape flink stop standard
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "flink",
        help="make Flink's environment; look after jobs on a Flink cluster",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EPILOG,
    )
    words = parser.add_subparsers(title="words", metavar="WORD", required=True)
    one = words.add_parser("setup", help="make or mend the environment (some minutes, 1.2 GB)")
    one.add_argument("--at", type=Path, metavar="DIR", help=f"(default: {folder_of(ENGINE)})")
    one.add_argument("--python", default=PYTHON, metavar="3.11", help="(default: %(default)s)")
    one.set_defaults(run=_setup)
    of_job = {
        "status": ("a job's state, checkpoints and counters", _status),
        "savepoint": ("save a running job's state, to begin others from", _savepoint),
        "stop": ("end a job with a savepoint: nothing is lost", _stop),
    }
    for word, (text, function) in of_job.items():
        one = words.add_parser(word, help=text)
        one.add_argument("job", metavar="JOB", help="its name or id")
        one.add_argument(
            "--cluster",
            default=os.environ.get(VARIABLE, ADDRESS),
            metavar="HOST:PORT",
            help=f"REST address (default: %(default)s; {VARIABLE})",
        )
        if word != "status":
            one.add_argument("--to", metavar="URL", help="the folder (default: the cluster's)")
        one.add_argument("--json", action="store_true", help="print one JSON object")
        one.set_defaults(run=function)


def _setup(args: argparse.Namespace) -> int:
    began_s = time.monotonic()
    folder = args.at.resolve() if args.at else None

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began_s:4.0f} s] {text}", file=sys.stderr)

    made = setup(args.python, say, folder)
    print(f"export ONETAPE_FLINK={folder}" if folder else f"{made.folder} is ready")
    return 0


def _job(args: argparse.Namespace) -> tuple[Cluster, dict[str, Any]]:
    cluster = Cluster(args.cluster)
    try:
        cluster.get("/overview")
    except OperatorError as why:
        raise OperatorError(
            f"{why}; give the one that the job runs on (--cluster HOST:PORT, as onetape run said). "
            "A cluster of this machine lives only as long as the run that started it"
        ) from None
    return cluster, cluster.job(args.job)


def _status(args: argparse.Namespace) -> int:
    cluster, job = _job(args)
    saved = cluster.checkpoints(job["jid"])
    newest = saved["latest"]["completed"] or {}
    failures = cluster.failures(job["jid"])
    facts = {
        "job": job["jid"],
        "name": job["name"],
        "state": job["state"],
        "since": _time(job["start-time"]),
        "counters": cluster.counters(job["jid"]),
        "checkpoints": saved["counts"]["completed"],
        "checkpoint": newest.get("external_path"),
        "checkpoint_ms": newest.get("end_to_end_duration"),
        "state_bytes": newest.get("state_size"),
        "failures": [f"{_time(failure.ts_ms)} {failure.why}" for failure in failures],
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    print(f"{facts['name']} ({facts['job']}) {facts['state'].lower()} since {facts['since']}")
    for name, value in facts["counters"].items():
        print(f"  {name:14s} {value:>16,.0f}")
    if newest:
        print(
            f"  {facts['checkpoints']} checkpoints; the last took {facts['checkpoint_ms']} ms and "
            f"holds {facts['state_bytes']:,} bytes: {facts['checkpoint']}"
        )
    for line in facts["failures"]:
        print(f"  {line}")
    return 0


def _savepoint(args: argparse.Namespace) -> int:
    cluster, job = _job(args)
    return _told(args, job, cluster.savepoint(job["jid"], args.to))


def _stop(args: argparse.Namespace) -> int:
    cluster, job = _job(args)
    return _told(args, job, cluster.stop(job["jid"], args.to))


def _told(args: argparse.Namespace, job: dict[str, Any], saved: str) -> int:
    facts = {"job": job["jid"], "name": job["name"], "savepoint": saved}
    print(json.dumps(facts) if args.json else saved)
    return 0


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
