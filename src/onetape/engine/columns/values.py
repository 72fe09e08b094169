"""What columns compute: whole numbers of 64 bits, some of which are not there.

UNSET is a value that is not known, as the price of an empty side. It spreads as NaN does in floats:

    arithmetic with it gives UNSET (or NaN, where the result is a float)
    nothing is equal to it, below it or above it; `!=` is the opposite of `==`
    a window's sum, min, max and mean leave it out

Dividing by zero gives no value either: UNSET, or NaN. A result that 64 bits do not hold is no such
thing but a mistake of the expression: it raises, and the pipeline halts where it happened.

The text of an expression calls these only where its values can be unset or too large (`bind`).
"""

import math
from typing import Any

from onetape.compiled.bits import add_wrap, mul_wrap
from onetape.compiled.kernel import kernel
from onetape.records import UNSET

TOO_LARGE = "a value of columns is over 64 bits"
NAN = float("nan")
HALF = 1 << 31


@kernel
def col_add(a, b):
    if a == UNSET or b == UNSET:
        return UNSET
    made = add_wrap(a, b)
    if ((a ^ made) & (b ^ made)) < 0 or made == UNSET:
        raise OverflowError(TOO_LARGE)
    return made


@kernel
def col_sub(a, b):
    if a == UNSET or b == UNSET:
        return UNSET
    return col_add(a, -b)


@kernel
def col_mul(a, b):
    if a == UNSET or b == UNSET:
        return UNSET
    small = -HALF < a < HALF and -HALF < b < HALF
    if not small and a != 0 and b != 0:
        # In absolute values: quotients round down, so what is above is above 2**63 - 1.
        if abs(a) > 0x7FFFFFFFFFFFFFFF // abs(b):
            raise OverflowError(TOO_LARGE)
    return mul_wrap(a, b)


@kernel
def col_floordiv(a, b):
    if a == UNSET or b == UNSET or b == 0:
        return UNSET
    return a // b


@kernel
def col_mod(a, b):
    if a == UNSET or b == UNSET or b == 0:
        return UNSET
    return a % b


@kernel
def col_neg(a):
    return UNSET if a == UNSET else -a


@kernel
def col_abs(a):
    return UNSET if a == UNSET else abs(a)


@kernel
def col_min(a, b):
    """The smaller; unset where one of them is, which is the smallest number there is."""
    return min(a, b)


@kernel
def col_max(a, b):
    return UNSET if a == UNSET or b == UNSET else max(a, b)


@kernel
def col_fmin(a, b):
    return NAN if a != a or b != b else min(a, b)


@kernel
def col_fmax(a, b):
    return NAN if a != a or b != b else max(a, b)


@kernel
def col_lt(a, b):
    return a != UNSET and a < b


@kernel
def col_le(a, b):
    return a != UNSET and a <= b


@kernel
def col_eq(a, b):
    return a != UNSET and a == b


@kernel
def col_float(a):
    return NAN if a == UNSET else float(a)


@kernel
def col_sqrt(a):
    """Of a float; below zero there is none."""
    return math.sqrt(a) if a >= 0.0 else NAN


@kernel
def col_ratio(a, b):
    """Of floats."""
    return NAN if b == 0.0 else a / b


@kernel
def col_floor_ratio(a, b):
    return NAN if b == 0.0 else a // b


@kernel
def col_rest(a, b):
    return NAN if b == 0.0 else a % b


KERNELS: dict[str, Any] = {
    name: thing for name, thing in globals().items() if name.startswith("col_")
}


def used(text: str) -> dict[str, Any]:
    """The kernels that a text calls, by name."""
    return {name: thing for name, thing in KERNELS.items() if f"{name}(" in text}
