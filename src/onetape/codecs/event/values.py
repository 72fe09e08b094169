"""A value of another program as the value of a field, or the reason why not (ValueError)."""

import math
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from onetape.records.types import UNSET, Field

Take = Callable[[Any], Any]
SHOWN = 40  # letters of a value in a reason


def taker(field: Field, digits: Callable[[str], int] | None = None) -> Take:
    """What checks a value for this field and returns it as the field has it.

    None is UNSET (i64) or NaN (f64). A text is one letter (u8), a name by its CRC-32 as
    instruments have it (u32), or a word of eight letters (u64); or, for 64 bits, what `digits`
    makes of it.
    """
    one = _number if field.code == "<f8" else _whole(field, digits)
    if field.length is None:
        return one
    length = field.length

    def array(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list | tuple):
            raise ValueError(f"was {shown(values)}; expected {length} values")
        if len(values) != length:
            raise ValueError(f"has {len(values)} values; expected {length}")
        return tuple([one(value) for value in values])

    return array


def shown(value: Any) -> str:
    told = str(value) if isinstance(value, Decimal) else repr(value)
    return told if len(told) <= SHOWN else told[:SHOWN] + "..."


def names_of(of: Any, columns: Mapping[str, str], name: str) -> tuple[str, ...]:
    """What a field may be called in a message: what is said, or its own name and its old ones."""
    return (columns[name],) if name in columns else (name, *of.fields[name].was)


def _whole(field: Field, digits: Callable[[str], int] | None) -> Take:
    reads = digits if field.code in ("<i8", "<u8") else None
    bounds = np.iinfo(field.code)
    low, high = int(bounds.min), int(bounds.max)

    def whole(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        if value is None and field.code == "<i8":
            return UNSET
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, str) and reads is None:
            return _text(value, field.code)
        if isinstance(value, str) and reads is not None:
            found = reads(value)
            if low <= found <= high:
                return found
        raise ValueError(f"was {shown(value)}; expected a whole number from {low} to {high}")

    return whole


def _text(text: str, code: str) -> int:
    raw = text.encode()
    if code == "|u1" and len(raw) == 1:
        return raw[0]
    if code == "<u4":
        return zlib.crc32(raw)
    if code == "<u8" and len(raw) <= 8:
        return int.from_bytes(raw.ljust(8), "big")
    if code == "<u8":
        return text_hash(raw)
    raise ValueError(f"was the text {shown(text)}, which this field does not hold")


def text_hash(raw: bytes) -> int:
    """FNV-1a of a text, the top bit set: what FIX messages have for a name over eight letters."""
    word = 0xCBF29CE484222325
    for letter in raw:
        word = (word ^ letter) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return word | 1 << 63


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError(f"was {shown(value)}; expected a number")
