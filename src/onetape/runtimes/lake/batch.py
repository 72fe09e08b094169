"""`onetape batch PIPELINE --from-lake URL`: a pipeline over days of a lake, on all cores."""

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from onetape.connect.lake.tape_table import TapeTable
from onetape.runtimes.lake.commands import parse_count, parse_days
from onetape.runtimes.lake.run import default_threads, prepare
from onetape.runtimes.lake.run import run as run_over
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress

DESCRIPTION = """\
Run a pipeline over recorded days of a lake (`onetape lake write` made it) and leave its outputs as
Delta tables, one an output: URL/NAME, ordinary columns, partitioned by day. Shards of days run
beside each other, a thread each. Rows, and so digests, are those of every other runtime.

A batch may be cut short at any moment, by Ctrl-C or by force: the same command goes on, shards that
are done are not run again, and no row is there twice. URL/_runs tells what was computed from what.
"""
EXAMPLES = """\
examples:
  onetape batch standard --from-lake lake/ --out rows/
  onetape batch pipeline.py --from-lake s3://desk/lake --day 2026-01-05..2026-01-09 --out s3://desk/rows
  onetape batch standard --from-lake lake/ --json          only count, and tell the digests
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "batch",
        help="run a pipeline over days of a lake, on all cores, resumable",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a file with `pipeline`, or standard")
    parser.add_argument("--from-lake", required=True, metavar="URL", help="where the tape table is")
    parser.add_argument(
        "--day", type=parse_days, metavar="FROM[..TO]", help="one day or several (else all)"
    )
    parser.add_argument(
        "--at",
        type=parse_version,
        metavar="VERSION",
        help="the lake as it was: a version or a time",
    )
    parser.add_argument("--out", metavar="URL", help="where outputs go (none: only count)")
    parser.add_argument(
        "--threads", type=parse_count, metavar="N", help="beside each other (else all processors)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    pipeline, progress = load_pipeline(args.pipeline), Progress(quiet=args.json)
    tape = TapeTable(args.from_lake, args.at)
    try:
        todo = prepare(pipeline, tape, args.day, progress, name=args.pipeline, out=args.out)
        facts = run_over(todo, args.threads or default_threads(), progress)
    finally:
        progress.close()
    print(json.dumps(facts) if args.json else "\n".join(lines_of(facts)))
    return 0


def parse_version(text: str) -> int | str:
    """The number of a version, or a time in ISO 8601: of UTC, where it does not say."""
    if text.isdecimal():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no version; expected a number (onetape lake versions URL) or a time like "
            "2026-01-05T17:30:00Z"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def lines_of(facts: dict[str, Any]) -> list[str]:
    there = f"; {facts['shards_there']} shards were done before" if facts["shards_there"] else ""
    lines = [
        f"{facts['events']:,} events in {facts['elapsed_s']:.2f} s, {facts['events_per_s']:,} a "
        f"second, {facts['shards_done']} shards of {len(facts['days'])} days{there}"
    ]
    for day, told in facts["days"].items():
        lines.append(f"  {day}  {told['events']:,} events in {told['shards']} shards")
        for name, rows in told["rows"].items():
            lines.append(f"    {name:14s} {rows:>14,} rows   digest {told['digests'][name]}")
    if facts["out"]:
        lines.append(f"  written to {facts['out']}")
    return lines
