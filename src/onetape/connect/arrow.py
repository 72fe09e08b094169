"""Rows of a record as an Arrow table that other tools read without a manual.

Times are timestamps in UTC, UNSET is null, `side`, `action` and `kind` are letters, `flags` are
words, and a column `symbol` stands in front where symbols are known. Prices stay integer ticks,
unless decimals are asked for: then `price_ticks` becomes `price`.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from onetape.codecs.feed import symbol_of
from onetape.records import UNSET, OperatorError
from onetape.records.market import FLAG_NAMES

LETTERS = ("side", "action", "kind")
PRECISION = 38
SMALL = 1 << 20


def arrow_table(of: Any, rows: Any, symbols: Any = None, tick: Decimal | None = None) -> Any:
    """The rows as a pyarrow Table. `symbols`: see `symbol_at`; `tick`: prices as decimals."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    if symbols is not None and "instrument_id" in of.fields:
        columns["symbol"] = _texts(rows["instrument_id"], lambda i: symbol_at(symbols, i))
    for name, field in of.fields.items():
        values = np.ascontiguousarray(rows[name])
        made, called = _column(name, field, values), name
        if tick is not None and name.endswith("_ticks"):
            made, called = _prices(values, field, tick), name.removesuffix("_ticks")
        columns[called] = made
    return pa.table(columns)


def _column(name: str, field: Any, values: Any) -> Any:
    import pyarrow as pa

    if field.length is not None:
        return pa.FixedSizeListArray.from_arrays(_scalar(field, values.reshape(-1)), field.length)
    if name.endswith("_ns") and "ts" in name.split("_"):
        return _scalar(field, values).cast(pa.timestamp("ns", "UTC"))
    if name in LETTERS and field.code == "|u1":
        return _texts(values, lambda code: chr(code) if code else "")
    if name == "flags":
        return _texts(values, flag_words)
    return _scalar(field, values)


def symbol_at(symbols: Any, instrument: int) -> str:
    """The symbol of an instrument, or ''. Tables have texts by id, feeds their words by index."""
    if isinstance(symbols, Mapping):
        return str(symbols.get(instrument, ""))
    return symbol_of(int(symbols[instrument])) if instrument < len(symbols) else ""


def flag_words(bits: int) -> str:
    """'late,stale'; a bit without a name is its number."""
    words = [name for name, bit in FLAG_NAMES.items() if bits & bit]
    rest = bits & ~sum(FLAG_NAMES.values())
    return ",".join([*words, str(rest)] if rest else words)


def _scalar(field: Any, values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, mask=values == UNSET if field.code == "<i8" else None)


def _texts(values: Any, text_of: Any) -> Any:
    import pyarrow as pa

    distinct, places = _distinct(values)
    texts = pa.array([text_of(int(value)) for value in distinct], pa.string())
    return pa.DictionaryArray.from_arrays(places.astype(np.int32), texts)


def _distinct(values: Any) -> tuple[Any, Any]:
    """The values there are, in order, and the place of each among them. Some 2 ns a value where
    they are small numbers, as ids and letters are."""
    if not len(values) or values.min() < 0 or (most := int(values.max())) >= SMALL:
        distinct, places = np.unique(values, return_inverse=True)
        return distinct, places
    is_there = np.zeros(most + 1, bool)
    is_there[values] = True
    distinct = np.flatnonzero(is_there)
    place = np.zeros(most + 1, np.int32)
    place[distinct] = np.arange(len(distinct))
    return distinct, place[values]


def _prices(ticks: Any, field: Any, tick: Decimal) -> Any:
    """Decimals with as many digits after the point as the tick has."""
    import pyarrow as pa

    scale = max(0, -int(tick.as_tuple().exponent))
    step, flat = int(tick.scaleb(scale)), ticks.reshape(-1)
    unset = flat == UNSET
    counted = np.where(unset, 0, flat)
    if len(counted) and int(np.abs(counted).max()) * step >= 1 << 63:
        raise OperatorError(
            f"prices of {step} units do not fit 64 bits; take the ticks as they are"
        )
    words = np.empty((len(flat), 2), np.int64)
    words[:, 0] = counted * step
    words[:, 1] = words[:, 0] >> 63
    valid = np.packbits(~unset, bitorder="little")
    made = pa.Array.from_buffers(
        pa.decimal128(PRECISION, scale),
        len(flat),
        [pa.py_buffer(valid.tobytes()), pa.py_buffer(words.tobytes())],
    )
    if field.length is None:
        return made
    return pa.FixedSizeListArray.from_arrays(made, field.length)
