"""`onetape state PIPELINE TAPE --time 10:31:07.2`: what each operator held then, books first."""

import argparse
import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from onetape.records import OperatorError
from onetape.runtimes.progress import Progress
from onetape.runtimes.settings import add_options, load_with_settings
from onetape.runtimes.state.at import Reached, reach
from onetape.runtimes.state.tables import LEVELS, names_in, symbols_in, tables_of

DESCRIPTION = """\
Show what a pipeline held at a moment of its tape: the levels of its books, each operator's state by
key, and the panes of windows that were open. The newest checkpoint before the moment is put back
and the tape run from there, to the event: the state is that before the first event after --time.

A time of day is on the tape's trading date, in the venue's time zone; of tapes without a venue's
feed it is UTC. 2026-01-05T15:31:07.2Z is UTC. --offset is a frame, before which the state is shown.
"""
EXAMPLES = """\
examples:
  onetape state standard tape/ --time 10:31:07.2 --key AAPL
  onetape state standard tape/ --offset 1207 --node Book --levels 3
  onetape state pipeline.py tape/ --json
  onetape state standard tape/ --time 15:59:59 --parquet state/
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "state",
        help="show what a pipeline held at a moment of its tape: the book at 10:31:07.2",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("tape", type=Path, metavar="TAPE", help="folder of a tape")
    moment = parser.add_mutually_exclusive_group()
    moment.add_argument("--time", metavar="T", help="10:31:07.2, or 2026-01-05T15:31:07.2Z")
    moment.add_argument(
        "--offset", type=int, metavar="N", help="before frame N (default: the end of the tape)"
    )
    parser.add_argument("--node", metavar="NAME", help="only this operator or window")
    parser.add_argument("--key", metavar="KEY", help="only this key: a number, or a symbol")
    parser.add_argument(
        "--levels", type=int, default=LEVELS, metavar="N", help="of a book (default: %(default)s)"
    )
    parser.add_argument(
        "--rows", type=int, default=20, metavar="N", help="to print of each (default: %(default)s)"
    )
    parser.add_argument("--parquet", type=Path, metavar="DIR", help="leave a file for each here")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, all rows")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    reached = reach(
        load_with_settings(args),
        args.tape,
        Progress(quiet=args.json),
        time=args.time,
        offset=args.offset,
        say=lambda line: print(f"onetape: {line}", file=sys.stderr),
    )
    if args.key is not None:
        check_key(args.key, names_in(symbols_in(reached.engine, args.tape)))
    tables = tables_of(reached.engine, args.levels, args.tape)
    if args.node is not None:
        if args.node not in tables:
            held = ", ".join(tables) or "nothing that can be shown"
            raise OperatorError(f"--node was {args.node}; the pipeline holds {held}")
        tables = {args.node: tables[args.node]}
    if args.key is not None:
        tables = {name: of_key(table, args.key) for name, table in tables.items()}
    files = _leave(tables, args.parquet) if args.parquet is not None else []
    place = {"offset": reached.offset, "event": reached.event, "from_offset": reached.from_offset}
    if args.json:
        rows = {name: table.to_pylist() for name, table in tables.items()}
        print(json.dumps({**place, "state": rows, "files": files}))
        return 0
    print(_heading(reached))
    for name, table in tables.items():
        print("\n".join(["", *lines_of(name, table, args.rows)]))
    for file in files:
        print(file)
    return 0


def check_key(key: str, symbols: list[str]) -> None:
    """OperatorError: it is no number, and nothing has named an instrument so."""
    if _is_number(key) or key in symbols:
        return
    capitals = {symbol.upper(): symbol for symbol in symbols}
    near = get_close_matches(key.upper(), capitals, 3)
    if near:
        hint = f"near to it: {', '.join(capitals[each] for each in near)}"
    elif symbols:
        some = ", ".join(sorted(symbols)[:5])
        hint = f"there are {some}{' ...' if len(symbols) > 5 else ''}"
    else:
        hint = "no symbols are known there; give the number of the key"
    raise OperatorError(
        f"--key was {key!r}; expected a number, or a symbol that the tape has by then: {hint}"
    )


def _is_number(key: str) -> bool:
    return key.removeprefix("-").isdecimal()


def of_key(table: Any, key: str) -> Any:
    """The rows of one key: of the symbol, or of the number in the key's column."""
    import pyarrow.compute as pc

    names = table.column_names
    keys = names[1] if names[0] == "symbol" else names[0]
    fits = pc.field(keys) == int(key) if _is_number(key) else None
    if "symbol" in names:
        named = pc.field("symbol") == key
        fits = named if fits is None else fits | named
    return table.slice(0, 0) if fits is None else table.filter(fits)


def lines_of(name: str, table: Any, most: int) -> list[str]:
    """A table for a person: its name, its columns, and `most` rows."""
    shown = table.slice(0, most)
    cells = [[*map(_word, column.to_pylist())] for column in shown.columns]
    wide = [
        max(map(len, [title, *column]))
        for title, column in zip(table.column_names, cells, strict=True)
    ]
    rows = [table.column_names, *zip(*cells, strict=True)]
    lines = [f"{name}, {table.num_rows:,} rows" + ("" if table.num_rows else ": none")]
    if not table.num_rows:
        return lines
    for row in rows:
        aligned = (cell.rjust(width) for cell, width in zip(row, wide, strict=True))
        lines.append("  " + "  ".join(aligned))
    if table.num_rows > most:
        lines.append(f"  and {table.num_rows - most:,} more: --rows N, --key KEY, --parquet DIR")
    return lines


def _heading(reached: Reached) -> str:
    within = f", after {reached.event} of its events" if reached.event else ""
    began = f"the checkpoint at {reached.from_offset}" if reached.from_offset else "the first frame"
    return f"before frame {reached.offset}{within}, run from {began}"


def _leave(tables: dict[str, Any], folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name.replace(' ', '_')}.parquet" for name in tables]
    for path, table in zip(paths, tables.values(), strict=True):
        pq.write_table(table, path)
    return [str(path) for path in paths]


def _word(value: Any) -> str:
    if isinstance(value, list):
        some = ", ".join(map(_word, value[:4]))
        return f"[{some}{', ...' if len(value) > 4 else ''}]"
    return "-" if value is None else str(value)
