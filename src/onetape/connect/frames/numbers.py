"""Prices to ticks, sizes to lots, whole numbers: exact, or refused.

A decimal or a text is on the grid when it is a whole number of ticks. A float is when it is the
float nearest to a whole number of ticks: 158.49 is, 0.1 + 0.2 is not 0.3 and is refused.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np

from onetape.connect.frames.converted import Converted, cast_what_can_be, missing_of, shown
from onetape.records import DeclarationError

DECIMALS = 18  # after the point; with 20 before it, all that 128 bits hold
FLOAT_EXACT = 1 << 53


@dataclass(frozen=True)
class Grid:
    """The step that prices or sizes are whole numbers of: 'tick' 0.01, 'lot' 1."""

    what: str
    step: Decimal

    @property
    def scale(self) -> int:
        """Digits after the point."""
        return max(0, -int(self.step.as_tuple().exponent))

    @property
    def units(self) -> int:
        """The step in units of its last digit."""
        return int(self.step.scaleb(self.scale))


def grid(what: str, step: Any) -> Grid:
    """A grid from '0.01', 1 or Decimal('0.25'); a float is refused: 0.01 is not a float."""
    try:
        if isinstance(step, bool | float):
            raise InvalidOperation
        value = Decimal(step).normalize()
        if value > 0 and int(value.as_tuple().exponent) >= -DECIMALS and value < 10**9:
            return Grid(what, value)
    except (InvalidOperation, TypeError, ValueError):
        pass
    raise DeclarationError(
        f'{what} was {step!r}; expected a step as text, for example {what}="0.01" '
        f"(over 0, at most {DECIMALS} decimals)"
    )


def on_grid(column: Any, steps: Grid, *, round_off: bool = False) -> Converted:
    """How many steps each value is; off the grid: the nearest (half to even) or a bad row."""
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        values, missing, off = _floats(column, steps)
        unread = np.zeros(len(column), bool)
    else:
        values, missing, off, unread = _decimals(column, steps)
    if round_off:
        for i in np.flatnonzero(off):
            nearest = _nearest(column, int(i), steps)
            if nearest is not None and abs(nearest) < 2**62:
                values[i], off[i] = nearest, False
    return Converted(values, missing, off | unread, lambda i: _why(column, i, steps))


def whole(column: Any, code: str) -> Converted:
    """Integers that fit a field of scalar code `code`, from integers, integral floats or text."""
    if code == "<f8":
        return _as_float(column)
    import pyarrow as pa

    limits = np.iinfo(code)
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        missing = np.isnan(values)
        fits = (np.abs(values) <= FLOAT_EXACT) & (np.floor(values) == values)
        fits &= (values >= limits.min) & (values <= limits.max)
        found = np.where(fits, values, 0).astype(code)
        bad = ~fits & ~missing
    else:
        to = pa.from_numpy_dtype(code)
        missing = missing_of(column)
        cast, bad = cast_what_can_be(_trimmed(column), to)
        found = cast.fill_null(0).to_numpy(zero_copy_only=False)
    least, most = int(limits.min), int(limits.max)
    return Converted(
        found,
        missing,
        bad,
        lambda i: f"{shown(column, i)} is not a whole number from {least} to {most}",
    )


def _as_float(column: Any) -> Converted:
    import pyarrow as pa

    cast, bad = cast_what_can_be(_trimmed(column), pa.float64())
    values = cast.to_numpy(zero_copy_only=False)
    return Converted(
        values, missing_of(column), bad, lambda i: f"{shown(column, i)} is not a number"
    )


def _floats(column: Any, steps: Grid) -> tuple[Any, Any, Any]:
    """Exact, by one rounding: near * step / 1 is the nearest float to a price on the grid."""
    values = column.to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    ratio = Fraction(steps.step)
    with np.errstate(invalid="ignore", over="ignore"):
        wide = values.astype(np.float64)
        near = np.rint(wide * ratio.denominator / ratio.numerator)
        product = near * ratio.numerator
        fits = (np.abs(product) <= FLOAT_EXACT) & (ratio.denominator <= FLOAT_EXACT)
        fits &= (product / ratio.denominator).astype(values.dtype) == values
    return np.where(fits, near, 0).astype(np.int64), missing, ~fits & ~missing


def _decimals(column: Any, steps: Grid) -> tuple[Any, Any, Any, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = missing_of(column)
    wide, unread = cast_what_can_be(_trimmed(column), pa.decimal128(38, DECIMALS))
    cut = pc.cast(wide, pa.decimal128(38, steps.scale), safe=False)
    exact = pc.equal(pc.cast(cut, wide.type), wide).fill_null(True)
    words = np.frombuffer(cut.buffers()[1], np.int64).reshape(-1, 2)
    low, high = words[cut.offset : cut.offset + len(cut)].T
    ticks, rest = np.divmod(low, steps.units)
    fits = exact.to_numpy(zero_copy_only=False) & (high == low >> 63) & (rest == 0)
    return ticks, missing, ~fits & ~missing & ~unread, unread


def _trimmed(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.utf8_trim_whitespace(column) if pa.types.is_string(column.type) else column


def _decimal(column: Any, i: int) -> Decimal | None:
    try:
        value = Decimal(shown(column, i).strip("' "))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _nearest(column: Any, i: int, steps: Grid) -> int | None:
    value = _decimal(column, i)
    if value is None:
        return None
    return round(Fraction(value) / Fraction(steps.step))  # half to even


def _why(column: Any, i: int, steps: Grid) -> str:
    value, nearest = _decimal(column, i), _nearest(column, i, steps)
    if value is None or nearest is None:
        return f"{shown(column, i)} is not a number"
    if abs(nearest) >= 2**62:
        return f"{value} is too large for a {steps.what} of {steps.step}"
    at = (nearest * steps.step).quantize(steps.step, ROUND_HALF_EVEN)
    digits = max(-int(value.as_tuple().exponent), steps.scale)
    finer = Decimal(1).scaleb(-digits)
    instead = f'a finer {steps.what}="{finer:f}"' if steps.scale < digits else ""
    if steps.what == "tick":
        instead += (" or " if instead else "") + 'off_grid="round"'
    return (
        f"{value} is not a whole number of {steps.what}s of {steps.step}; the nearest is {at}: "
        f"give {instead or f'the right {steps.what}'}"
    )
