"""`onetape backfill`: history computed anew, compared with what is there, and swapped in."""

import argparse
import json
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

from onetape.connect.lake import RUNS, VERSIONS, store
from onetape.connect.lake.differences import KINDS, SAMPLE_ROWS, differences
from onetape.connect.lake.runs import DONE, units_at
from onetape.connect.lake.swaps import Swap, swap, undo
from onetape.connect.lake.tape_table import TapeTable
from onetape.records import OperatorError
from onetape.runtimes.lake.batch import parse_version
from onetape.runtimes.lake.commands import parse_count
from onetape.runtimes.lake.run import default_threads, prepare
from onetape.runtimes.lake.run import run as run_over
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import parse_date

DESCRIPTION = """\
Compute days of a lake anew (a corrected rule, a file that came late, another operator), beside the
rows that are there: in URL/_versions/NAME. Then tell the differences: rows added, removed, changed,
by output, day and instrument. With --swap the new rows take the place of the old ones, with one
commit an output; --undo puts back what the last swap replaced.

Each step may be cut short: the same command goes on. Readers see no change before --swap.
"""
EXAMPLES = """\
examples:
  onetape backfill rule.py --lake lake/ --from 2026-01-05 --to 2026-01-09 --out rows/
  onetape backfill rule.py --lake lake/ --from 2026-01-05 --to 2026-01-09 --out rows/ --swap
  onetape backfill --out rows/ --undo
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "backfill",
        help="compute days of a lake anew, show the differences, swap them in",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="the corrected one")
    parser.add_argument("--lake", metavar="URL", help="where the tape table is")
    parser.add_argument("--from", dest="first", type=parse_date, metavar="YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=parse_date, metavar="YYYY-MM-DD")
    parser.add_argument("--out", required=True, metavar="URL", help="where the outputs are")
    parser.add_argument("--name", metavar="NAME", help="of the version (else made of its code)")
    parser.add_argument(
        "--at",
        type=parse_version,
        metavar="VERSION",
        help="the lake as it was: a version or a time",
    )
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--swap", action="store_true", help="then make the new version current")
    ends.add_argument("--undo", action="store_true", help="put back what the last swap replaced")
    parser.add_argument("--threads", type=parse_count, metavar="N", help="(else all processors)")
    parser.add_argument(
        "--sample", type=parse_count, default=SAMPLE_ROWS, metavar="N", help="of rows that differ"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.undo:
        done = undo(args.out)
        facts: dict[str, Any] = {"undone": _swap_facts(done)}
        lines = [f"version {done.version} is no longer current: {_said(done)}"]
    else:
        given = (args.pipeline, args.lake, args.first, args.last)
        if None in given:
            raise OperatorError("backfill takes PIPELINE, --lake, --from, --to; or --undo alone")
        if args.first > args.last:
            raise OperatorError(f"--from {args.first} is after --to {args.last}; turn them round")
        facts = backfill(args)
        lines = lines_of(facts)
    print(json.dumps(facts, default=str) if args.json else "\n".join(lines))
    return 0


def backfill(args: argparse.Namespace) -> dict[str, Any]:
    """Compute, compare, and swap if asked; the facts `--json` prints."""
    pipeline, progress = load_pipeline(args.pipeline), Progress(quiet=args.json)
    tape, days = TapeTable(args.lake, args.at), (args.first, args.last)
    try:
        todo = prepare(pipeline, tape, days, progress, name=args.pipeline)
        runs = sorted({f"{unit.day} {unit.run}" for unit in todo.units})
        name = args.name or sha256("".join(runs).encode()).hexdigest()[:12]
        beside = store.place(args.out, VERSIONS, name)
        todo = prepare(pipeline, tape, days, progress, name=args.pipeline, out=beside)
        computed = run_over(todo, args.threads or default_threads(), progress)
    finally:
        progress.close()
    missing = [
        str(day) for day in days_between(*days) if day not in todo.days and day.weekday() < 5
    ]
    outputs = list(pipeline.outputs)
    facts = {
        "version": name,
        "url": beside,
        "days": [str(day) for day in todo.days],
        "days_not_in_the_lake": missing,
        "events": computed["events"],
        "shards_done": computed["shards_done"],
        "shards_there": computed["shards_there"],
        "elapsed_s": computed["elapsed_s"],
        "differences": compared(args.out, beside, outputs, todo.days, args.sample),
        "swapped": None,
    }
    if args.swap:
        facts["swapped"] = _swap_facts(swap(args.out, name, beside, outputs, todo.days))
    return facts


def compared(
    out: str, beside: str, names: list[str], days: list[date], sample: int
) -> dict[str, dict[str, Any]]:
    """{output: {day: what differs}}; days whose digests are equal are not read."""
    runs = [units_at(store.place(url, RUNS)) for url in (out, beside)]
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        old, new = (store.open_table(store.place(url, name)) for url in (out, beside))
        for day in days:
            told = [
                {
                    shard: (unit.digests.get(name), unit.rows.get(name))
                    for (of, shard), unit in units.items()
                    if of == day and unit.state == DONE
                }
                for units in runs
            ]
            if told[0] == told[1]:
                rows = sum(count or 0 for _, count in told[1].values())
                same: dict[str, Any] = {
                    "rows_before": rows,
                    "rows": rows,
                    **dict.fromkeys(KINDS, 0),
                }
                made = same | {"instruments": {}, "sample": []}
            else:
                made = differences(old, new, day, sample)
            found.setdefault(name, {})[str(day)] = made
    return found


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def lines_of(facts: dict[str, Any]) -> list[str]:
    days = facts["days"]
    lines = [
        f"version {facts['version']}: {days[0]} to {days[-1]}, {facts['events']:,} events in "
        f"{facts['elapsed_s']:.2f} s; {facts['shards_there']} shards were done before"
    ]
    if facts["days_not_in_the_lake"]:
        lines.append(f"  not in the lake: {', '.join(facts['days_not_in_the_lake'])}")
    for name, of_days in facts["differences"].items():
        for day, told in of_days.items():
            kinds = ", ".join(f"{told[kind]:,} {kind}" for kind in KINDS if told[kind])
            lines.append(f"  {name:14s} {day}  {told['rows']:>12,} rows  {kinds or 'the same'}")
            for who, counts in list(told["instruments"].items())[:SAMPLE_ROWS]:
                said = ", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n)
                lines.append(f"    {who:12s} {said}")
            if (more := len(told["instruments"]) - SAMPLE_ROWS) > 0:
                lines.append(f"    and {more} more instruments (--json has all)")
            for pair in told["sample"]:
                lines += [f"      - {_row(row)}" for row in pair["before"]]
                lines += [f"      + {_row(row)}" for row in pair["after"]]
            if alone := told.get("columns_not_compared"):
                lines.append(f"    not compared, one version lacks them: {', '.join(alone)}")
    if facts["swapped"]:
        lines.append("  it is current now; --undo puts back what it replaced")
    else:
        lines.append("  nothing has changed for readers; --swap makes it current")
    return lines


def _row(row: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items() if value not in (None, ""))


def _swap_facts(done: Swap) -> dict[str, Any]:
    return {
        "number": done.number,
        "version": done.version,
        "days": [str(day) for day in done.days],
        "versions_before": done.before,
    }


def _said(done: Swap) -> str:
    return f"{done.days[0]} to {done.days[-1]} of {', '.join(n for n in done.before if n != RUNS)}"
