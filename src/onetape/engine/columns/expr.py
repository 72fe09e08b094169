"""Expressions over the fields of a record: values that are written now and compiled later.

    from onetape import c
    c.qty_lots > 1_000
    (c.price_ticks - c.vwap).abs() * 10_000 > 50 * c.vwap
    ot.when(c.side == "B").then(c.qty_lots).otherwise(-c.qty_lots)

An expression is a tree that knows where it was written. It has no value in Python: it is checked
against a record when a stream takes it (`bind.py`), and becomes a line of the driver.
"""

from __future__ import annotations

from typing import Any, NoReturn

from onetape.records import DeclarationError
from onetape.records.places import Place, here
from onetape.records.types import parse_duration_ns

Value = "Expr | int | float | str | bool"

BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%",
}  # fmt: skip
COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
SIGNS = BINARY | COMPARE | {"and": "&", "or": "|"}
PREFIXES = {"neg": "-", "not": "~"}


class Expr:
    """One node of an expression. `op` says what it does with `args`."""

    __slots__ = ("args", "op", "place")

    def __init__(self, op: str, *args: Any, place: Place | None = None) -> None:
        self.op, self.args = op, args
        self.place = place or here()

    # --- arithmetic: integers give integers, `/` gives a float -----------------------------------

    def __add__(self, other: Any) -> Expr:
        return Expr("add", self, lift(other))

    def __radd__(self, other: Any) -> Expr:
        return Expr("add", lift(other), self)

    def __sub__(self, other: Any) -> Expr:
        return Expr("sub", self, lift(other))

    def __rsub__(self, other: Any) -> Expr:
        return Expr("sub", lift(other), self)

    def __mul__(self, other: Any) -> Expr:
        return Expr("mul", self, lift(other))

    def __rmul__(self, other: Any) -> Expr:
        return Expr("mul", lift(other), self)

    def __truediv__(self, other: Any) -> Expr:
        return Expr("truediv", self, lift(other))

    def __rtruediv__(self, other: Any) -> Expr:
        return Expr("truediv", lift(other), self)

    def __floordiv__(self, other: Any) -> Expr:
        return Expr("floordiv", self, lift(other))

    def __rfloordiv__(self, other: Any) -> Expr:
        return Expr("floordiv", lift(other), self)

    def __mod__(self, other: Any) -> Expr:
        return Expr("mod", self, lift(other))

    def __rmod__(self, other: Any) -> Expr:
        return Expr("mod", lift(other), self)

    def __neg__(self) -> Expr:
        return Expr("neg", self)

    # --- comparison and logic --------------------------------------------------------------------

    def __lt__(self, other: Any) -> Expr:
        return Expr("lt", self, lift(other))

    def __le__(self, other: Any) -> Expr:
        return Expr("le", self, lift(other))

    def __gt__(self, other: Any) -> Expr:
        return Expr("gt", self, lift(other))

    def __ge__(self, other: Any) -> Expr:
        return Expr("ge", self, lift(other))

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return Expr("eq", self, lift(other))

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return Expr("ne", self, lift(other))

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Expr:
        return Expr("and", self, lift(other))

    def __or__(self, other: Any) -> Expr:
        return Expr("or", self, lift(other))

    def __invert__(self) -> Expr:
        return Expr("not", self)

    def __bool__(self) -> NoReturn:
        raise DeclarationError(
            here().says(
                "an expression has no truth value while it is written: use & for and, | for or, "
                "~ for not, each comparison in ( ); a < x < b is (a < x) & (x < b)"
            )
        )

    def __iter__(self) -> NoReturn:
        raise DeclarationError(here().says("an expression is one value; it cannot be iterated"))

    # --- functions of a row ----------------------------------------------------------------------

    def abs(self) -> Expr:
        """The value without its sign."""
        return Expr("abs", self)

    def clip(self, least: Any, most: Any) -> Expr:
        """The value, but not below `least` nor above `most`."""
        return self.max(least).min(most)

    def is_set(self) -> Expr:
        """Is it a value? False where the field is UNSET, as the price of an empty side."""
        return Expr("is_set", self)

    def sqrt(self) -> Expr:
        """The square root, a float; NaN below zero."""
        return Expr("sqrt", self)

    def to_float(self) -> Expr:
        """The integer as a float: from here on, exactness is over."""
        return Expr("to_float", self)

    def alias(self, name: str) -> Expr:
        """The same value under another name, for select and agg."""
        return Expr("alias", self, name)

    # --- over the rows of a window; min and max with an argument: of two values of one row -------

    def min(self, other: Any = None) -> Expr:
        """The least of a window's rows; with `other`, the smaller of both."""
        return Expr("least", self) if other is None else Expr("min", self, lift(other))

    def max(self, other: Any = None) -> Expr:
        """The greatest of a window's rows; with `other`, the greater of both."""
        return Expr("greatest", self) if other is None else Expr("max", self, lift(other))

    def sum(self) -> Expr:
        """The sum over a window's rows; over 2**62 the pipeline halts."""
        return Expr("sum", self)

    def mean(self) -> Expr:
        """The mean over a window's rows, a float; NaN where none of them has a value."""
        return Expr("mean", self)

    def var(self) -> Expr:
        """The sample variance over a window's rows, a float; NaN for fewer than two."""
        return Expr("var", self)

    def std(self) -> Expr:
        """The square root of the sample variance, a float."""
        return Expr("var", self).sqrt()

    def quantile(self, share: float) -> Expr:
        """The value below which `share` (0 to 1) of a window's rows lie; 0.5 is the median.

        From a sketch of 2 KiB: off by at most log2(largest / smallest) / 511 of the value.
        """
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            place = here()
            raise DeclarationError(place.says(f"quantile({share!r}); expected a share, 0 to 1"))
        return Expr("quantile", self, float(share))

    def twap(self) -> Expr:
        """The mean over a window's time, each value as long as it is in force; a float."""
        return Expr("twap", self)

    def ema(self, half_life: str | int) -> Expr:
        """The mean of all rows up to a window's end, of half the weight each `half_life`; a float.

        Older rows than the window's count too, except in sessions and batches.
        """
        half_life_ns = parse_duration_ns(half_life)
        if half_life_ns <= 0:
            raise DeclarationError(here().says(f"ema({half_life!r}); expected more than 0 ns"))
        return Expr("ema", self, half_life_ns)

    def first(self) -> Expr:
        """Of a window's first row."""
        return Expr("first", self)

    def last(self) -> Expr:
        """Of a window's last row."""
        return Expr("last", self)

    def __repr__(self) -> str:
        """As one would write it."""
        some = [repr(arg) for arg in self.args]
        if self.op == "field":
            return f"c.{self.args[0]}"
        if self.op == "constant":
            return some[0]
        if sign := SIGNS.get(self.op):
            return f"({some[0]} {sign} {some[1]})"
        if self.op in PREFIXES:
            return f"{PREFIXES[self.op]}{some[0]}"
        if self.op == "when":
            return f"when({some[0]}).then({some[1]}).otherwise({some[2]})"
        if not some:
            return f"{self.op}()"
        called = {"least": "min", "greatest": "max"}.get(self.op, self.op)
        return f"{some[0]}.{called}({', '.join(some[1:])})"


class Columns:
    """`c.name` is the field `name` of whatever record the expression is used on."""

    def __getattr__(self, name: str) -> Expr:
        if name.startswith("__"):
            raise AttributeError(name)
        return Expr("field", name)

    def __getitem__(self, name: str) -> Expr:
        return Expr("field", name)

    def __repr__(self) -> str:
        return "c"


c = Columns()
"""The fields of whatever record an expression is used on: `c.x` is the field `x`.

```python
far = trades.filter((c.price_ticks - 1_000).abs() > 50, c.side == "B")
```
"""


def count() -> Expr:
    """How many rows a window has.

    ```python
    busy = trades.window("1s", by=c.instrument_id).agg(trades=ot.count())
    ```
    """
    return Expr("count")


def start_ns() -> Expr:
    """When a window begins: of a session, the time of its first row.

    ```python
    visits = trades.session("2s", by=c.instrument_id).agg(since=ot.start_ns(), rows=ot.count())
    ```
    """
    return Expr("start")


class When:
    """`when(condition).then(value)`, to be ended by `.otherwise(value)`; see `ot.when`."""

    def __init__(self, condition: Any, value: Any = None) -> None:
        self._condition, self._value = condition, value

    def then(self, value: Any) -> When:
        return When(self._condition, value)

    def otherwise(self, value: Any) -> Expr:
        return Expr("when", lift(self._condition), lift(self._value), lift(value))


def when(condition: Any) -> When:
    """One of two values, row by row.

    ```python
    signed = trades.with_columns(
        lots=ot.when(c.side == "A").then(c.qty_lots).otherwise(-c.qty_lots)
    )
    ```
    """
    return When(condition)


def lift(value: Any) -> Expr:
    """A constant as an expression."""
    if isinstance(value, Expr):
        return value
    if not isinstance(value, bool | int | float | str):
        raise DeclarationError(
            here().says(f"{value!r} is not a column, a number or a text such as '5ms'")
        )
    return Expr("constant", value)


def is_arithmetic(expr: Expr) -> bool:
    """Does it add, subtract or multiply anywhere: what can come to more than 64 bits?"""
    inner = [arg for arg in expr.args if isinstance(arg, Expr)]
    return expr.op in ("add", "sub", "mul") or any(map(is_arithmetic, inner))


def same(expr: Expr) -> Any:
    """A key that is equal for expressions that mean the same."""
    return (expr.op, *(same(a) if isinstance(a, Expr) else (type(a), a) for a in expr.args))
