"""What a record is in a table of QuestDB: a column a field, with a type of its own.

    ts_event_ns        ts_event TIMESTAMP_NS, by which the table is in order
    ts_*_ns            TIMESTAMP_NS, without the _ns
    *_ticks            LONG; as decimals: DECIMAL(18, digits of the tick), without the _ticks
    i64 i32 u64 u32    LONG: UNSET is null, and an id over 2**63 is negative (the same bits)
    u16 u8             INT
    side action kind   SYMBOL, a letter; flags: SYMBOL, words; rule: also its text
    f64                DOUBLE
    an array           VARCHAR, as JSON

Two columns stand for the row itself: `run`, the name of what wrote it, and `output_row`, its number
in the output. With the time they are the key by which QuestDB keeps one of what is sent twice.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from onetape.connect.arrow import LETTERS, flag_words, symbol_at
from onetape.connect.sinks.taking import Output
from onetape.records import UNSET, DeclarationError

TIME, RUN, ROW = "ts_event", "run", "output_row"
KEYS = (TIME, RUN, ROW)


@dataclass(frozen=True)
class Column:
    """A column and its values for a block of rows: Python values, None for null."""

    name: str
    type: str
    values: Callable[[Any], list[Any]]


def columns_of(output: Output, decimals: bool = False) -> list[Column]:
    """The columns of an output, less the key. DeclarationError: it cannot be a table."""
    fields = output.of.fields
    if "ts_event_ns" not in fields:
        raise DeclarationError(
            f"output {output.name!r}: {output.of.__name__} has no field ts_event_ns, by which a "
            "table of QuestDB is in order"
        )
    if decimals and output.tick is None:
        raise DeclarationError(
            f"output {output.name!r}: its prices cannot be decimals, because it is not known what "
            "a tick is; leave out decimals=True"
        )
    tick = Decimal(output.tick) if decimals and output.tick is not None else None
    columns = [] if "symbol" in fields else _symbols(output)
    for name, field in fields.items():
        if name != "ts_event_ns":
            columns.append(_column(name, field, tick))
    if "rule" in fields and output.rules:
        columns.append(_texts("text", "rule", lambda rule: output.rules.get(rule, "")))
    if taken := {each.name for each in columns} & set(KEYS):
        raise DeclarationError(
            f"output {output.name!r}: {output.of.__name__} has a field {min(taken)!r}, which "
            "is a column of the key; give it another name by .select(...)"
        )
    return columns


def create_table(table: str, columns: list[Column]) -> str:
    """SQL that makes the table, where there is none."""
    listed = ", ".join(f"{quoted(each.name)} {each.type}" for each in columns)
    keys = ", ".join(map(quoted, KEYS))
    return (
        f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({quoted(TIME)} TIMESTAMP_NS, "
        f"{quoted(RUN)} SYMBOL, {quoted(ROW)} LONG, {listed}) TIMESTAMP({quoted(TIME)}) "
        f"PARTITION BY DAY WAL DEDUP UPSERT KEYS({keys})"
    )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _column(name: str, field: Any, tick: Decimal | None) -> Column:
    if field.length is not None:
        return Column(name, "VARCHAR", lambda rows: [json.dumps(v) for v in rows[name].tolist()])
    if name in LETTERS and field.code == "|u1":
        return _texts(name, name, lambda code: chr(code) if code else "")
    if name == "flags":
        return _texts(name, name, flag_words)
    if name.endswith("_ns") and "ts" in name.split("_"):
        return Column(name.removesuffix("_ns"), "TIMESTAMP_NS", lambda rows: _known(rows[name]))
    if tick is not None and name.endswith("_ticks"):
        return _prices(name, field, tick)
    if field.code == "<f8":
        return Column(
            name, "DOUBLE", lambda rows: [v if v == v else None for v in _plain(rows, name)]
        )
    if field.code == "<i8":
        return Column(name, "LONG", lambda rows: _known(rows[name]))
    if field.code == "<u8":
        return Column(name, "LONG", lambda rows: rows[name].astype("<i8").tolist())
    kind = "INT" if field.code in ("<u2", "|u1") else "LONG"
    return Column(name, kind, lambda rows: _plain(rows, name))


def _prices(name: str, field: Any, tick: Decimal) -> Column:
    called = name.removesuffix("_ticks")
    if field.code == "<f8":
        size = float(tick)
        return Column(called, "DOUBLE", lambda rows: [v * size for v in _plain(rows, name)])
    digits = max(0, -int(tick.as_tuple().exponent))

    def values(rows: Any) -> list[Any]:
        return [None if v is None else v * tick for v in _known(rows[name])]

    return Column(called, f"DECIMAL(18, {digits})", values)


def _symbols(output: Output) -> list[Column]:
    if output.symbols is None or "instrument_id" not in output.of.fields:
        return []
    return [_texts("symbol", "instrument_id", lambda i: symbol_at(output.symbols, i))]


def _texts(called: str, name: str, text_of: Callable[[int], str]) -> Column:
    """A SYMBOL for each code; "" is null."""

    def values(rows: Any) -> list[Any]:
        codes = _plain(rows, name)
        known: Mapping[int, str | None] = {code: text_of(code) or None for code in set(codes)}
        return [known[code] for code in codes]

    return Column(called, "SYMBOL", values)


def _known(values: Any) -> list[Any]:
    plain = values.tolist()
    return [None if v == UNSET else v for v in plain] if UNSET in plain else plain


def _plain(rows: Any, name: str) -> list[Any]:
    made: list[Any] = rows[name].tolist()
    return made
