"""`onetape cases DIR` and `onetape cases show ID`: what was opened, and one of them in full."""

import argparse
import json
from pathlib import Path
from typing import Any

from onetape.connect.cases.files import CASE, read_case
from onetape.records import OperatorError

DESCRIPTION = """\
List the cases of a queue (a folder that `stream >> ot.cases("desk-a")` writes), the oldest first;
or show one: the row, what caused it, the book right after it, and the events of its account around
it. A case is a folder with case.json and a Parquet file a source; nothing here changes it.
"""
EXAMPLES = """\
examples:
  onetape cases desk-a
  onetape cases show desk-a/spoof-1767623402247360116-0-1-49-0-1
  onetape cases show spoof-1767623402247360116-0-1-49-0-1     (looks in the folders here)
"""
SHOWN = ("ts_event_ns", "action", "side", "price_ticks", "qty_lots", "leaves_lots", "order_id")


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "cases",
        help="list the cases that rows have opened, or show one with its evidence",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("words", nargs="+", metavar="DIR | show ID", help="a queue, or a case")
    parser.add_argument("--json", action="store_true", help="JSON: an object a case, one a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    words: list[str] = args.words
    if words[0] == "show" and len(words) == 2:
        path = _find(words[1])
        found = read_case(path)
        print(json.dumps(found) if args.json else "\n".join(_told(path, found)))
        return 0
    if len(words) != 1:
        raise OperatorError(f"cases was given {' '.join(words)!r}; expected DIR, or show ID")
    folder = Path(words[0])
    if not folder.is_dir():
        raise OperatorError(
            f"no such queue: {folder}; give the folder that the pipeline names: ot.cases('DIR')"
        )
    found_all = sorted(
        (read_case(path.parent) for path in folder.glob(f"[!.]*/{CASE}")),
        key=lambda case: (case["opened"], case["case"]),
    )
    for case in found_all:
        print(json.dumps(case) if args.json else _line(case))
    if not args.json:
        waiting = sum(not case["is_complete"] for case in found_all)
        also = f", {waiting} of them not complete" if waiting else ""
        print(f"{len(found_all)} cases in {folder}{also}")
    return 0


def _find(word: str) -> Path:
    path = Path(word)
    if (path / CASE).exists():
        return path
    found = sorted(p.parent for p in Path().glob(f"*/{path.name}/{CASE}"))
    if len(found) != 1:
        where = ", ".join(map(str, found)) or "none of the folders here has it"
        raise OperatorError(f"which case is {word!r}? {where}; give its folder: desk-a/{path.name}")
    return found[0]


def _line(case: dict[str, Any]) -> str:
    what = [case["output"], case["account"] or "", case["symbol"] or ""]
    mark = "" if case["is_complete"] else "  (not complete)"
    return f"{case['opened']}  {' '.join(filter(None, what)):30s}  {case['case']}{mark}"


def _told(path: Path, case: dict[str, Any]) -> list[str]:
    lines = [_line(case), f"  row    {_fields(case['row'])}"]
    if case["cause"]:
        lines.append(f"  cause  {_fields(case['cause'])}")
    for feed, sides in case["book"].items():
        lines.append(f"  book of {feed} right after it, in ticks of {case['tick']}:")
        bids, asks = sides["bids"], sides["asks"]
        for n in range(max(len(bids), len(asks))):
            left, right = _level(bids, n), _level(asks, n)
            lines.append(f"    {left:>28s} | {right}")
    evidence = case["evidence"]
    lines.append(f"  evidence from {evidence['from']} to {evidence['to']}:")
    for source, count in evidence["events"].items():
        lines.append(f"    {count:>8,} events of {source}: {path / source}.parquet")
    return lines + _orders(path, case)


def _orders(path: Path, case: dict[str, Any]) -> list[str]:
    """The account's own events, one a line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.schema([(name, pa.string()) for name in SHOWN])
    lines: list[str] = []
    for source in case["evidence"]["events"]:
        table = pq.read_table(path / f"{source}.parquet")
        if "account_id" in table.column_names:
            lines += ["  " + "  ".join(f"{name:>12s}" for name in SHOWN[1:])]
            for row in table.select(SHOWN).cast(texts).to_pylist():
                at = row.pop("ts_event_ns")
                lines.append("  " + "  ".join(f"{value or '':>12s}" for value in row.values()))
                lines[-1] += f"  {at}"
    return lines


def _level(levels: list[dict[str, int]], n: int) -> str:
    if n >= len(levels):
        return ""
    level = levels[n]
    return f"{level['qty_lots']} in {level['orders_count']} at {level['price_ticks']}"


def _fields(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items() if value is not None)
