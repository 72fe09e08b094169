"""Ready questions of time series, each in the SQL of both stores: DuckDB over Parquet, and QuestDB.

    sample_by("trade", "1s")               bars: first, highest, lowest, last price and lots
    asof("trade", "top_of_book", [...])    each row of one with the row of the other that held then
    latest_on("top_of_book")               the last row of each symbol

The answers are the same, row by row. Rows of one time count in the order they were made: QuestDB
has it in `output_row`, and a Parquet file is in that order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onetape.connect.questdb.columns import ROW, TIME
from onetape.records import DeclarationError
from onetape.records.types import parse_duration_ns

BARS = (
    "first(price_ticks) AS open_ticks",
    "max(price_ticks) AS high_ticks",
    "min(price_ticks) AS low_ticks",
    "last(price_ticks) AS close_ticks",
    "sum(qty_lots) AS qty_lots",
    "count(*) AS rows_count",
)
BY = "symbol"
_AGGREGATE = re.compile(r"(first|last|min|max|sum|avg|count)\((\w+|\*)\)(?: +AS +(\w+))?", re.I)
_COLUMN = re.compile(r"(\w+)\.(\w+)(?: +AS +(\w+))?", re.I)
_NAME = re.compile(r"\w+")
_UNITS = {"d": 86_400 * 10**9, "h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "T": 10**6}
_UNITS |= {"U": 10**3, "n": 1}  # as QuestDB calls them, the longest first


@dataclass(frozen=True)
class Question:
    """One question as SQL for DuckDB (`onetape query --from`) and for QuestDB (`--questdb`)."""

    duckdb: str
    questdb: str


def sample_by(
    table: str, every: str, columns: Sequence[str] = BARS, *, by: str = BY, where: str = ""
) -> Question:
    """Rows in time buckets from the epoch on, one row a bucket and key.

    every    the width: "100ms", "1s", "5m"
    columns  'FUNCTION(COLUMN) AS NAME', of first, last, min, max, sum, avg, count
    where    a condition on rows, in words both stores know: "qty_lots > 100"
    """
    width_ns = parse_duration_ns(every)
    made = [_aggregate(text) for text in columns]
    shown = ", ".join(f"{call}({of}) AS {name}" for call, of, name in made)
    condition = f" WHERE {where}" if where else ""
    unit, size_ns = next((u, ns) for u, ns in _UNITS.items() if width_ns % ns == 0)
    _names(table, by)
    in_duckdb = ", ".join(f"{_of_duckdb(call, of)} AS {name}" for call, of, name in made)
    bucket = f"make_timestamp_ns(ts_event_ns // {width_ns} * {width_ns})"
    return Question(
        duckdb=f"SELECT {bucket} AS {TIME}, {by}, {in_duckdb} FROM {_numbered(table)}{condition} "
        "GROUP BY 1, 2 ORDER BY 1, 2",
        questdb=f"SELECT {TIME}, {by}, {shown} FROM {table}{condition} "
        f"SAMPLE BY {width_ns // size_ns}{unit} ALIGN TO CALENDAR ORDER BY {TIME}, {by}",
    )


def asof(
    left: str, right: str, columns: Sequence[str], *, by: str = BY, strictly: bool = False
) -> Question:
    """Each row of `left` with the last row of `right` of the same key at its time or before.

    columns   'TABLE.COLUMN', or 'TABLE.COLUMN AS NAME', of either table
    strictly  before its time only

    Where there is none yet, the columns of `right` are null.
    """
    taken = []
    for text in columns:
        found = _COLUMN.fullmatch(text.strip())
        if found is None or found[1] not in (left, right):
            raise DeclarationError(
                f"a column was {text!r}; expected {left}.COLUMN or {right}.COLUMN, and AS NAME"
            )
        taken.append(f"{found[1]}.{found[2]} AS {found[3] or found[2]}")
    _names(left, right, by)
    shown = ", ".join([f"{left}.{TIME} AS {TIME}", f"{left}.{by} AS {by}", *taken])
    last = f"PARTITION BY {by}, ts_event_ns ORDER BY {ROW} DESC"
    one_a_time = f"SELECT * FROM {_numbered(right)} QUALIFY row_number() OVER ({last}) = 1"
    return Question(
        duckdb=f"SELECT {shown} FROM {_numbered(left)} AS {left} ASOF LEFT JOIN ({one_a_time}) AS "
        f"{right} ON {left}.{by} = {right}.{by} AND {left}.ts_event_ns {'>' if strictly else '>='} "
        f"{right}.ts_event_ns ORDER BY {left}.ts_event_ns, {left}.{ROW}",
        questdb=f"SELECT {shown} FROM {left} {'LT' if strictly else 'ASOF'} JOIN {right} ON ({by})",
    )


def latest_on(table: str, columns: Sequence[str] = (), *, by: str = BY) -> Question:
    """The last row of each key; `columns`: which of it, else all."""
    _names(table, by, *columns)
    shown = ", ".join(columns) or f"* EXCLUDE ({ROW})"
    last = f"PARTITION BY {by} ORDER BY ts_event_ns DESC, {ROW} DESC"
    return Question(
        duckdb=f"SELECT {shown} FROM {_numbered(table)} "
        f"QUALIFY row_number() OVER ({last}) = 1 ORDER BY {by}",
        questdb=f"SELECT {', '.join(columns) or '*'} FROM {table} "
        f"LATEST ON {TIME} PARTITION BY {by} ORDER BY {by}",
    )


def _numbered(table: str) -> str:
    """The rows with their number: a scan of a file gives them in their order."""
    return f"(SELECT *, row_number() OVER () - 1 AS {ROW} FROM {table})"


def _aggregate(text: str) -> tuple[str, str, str]:
    found = _AGGREGATE.fullmatch(text.strip())
    if found is None or (found[2] == "*") != (found[1].lower() == "count"):
        raise DeclarationError(
            f"a column was {text!r}; expected FUNCTION(COLUMN) AS NAME, the function one of first, "
            "last, min, max, sum, avg, or count(*)"
        )
    call, of = found[1].lower(), found[2]
    return call, of, found[3] or (call if of == "*" else f"{call}_{of}")


def _of_duckdb(call: str, of: str) -> str:
    if call in ("first", "last"):
        return f"{call}({of} ORDER BY ts_event_ns, {ROW})"
    return f"sum({of})::BIGINT" if call == "sum" else f"{call}({of})"


def _names(*names: str) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise DeclarationError(f"a name was {name!r}; expected letters, digits and _")
