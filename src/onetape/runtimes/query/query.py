"""`onetape query "SELECT ..."`, and `ot.query`: SQL over what runs have left behind."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from onetape.connect.questdb.http import Server
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.query.database import answer, tables_of
from onetape.runtimes.query.questions import Question
from onetape.runtimes.query.ready import add_questions, question_of
from onetape.runtimes.query.tables import described, described_json

SHOWN_ROWS = 100
QUESTDB = "questdb:"
TABLES = "SELECT table_name, designatedTimestamp AS time, dedup FROM tables() ORDER BY table_name"

DESCRIPTION = """\
Ask in SQL (DuckDB's) for what runs have left behind: the Parquet files of --out, tapes, and the
state in a tape's last checkpoint. A tape is read up to its durable end, also while a node writes
it. With --pipeline, tables are also the events of its sources, their gaps, and its outputs, made
again from the tape. Nothing is written, no other file is read.
"""
EXAMPLES = """\
examples:
  onetape query --from out/ --tables
  onetape query --from out/ "SELECT symbol, sum(qty_lots) FROM trade GROUP BY 1 ORDER BY 2 DESC"
  onetape query --from tape/ --pipeline standard "SELECT * FROM gaps" --json
  onetape query --from tape/ "SELECT kind, count(*), sum(length_bytes) FROM frames GROUP BY 1"
  onetape query --from out/ "SELECT * FROM trade_price" --parquet priced.parquet
  onetape query --from out/ --sample-by trade 1s
  onetape query --questdb 127.0.0.1:9000 --sample-by trade 1s

Several folders with a table of the same name: SELECT * FROM "monday/trade" (--tables lists them).
Times: ts_event_ns is a number of ns, ts_event the same as a timestamp. Prices: in TABLE they are
ticks, in TABLE_price decimals, where the tick is known.
"""


def query(
    folder: str | Path | Sequence[str | Path],
    sql: str | Question,
    *,
    pipeline: Pipeline | str | None = None,
    login: str = "",
) -> Any:
    """SQL over the outputs, tapes and checkpoints in a folder (or several): a pyarrow Table.

    ```python
    lots = ot.query(out, "SELECT instrument_id, sum(qty_lots) FROM trade GROUP BY 1")
    ```

    folder    or "questdb:HOST:PORT": the tables of a QuestDB server, in its SQL
    sql       or a ready question: see `onetape.runtimes.query.questions`
    pipeline  what reads a tape, or its file: its sources and outputs are tables too
    login     of QuestDB: 'env:NAME', of a variable that holds USER:PASSWORD, or a token

    See docs/QUERY.md. Needs duckdb (`pip install 'onetape[query]'`). OperatorError: no such table
    (it names the nearest), or what DuckDB said.
    """
    if isinstance(folder, str) and folder.startswith(QUESTDB):
        asked = sql.questdb if isinstance(sql, Question) else sql
        with Server(folder.removeprefix(QUESTDB), login).answer(asked) as reader:
            return reader.read_all()
    sql = sql.duckdb if isinstance(sql, Question) else sql
    many = [folder] if isinstance(folder, str | Path) else folder
    loaded = load_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    with answer(tables_of([Path(each) for each in many], loaded), sql) as reader:
        return reader.read_all()


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "query",
        help="ask in SQL for what runs left behind: outputs, tapes, checkpoints",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("sql", nargs="?", metavar="SQL", help="one SELECT")
    parser.add_argument(
        "--from",
        dest="folders",
        action="append",
        type=Path,
        metavar="FOLDER",
        help="of --out or --tape, or one that holds them; again for more (default: .)",
    )
    parser.add_argument("--pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("--tables", action="store_true", help="list tables, columns and units")
    parser.add_argument(
        "--questdb", metavar="HOST:PORT", help="ask a QuestDB server instead, in its SQL"
    )
    parser.add_argument(
        "--login",
        default="",
        metavar="env:NAME",
        help="of QuestDB: a variable that holds USER:PASSWORD, or a token",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print comma-separated values")
    form.add_argument("--json", action="store_true", help="print one JSON object a row")
    form.add_argument("--parquet", type=Path, metavar="FILE", help="write a Parquet file")
    add_questions(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    asked = question_of(args)
    if args.tables == (asked is not None):
        raise OperatorError('give a query, "SELECT ...", or --tables')
    if isinstance(asked, Question):
        asked = asked.questdb if args.questdb else asked.duckdb
    if args.show_sql and asked:
        print(asked)
        return 0
    if args.questdb:
        if args.folders or args.pipeline:
            raise OperatorError("--questdb asks a server; leave out --from and --pipeline")
        with Server(args.questdb, args.login).answer(asked or TABLES) as reader:
            return _tell(reader, args)
    pipeline = load_pipeline(args.pipeline) if args.pipeline else None
    tables = tables_of(args.folders or [Path()], pipeline)
    if not asked:
        print(described_json(tables) if args.json else described(tables))
        return 0
    with answer(tables, asked) as reader:
        return _tell(reader, args)


def _tell(reader: Any, args: argparse.Namespace) -> int:
    """The answer in the form that was asked for."""
    if args.parquet is not None:
        rows = _write(reader, args.parquet)
        print(f"{rows:,} rows in {args.parquet}")
    elif args.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(reader.schema.names)
        writer.writerows(_rows(reader))
    elif args.json:
        for row in _rows(reader):
            print(json.dumps(dict(zip(reader.schema.names, row, strict=True))))
    else:
        _show(reader)
    return 0


def _write(reader: Any, path: Path) -> int:
    """Written aside, renamed when complete."""
    import pyarrow.parquet as pq

    aside, rows = path.with_name(f".{path.name}.partial"), 0
    try:
        with pq.ParquetWriter(aside, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += len(batch)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return rows


def _rows(reader: Any) -> Iterator[list[Any]]:
    """Rows of values that CSV and JSON have: times and decimals are text, exact."""
    for batch in reader:
        columns = [_values(column) for column in batch.columns]
        yield from map(list, zip(*columns, strict=True))


def _values(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        words = np.asarray(column.cast(pa.int64()).fill_null(0)).view("datetime64[ns]").astype(str)
        valid = column.is_valid().to_pylist()
        return [word if known else None for word, known in zip(words.tolist(), valid, strict=True)]
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal | date | datetime):
        return str(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float) and value != value:
        return None
    return value


def _show(reader: Any) -> None:
    """The first rows, in columns; of the rest, that there are more."""
    shown: list[list[str]] = []
    has_more = False
    for row in _rows(reader):
        if len(shown) == SHOWN_ROWS:
            has_more = True
            break
        shown.append(["" if value is None else str(value) for value in row])
    lines = [list(reader.schema.names), *shown]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths)).rstrip())
    if has_more:
        print(f"(the first {SHOWN_ROWS} rows; --csv, --json and --parquet FILE give all)")
