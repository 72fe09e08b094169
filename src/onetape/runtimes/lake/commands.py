"""`onetape lake write|ls|compact|retain|versions`: arguments in, lines and an exit status out."""

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

from onetape.connect.lake import TAPE, VERSIONS, keep, store
from onetape.connect.lake.tape_table import TapeTable
from onetape.runtimes.lake.write import EVENTS, write
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import parse_date

DESCRIPTION = """\
Recorded input and outputs as Delta tables, in a folder or an object store (s3://BUCKET/PREFIX).
URL/tape holds days of input as blocks, one row a block, partitioned by day and shard; `onetape
batch` runs pipelines over it, `onetape backfill` computes history anew. Outputs are ordinary
columns, which DuckDB, Polars, Spark and Sail read as they are.
"""
EXAMPLES = """\
examples:
  onetape lake write standard --file day.itch --day 2026-01-05 --to lake/ --shards 4
  onetape lake write standard --from-tape tape/ --to s3://desk/lake
  onetape lake ls lake/
  onetape lake compact lake/
  onetape lake versions lake/ --table trade
  onetape lake retain lake/ --audit 1827 --vacuum 1830

`write` may be cut short at any moment: the same command goes on, and a day that is there is left as
it is. In an object store each commit is one conditional put. Exit status: 0 done, 1 it failed.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "lake",
        help="recorded input and outputs as Delta tables: write, ls, compact, retain, versions",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="write|ls|compact|retain|versions"
    )
    writes = actions.add_parser("write", help="a recorded day into URL/tape")
    writes.add_argument("pipeline", metavar="PIPELINE", help="whose sources the input is of")
    given = writes.add_mutually_exclusive_group(required=True)
    given.add_argument("--file", type=Path, metavar="FILE", help="a recorded file of ITCH 5.0")
    given.add_argument("--from-tape", type=Path, metavar="DIR", help="a tape that a run made")
    writes.add_argument("--to", required=True, metavar="URL", help="the lake")
    writes.add_argument(
        "--day", "--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date"
    )
    writes.add_argument(
        "--shards", type=parse_count, default=1, metavar="N", help="streams by instrument (ITCH)"
    )
    writes.add_argument(
        "--events", type=parse_count, default=EVENTS, metavar="N", help="of a block (%(default)s)"
    )
    writes.add_argument(
        "--replace", action="store_true", help="in place of what is there of the day"
    )
    shows = actions.add_parser("ls", help="days, tables, rows, files, versions")
    shows.add_argument("url", metavar="URL")
    for name, text in (
        ("compact", "few large files in place of many small ones"),
        ("retain", "how long versions stay readable; remove what is older"),
        ("versions", "the versions of a table"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("url", metavar="URL")
        action.add_argument("--table", metavar="NAME", help="one table (else all of them)")
    retain = actions.choices["retain"]
    retain.add_argument("--audit", type=parse_count, metavar="DAYS", help="versions stay so long")
    retain.add_argument(
        "--drop-before", type=parse_date, metavar="YYYY-MM-DD", help="drop the rows of older days"
    )
    retain.add_argument(
        "--vacuum",
        type=parse_count,
        metavar="DAYS",
        help="remove files that only older versions use",
    )
    retain.add_argument("--dry-run", action="store_true", help="only count the files")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    facts, lines = _ACTIONS[args.action](args)
    print(json.dumps(facts) if args.json else "\n".join(lines))
    return 0


def parse_days(text: str) -> tuple[date, date]:
    """'2026-01-05' or '2026-01-05..2026-01-09'."""
    first, dots, last = text.partition("..")
    days = parse_date(first), parse_date(last if dots else first)
    if days[0] > days[1]:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return days


def parse_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


Told = tuple[dict[str, Any], list[str]]


def _write(args: argparse.Namespace) -> Told:
    progress = Progress(quiet=args.json)
    try:
        facts = write(
            load_pipeline(args.pipeline),
            args.to,
            file=args.file,
            tape=args.from_tape,
            day=args.day,
            shards=args.shards,
            events=args.events,
            replaces=args.replace,
            progress=progress,
        )
    finally:
        progress.close()
    there = f", {facts['blocks_there']:,} were there" if facts["blocks_there"] else ""
    lines = [
        f"{facts['events']:,} events of {facts['day']} in {facts['shards']} shards: "
        f"{facts['blocks']:,} blocks written to {facts['url']}{there}"
    ]
    if not facts["is_complete"]:
        lines.append("  the tape has no end yet: the same command writes the rest when it has")
    return facts, lines


def _ls(args: argparse.Namespace) -> Told:
    names = keep.names_of(args.url)
    tables = {name: keep.extent(store.place(args.url, name)) for name in names if name != VERSIONS}
    days: dict[str, dict[str, Any]] = {}
    for (day, _), stream in (TapeTable(args.url).streams() if TAPE in names else {}).items():
        told = days.setdefault(str(day), {"shards": stream.shards, "complete": 0, "blocks": 0})
        told["complete"] += stream.is_complete
        told["blocks"] += stream.blocks
        told["size_bytes"] = told.get("size_bytes", 0) + stream.size_bytes
        told["input"] = stream.input
    lines = []
    for name, told in tables.items():
        span = f"{told['days'][0]} to {told['days'][-1]}" if told["days"] else "no rows"
        lines.append(
            f"{name:16s} {told['rows']:>14,} rows {told['size_bytes']:>16,} bytes "
            f"{told['files']:>6} files  version {told['version']:<5} {span}"
        )
    for of_day, told in days.items():
        is_whole = told["complete"] == told["shards"]
        state = "" if is_whole else f", {told['complete']} of {told['shards']} shards complete"
        lines.append(
            f"  {of_day}  {told['shards']} shards, {told['blocks']:,} blocks, "
            f"{told['size_bytes']:,} bytes{state}"
        )
    return {"tables": tables, "days": days}, lines or [f"{args.url}: no tables"]


def _compact(args: argparse.Namespace) -> Told:
    facts = {name: keep.compact(store.place(args.url, name)) for name in _named(args)}
    return facts, [
        f"{n:16s} {f['files_before']} files became {f['files']}" for n, f in facts.items()
    ]


def _retain(args: argparse.Namespace) -> Told:
    facts: dict[str, Any] = {}
    lines = []
    for name in _named(args):
        url = store.place(args.url, name)
        if args.audit is not None:
            keep.set_audit_days(url, args.audit)
        told: dict[str, Any] = {"audit_days": keep.audit_days(url)}
        said = f"{name:16s} versions stay readable for {told['audit_days']} days"
        if args.drop_before is not None and name[0] != "_":
            told["rows_dropped"] = keep.drop_before(url, args.drop_before)
            said += f"; {told['rows_dropped']:,} rows dropped"
        if args.vacuum is not None:
            told["files"] = keep.vacuum(url, args.vacuum, tries_only=args.dry_run)
            said += f"; {told['files']} files {'would go' if args.dry_run else 'removed'}"
        facts[name] = told
        lines.append(said)
    return facts, lines


def _versions(args: argparse.Namespace) -> Told:
    facts = {name: keep.versions(store.place(args.url, name)) for name in _named(args)}
    lines = []
    for name, versions in facts.items():
        lines.append(name)
        lines += [f"  {v['version']:>6}  {v['at']}  {v['operation']}" for v in versions]
    return facts, lines


def _named(args: argparse.Namespace) -> list[str]:
    names = [args.table] if args.table else keep.names_of(args.url)
    if not names:
        print(f"onetape: {args.url} has no tables", file=sys.stderr)
    return names


_ACTIONS = {
    "write": _write,
    "ls": _ls,
    "compact": _compact,
    "retain": _retain,
    "versions": _versions,
}
