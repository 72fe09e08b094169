"""Which column becomes which field of a record, and by which rule.

The rule follows from the field's name, as everywhere in onetape: `*_ticks` is a price, `*_lots` a
size, `ts_*_ns` a time, `side` a side, and a u32 `*_id` may be a symbol.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np

from onetape.connect.frames import numbers, words
from onetape.connect.frames.converted import Converted
from onetape.connect.frames.times import TimeRule, times_ns
from onetape.records import UNSET, DeclarationError, PeerError
from onetape.records.market import NO_SIDE, MarketEvent

SIDES_OF = ("maker", "taker")


@dataclass
class Rules:
    """How the values of a table are read; one for all its columns."""

    tick: numbers.Grid
    lot: numbers.Grid
    time: TimeRule
    off_grid: str = "refuse"
    side_of: str | None = None
    symbols: Mapping[str, int] | None = None
    seen: dict[str, int] = field(default_factory=dict)  # symbols that were met, numbered from 0


def columns_of(of: Any, types: Mapping[str, Any], chosen: Mapping[str, Any], where: str) -> Any:
    """{field: column} of a record; None leaves a field out.

    DeclarationError names a field, a column or a needed field that is missing, and the nearest.
    """
    for name, column in chosen.items():
        if name not in of.fields:
            raise DeclarationError(
                f"columns: {of.__name__} has no field {name!r}" + near(name, of.fields)
            )
        if column is not None and column not in types:
            raise DeclarationError(f"{where} has no column {column!r}" + near(column, types))
    found = {}
    for name in of.fields:
        column = chosen.get(name, name if name in types else None)
        if column is not None:
            found[name] = column
        elif name not in chosen and (name == "ts_event_ns" or is_needed(of, name)):
            none = "before all else" if name == "ts_event_ns" else "leave it out"
            raise DeclarationError(
                f"{where} has no column {name!r}, which {of.__name__} needs; say which it is: "
                f"columns={{{name!r}: ...}} (None: {none}){near(name, types)}"
            )
    return found


def near(name: str, known: Any) -> str:
    """'; did you mean 'x'? It has a, b, c', for a message."""
    lower = {str(k).lower(): str(k) for k in known}
    match = get_close_matches(name.lower(), lower, 1)
    return (
        f"; did you mean {lower[match[0]]!r}?" if match else ";"
    ) + f" It has {', '.join(known)}"


def is_needed(of: Any, name: str) -> bool:
    """Prices and sizes are not left out by mistake."""
    return name.endswith(("_ticks", "_lots")) and of.fields[name].length is None


def may_be_unset(of: Any, name: str) -> bool:
    """May a row lack this field? A quote may have no bid; a trade without a price is none."""
    if name == "ts_event_ns" or of.fields[name].code != "<i8":
        return False
    return of is MarketEvent or name not in ("price_ticks", "qty_lots")


def is_quoted_size(name: str) -> bool:
    """A side without orders has size 0; any other size that is missing is unknown."""
    return name.startswith(("bid_", "ask_")) and name.endswith("_lots")


def is_time(name: str) -> bool:
    """'ts_event_ns', 'first_ts_ns': a point in time; 'width_ns' is a duration."""
    return name.endswith("_ns") and "ts" in name.split("_")


def is_symbol(of: Any, name: str, column: str, kind: Any, is_text: bool) -> bool:
    """Is a u32 id given as symbols? In a CSV all is text: there a column '...id' holds numbers."""
    import pyarrow as pa

    is_id = (
        name.endswith("_id") and of.fields[name].code == "<u4" and of.fields[name].length is None
    )
    worded = _is_text(kind) or (pa.types.is_dictionary(kind) and _is_text(kind.value_type))
    return is_id and worded and not (is_text and column.lower().endswith("id"))


def empty_value(name: str, code: str) -> int:
    """What an unmapped field holds."""
    if name == "side":
        return NO_SIDE
    if name == "ts_event_ns":
        return 0
    return UNSET if code == "<i8" and (name.endswith("_ticks") or is_time(name)) else 0


def convert(of: Any, name: str, column: str, values: Any, rules: Rules, is_text: bool) -> Converted:
    """One column of a batch as one field."""
    import pyarrow as pa
    import pyarrow.compute as pc

    code, length = of.fields[name].code, of.fields[name].length
    kind = values.type
    if length is not None:
        return _array(column, values, code, length)
    symbol = is_symbol(of, name, column, kind, is_text)
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
    if _is_text(values.type) or pa.types.is_null(values.type):
        values = pc.cast(values, pa.string())
    kind = values.type
    if symbol:
        return _symbols(values, rules)
    if is_time(name):
        return times_ns(values, column, rules.time, is_ns=column == name)
    is_number = any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )
    is_text = pa.types.is_string(kind)
    if name == "side":
        if rules.side_of is None and not pa.types.is_integer(kind):
            raise DeclarationError(
                f'column {column!r} is a side; say whose: side_of="maker" (of the order that '
                'rested) or side_of="taker" (of who traded against it, the aggressor)'
            )
        return words.sides(values, is_taker=rules.side_of == "taker")
    if name in ("action", "kind") and is_text:
        return words.letters(values)
    if name == "flags" and is_text and not _is_digits(values):
        return words.flags(values)
    if not (is_number or is_text or pa.types.is_boolean(kind)):
        raise PeerError(f"column {column!r} is {kind}; field {name} takes a number")
    if name.endswith("_ticks"):
        return numbers.on_grid(values, rules.tick, round_off=rules.off_grid == "round")
    if name.endswith("_lots"):
        found = numbers.on_grid(values, rules.lot)
        return found
    return numbers.whole(values, code)


def _symbols(values: Any, rules: Rules) -> Converted:
    if rules.symbols is not None:
        return words.symbols(values, rules.symbols)
    seen = rules.seen
    return words.by_word(values, lambda s: seen.setdefault(s, len(seen)), "is no symbol")


def _array(column: str, values: Any, code: str, length: int) -> Converted:
    """A list column, each list as long as the field."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type)):
        raise PeerError(f"column {column!r} is {values.type}; expected lists of {length}")
    lengths = pc.list_value_length(values).fill_null(0).to_numpy()
    if (lengths != length).any():
        i = int(np.argmax(lengths != length))
        raise PeerError(f"column {column!r}, row {i}: a list of {lengths[i]}; expected {length}")
    flat = numbers.whole(values.flatten(), code)
    made = np.where(flat.missing, UNSET if code == "<i8" else 0, flat.values)
    bad = flat.bad.reshape(-1, length).any(axis=1)
    none = np.zeros(len(values), bool)
    return Converted(made.reshape(-1, length), none, bad, lambda i: f"a value of {column} is bad")


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    view = getattr(pa.types, "is_string_view", lambda _: False)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or view(kind))


def _is_digits(values: Any) -> bool:
    first = next((v.as_py() for v in values if v.is_valid), "")
    return first.isdigit()
