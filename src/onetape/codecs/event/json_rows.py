"""JSON: one object a message. Times are whole ns and prices ticks, or decimals where asked for.

UNSET is null; a float that is none is null, an infinite one "Infinity" or "-Infinity". Reading also
takes 64-bit numbers as text, and a name or a letter where a field holds one (`values.py`).
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np

from onetape.codecs.event.decoding import Decoder
from onetape.codecs.event.values import Take, names_of, shown, taker
from onetape.codecs.event.wire import header
from onetape.records import DeclarationError
from onetape.records.types import UNSET, Field

DIGITS = re.compile(r"-?\d{1,20}")
INFINITE = {"Infinity": math.inf, "-Infinity": -math.inf}
EXPONENT_MAX = 40  # of a decimal: what has a larger one is no price


class JsonEncoder:
    def __init__(
        self, of: Any, schema_id: int | None, *, tick: str | None, ids_as_text: bool
    ) -> None:
        self._of, self._header = of, header(schema_id)
        self._grid = None if tick is None else _grid(tick)
        parts = []
        for name, field in of.fields.items():
            one = '"%s"' if ids_as_text and field.code == "<u8" else "%s"
            value = one if field.length is None else f"[{','.join([one] * field.length)}]"
            parts.append(f'"{_key(of, name, tick)}":{value}')
        self._template = "{" + ",".join(parts) + "}"

    def __call__(self, rows: Any) -> list[bytes]:
        columns: list[list[Any]] = []
        for name, field in self._of.fields.items():
            of_price = self._grid if _is_price(name, field) else None
            values = rows[name]
            for column in [values] if field.length is None else values.T:
                columns.append(_texts(column, field, of_price))
        template, before = self._template, self._header
        return [before + (template % values).encode() for values in zip(*columns, strict=True)]


class JsonDecoder(Decoder):
    def __init__(
        self,
        of: Any,
        schema_of: Callable[[int], Any] | None,
        columns: Mapping[str, str],
        *,
        tick: str | None,
    ) -> None:
        super().__init__(of, "json", schema_of)
        grid = None if tick is None else _grid(tick)
        self._fields = []
        for name, field in of.fields.items():
            names = names_of(of, columns, name)
            of_price = grid if _is_price(name, field) else None
            if of_price is not None and name not in columns:
                names = (_key(of, name, tick), *names[1:])
            self._fields.append((name, names, _taker(field, of_price)))

    def __call__(self, message: bytes) -> tuple[Any, ...]:
        try:
            told = READER.decode(self._body(message).decode())
        except (ValueError, RecursionError) as why:
            raise self._because(f"the bytes are no JSON ({why})") from None
        if not isinstance(told, dict):
            raise self._because(f"was {shown(told)}; expected an object")
        values = []
        for name, names, take in self._fields:
            key = names[0]
            if key not in told:
                others = [one for one in names[1:] if one in told]
                if not others and name not in self.of._field_defaults:
                    raise self._because("is missing", key)
                if not others:
                    values.append(self.of._field_defaults[name])
                    continue
                key = others[0]
            try:
                values.append(take(told[key]))
            except ValueError as why:
                raise self._because(why, key) from None
        return tuple(values)


def _key(of: Any, name: str, tick: str | None) -> str:
    """What a field is called: with decimals, 'price_ticks' is 'price'."""
    if tick is None or not _is_price(name, of.fields[name]):
        return name
    key = name.removesuffix("_ticks")
    if key in of.fields:
        raise DeclarationError(
            f"{of.__name__}.{name} as a decimal would be {key!r}, which is another field; leave "
            "out tick="
        )
    return key


def _is_price(name: str, field: Field) -> bool:
    return name.endswith("_ticks") and field.code == "<i8"


def _texts(column: Any, field: Field, grid: "_Grid | None") -> list[Any]:
    """Values as a template takes them: numbers, or their text where that is another."""
    values: list[Any] = column.tolist()
    if field.code == "<f8":
        if np.isfinite(column).all():
            return values
        return [_float_text(value) for value in values]
    if grid is not None:
        return ["null" if value == UNSET else f'"{grid.text(value)}"' for value in values]
    if field.code == "<i8" and (column == UNSET).any():
        return ["null" if value == UNSET else value for value in values]
    return values


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "null"
    return repr(value) if math.isfinite(value) else f'"{"-" if value < 0 else ""}Infinity"'


class _Grid:
    """Ticks of a step as decimal text, and back."""

    def __init__(self, step: Decimal) -> None:
        self.scale = max(0, -int(step.as_tuple().exponent))
        self._units = int(step.scaleb(self.scale))
        self._step = Fraction(step)

    def text(self, ticks: int) -> str:
        units = abs(ticks) * self._units
        sign = "-" if ticks < 0 else ""
        if not self.scale:
            return f"{sign}{units}"
        whole, rest = divmod(units, 10**self.scale)
        return f"{sign}{whole}.{rest:0{self.scale}d}"

    def ticks(self, value: Any) -> Any:
        """None stays; ValueError: no decimal, or between two ticks."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise ValueError(f"was {shown(value)}; expected a decimal, as text or number")
        try:
            found = _decimal(value)
        except ValueError:
            raise ValueError(f"was {shown(value)}; expected a decimal") from None
        if not found.is_finite() or abs(found.adjusted()) > EXPONENT_MAX:
            raise ValueError(f"was {shown(value)}, which is no price")
        ticks = Fraction(found) / self._step
        if ticks.denominator != 1:
            raise ValueError(f"was {shown(value)}, which is between two ticks")
        return ticks.numerator


def _grid(tick: str) -> _Grid:
    try:
        step = Decimal(tick) if isinstance(tick, str) else Decimal("nan")
    except InvalidOperation:
        step = Decimal("nan")
    if step.is_finite() and step > 0 and abs(step.adjusted()) <= EXPONENT_MAX:
        return _Grid(step.normalize())
    raise DeclarationError(f'tick was {tick!r}; expected what one tick is, as text: tick="0.01"')


def _taker(field: Field, grid: _Grid | None) -> Take:
    """With what JSON has no number for: 64 bits as text, infinite floats, decimals of a tick."""
    take = taker(field, _from_digits)
    if grid is not None:
        read: Take = grid.ticks
    elif field.code == "<f8":
        read = _from_text
    else:
        return take
    if field.length is None:
        return lambda value: take(read(value))
    return lambda values: take(
        [read(value) for value in values] if isinstance(values, list) else values
    )


def _from_digits(text: str) -> int:
    if not DIGITS.fullmatch(text):
        raise ValueError(f"was {shown(text)}; expected a whole number")
    return int(text)


def _from_text(value: Any) -> Any:
    return INFINITE.get(value, value) if isinstance(value, str) else value


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{shown(value)} is no decimal") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


READER = json.JSONDecoder(parse_float=_decimal, parse_constant=_no_constant)
