"""Check an expression against a record, and write it as a line of Python.

Kinds: an integer (of 64 bits, signed), a float, a truth value, an id (u64: equal or not, nothing
else). Integers and floats do not mix by themselves: a price is ticks, and 101.25 is not one.

Of each integer is known what it can be. Where it can be UNSET, or a result too large, the text
calls `values.py`; where it cannot, it is plain arithmetic.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from onetape.engine.columns.expr import BINARY, COMPARE, Expr
from onetape.records import UNSET, DeclarationError
from onetape.records.types import Field, parse_duration_ns

INT, FLOAT, BOOL, ID = "a whole number", "a float", "true or false", "an id"
WINDOWED = (
    "sum",
    "count",
    "set_rows",
    "least",
    "greatest",
    "first",
    "last",
    "var",
    "mean",
    "quantile",
    "twap",
    "ema",
    "start",
)
MOST = 2**63 - 1
RANGES = {
    "|u1": (0, 2**8 - 1), "<u2": (0, 2**16 - 1), "<u4": (0, 2**32 - 1),
    "|i1": (-(2**7), 2**7 - 1), "<i2": (-(2**15), 2**15 - 1), "<i4": (-(2**31), 2**31 - 1),
}  # fmt: skip

FIELDS = {INT: Field("<i8"), FLOAT: Field("<f8"), BOOL: Field("|u1"), ID: Field("<u8")}


@dataclass(frozen=True)
class Bound:
    """Text of the value, its kind, the field that would hold it, and of an integer its range."""

    text: str
    kind: str
    field: Field
    least: int = -MOST
    most: int = MOST
    may_be_unset: bool = False


Leaf = Callable[[Expr], Bound]


def bind(expr: Expr, of: Any, event: str = "e", windowed: Leaf | None = None) -> Bound:
    """The expression over fields of `event`, a row of the record `of`.

    windowed  what stands for a sum, a count ...; without it these are refused
    """
    return _Binder(of, event, windowed).bind(expr)


def condition(expr: Any, of: Any, event: str = "e") -> str:
    """As `bind`, for something that is true or false."""
    if not isinstance(expr, Expr):
        raise DeclarationError(
            f"filter was given {expr!r}; expected a condition such as c.qty_lots > 100"
        )
    bound = bind(expr, of, event)
    if bound.kind != BOOL:
        _fail(expr, f"this is {bound.kind}; expected a condition, such as c.qty_lots > 100")
    return bound.text


def name_of(expr: Expr) -> str | None:
    """The name an expression has by itself: of a field, or by alias."""
    if expr.op == "alias":
        return str(expr.args[1])
    return str(expr.args[0]) if expr.op == "field" else None


def field_name(by: Any, of: Any, what: str) -> str:
    """The name of a field given as c.name or 'name'."""
    if isinstance(by, Expr) and by.op == "field":
        bind(by, of)
        return str(by.args[0])
    if isinstance(by, str) and by in of._fields:
        return by
    raise DeclarationError(f"{what} was {by!r}; expected a field: {_known(str(by), of)}")


class _Binder:
    def __init__(self, of: Any, event: str, windowed: Leaf | None) -> None:
        self.of, self.event, self.windowed = of, event, windowed

    def bind(self, expr: Expr) -> Bound:
        if expr.op in WINDOWED:
            if self.windowed is None:
                _fail(
                    expr,
                    f"{expr.op}() is over the rows of a window: write "
                    "stream.window('1s', by=c.instrument_id).agg(...)",
                )
            return self.windowed(expr)
        return getattr(self, f"_{self._group(expr.op)}")(expr)  # type: ignore[no-any-return]

    @staticmethod
    def _group(op: str) -> str:
        if op in BINARY:
            return "binary"
        if op in COMPARE:
            return "compare"
        return {"and": "logic", "or": "logic", "min": "pair", "max": "pair"}.get(op, op)

    def _field(self, expr: Expr) -> Bound:
        name = expr.args[0]
        if self.windowed is not None:
            _fail(expr, f"of which row of the window? Write c.{name}.last(), .first(), .sum() ...")
        if name not in self.of.fields:
            _fail(expr, f"{self.of.__name__} has no field {name!r}; {_known(name, self.of)}")
        field = self.of.fields[name]
        if field.length is not None:
            _fail(expr, f"{name!r} is an array of {field.length}; an expression takes one value")
        kind = {"<f8": FLOAT, "<u8": ID}.get(field.code, INT)
        least, most = RANGES.get(field.code, (-MOST, MOST))
        return Bound(f"{self.event}.{name}", kind, field, least, most, field.code == "<i8")

    def _constant(self, expr: Expr) -> Bound:
        value = expr.args[0]
        if isinstance(value, str):
            _fail(expr, f"text {value!r} has no meaning here; compare it with a letter or a time")
        if isinstance(value, bool):
            return Bound(repr(value), BOOL, FIELDS[BOOL])
        if isinstance(value, float):
            if value != value or value in (float("inf"), float("-inf")):
                _fail(expr, f"{value!r} is not a number")
            return Bound(repr(value), FLOAT, FIELDS[FLOAT])
        if value == UNSET:
            _fail(expr, "UNSET is no value to compute with; ask by .is_set()")
        if not UNSET < value < 2**64:
            _fail(expr, f"{value} has more than 64 bits")
        if value > MOST:  # an id, whose bits are read as a signed number
            return Bound(f"({value - 2**64})", ID, FIELDS[ID])
        text = f"({value})" if value < 0 else str(value)
        return Bound(text, INT, FIELDS[INT], value, value)

    def _binary(self, expr: Expr) -> Bound:
        left, right = self._two(expr)
        if expr.op == "truediv":
            text = f"col_ratio({_float(left)}, {_float(right)})"
            return Bound(text, FLOAT, FIELDS[FLOAT])
        plain = f"({left.text} {BINARY[expr.op]} {right.text})"
        if left.kind == FLOAT:
            called = {"floordiv": "col_floor_ratio", "mod": "col_rest"}.get(expr.op)
            text = f"{called}({left.text}, {right.text})" if called else plain
            return Bound(text, FLOAT, FIELDS[FLOAT])
        least, most = _range(expr.op, left, right)
        by_zero = expr.op in ("floordiv", "mod") and right.least <= 0 <= right.most
        unset = left.may_be_unset or right.may_be_unset or by_zero
        is_plain = not unset and least >= -MOST and most <= MOST
        text = plain if is_plain else f"col_{expr.op}({left.text}, {right.text})"
        return Bound(text, INT, FIELDS[INT], max(least, -MOST), min(most, MOST), unset)

    def _pair(self, expr: Expr) -> Bound:
        left, right = self._two(expr)
        if left.kind == FLOAT:
            text = f"col_f{expr.op}({left.text}, {right.text})"
            return Bound(text, FLOAT, FIELDS[FLOAT])
        unset = left.may_be_unset or right.may_be_unset
        text = f"{'col_' * unset}{expr.op}({left.text}, {right.text})"
        choose = min if expr.op == "min" else max
        least, most = choose(left.least, right.least), choose(left.most, right.most)
        return Bound(text, left.kind, FIELDS[left.kind], least, most, unset)

    def _compare(self, expr: Expr) -> Bound:
        left, right = self._two(expr, ids=expr.op in ("eq", "ne"), bools=expr.op in ("eq", "ne"))
        text = f"({left.text} {COMPARE[expr.op]} {right.text})"
        if expr.op in ("lt", "le") and left.may_be_unset:  # nothing is below UNSET by itself
            text = f"col_{expr.op}({left.text}, {right.text})"
        elif expr.op in ("gt", "ge") and right.may_be_unset:
            text = f"col_{'lt' if expr.op == 'gt' else 'le'}({right.text}, {left.text})"
        elif expr.op in ("eq", "ne") and left.may_be_unset and right.may_be_unset:
            text = f"col_eq({left.text}, {right.text})"
            text = f"(not {text})" if expr.op == "ne" else text
        return Bound(text, BOOL, FIELDS[BOOL])

    def _logic(self, expr: Expr) -> Bound:
        left, right = (self._of_kind(a, (BOOL,)) for a in expr.args)
        return Bound(f"({left.text} {expr.op} {right.text})", BOOL, FIELDS[BOOL])

    def _not(self, expr: Expr) -> Bound:
        return Bound(f"(not {self._of_kind(expr.args[0], (BOOL,)).text})", BOOL, FIELDS[BOOL])

    def _neg(self, expr: Expr) -> Bound:
        value = self._of_kind(expr.args[0], (INT, FLOAT))
        text = f"col_neg({value.text})" if value.may_be_unset else f"(-{value.text})"
        return replace(
            value, text=text, field=FIELDS[value.kind], least=-value.most, most=-value.least
        )

    def _abs(self, expr: Expr) -> Bound:
        value = self._of_kind(expr.args[0], (INT, FLOAT))
        text = f"{'col_' * value.may_be_unset}abs({value.text})"
        least, most = sorted((abs(value.least), abs(value.most)))
        least = 0 if value.least <= 0 <= value.most else least
        return replace(value, text=text, field=FIELDS[value.kind], least=least, most=most)

    def _is_set(self, expr: Expr) -> Bound:
        return Bound(f"({self._of_kind(expr.args[0], (INT,)).text} != {UNSET})", BOOL, FIELDS[BOOL])

    def _sqrt(self, expr: Expr) -> Bound:
        return Bound(
            f"col_sqrt({_float(self._of_kind(expr.args[0], (INT, FLOAT)))})", FLOAT, FIELDS[FLOAT]
        )

    def _to_float(self, expr: Expr) -> Bound:
        return Bound(_float(self._of_kind(expr.args[0], (INT,))), FLOAT, FIELDS[FLOAT])

    def _alias(self, expr: Expr) -> Bound:
        return self.bind(expr.args[0])

    def _when(self, expr: Expr) -> Bound:
        test = self._of_kind(expr.args[0], (BOOL,))
        then, other = self._same_kind(expr, expr.args[1], expr.args[2])
        text = f"({then.text} if {test.text} else {other.text})"
        least, most = min(then.least, other.least), max(then.most, other.most)
        unset = then.may_be_unset or other.may_be_unset
        return Bound(text, then.kind, FIELDS[then.kind], least, most, unset)

    # --- what operands may be --------------------------------------------------------------------

    def _of_kind(self, expr: Expr, kinds: tuple[str, ...]) -> Bound:
        bound = self.bind(expr)
        if bound.kind not in kinds:
            hint = " (an id can be compared by == and !=, nothing else)" if bound.kind == ID else ""
            _fail(expr, f"this is {bound.kind}; expected {' or '.join(kinds)}{hint}")
        return bound

    def _two(self, expr: Expr, ids: bool = False, bools: bool = False) -> tuple[Bound, Bound]:
        kinds = (INT, FLOAT) + (ID,) * ids + (BOOL,) * bools
        left, right = self._same_kind(expr, *expr.args)
        for bound, arg in ((left, expr.args[0]), (right, expr.args[1])):
            if bound.kind not in kinds:
                self._of_kind(arg, kinds)
        return left, right

    def _same_kind(self, expr: Expr, a: Expr, b: Expr) -> tuple[Bound, Bound]:
        left, right = self._read(a, beside=b), self._read(b, beside=a)
        if left.kind == right.kind:
            return left, right
        if {left.kind, right.kind} == {ID, INT}:  # a constant id
            if "constant" in (a.op, b.op):
                number = a if a.op == "constant" else b
                if number.args[0] < 0:
                    _fail(expr, f"an id was {number.args[0]}; expected 0 or more")
                return (
                    Bound(left.text, ID, FIELDS[ID]),
                    Bound(right.text, ID, FIELDS[ID]),
                )
        if {left.kind, right.kind} == {INT, FLOAT}:
            _fail(
                expr,
                "a whole number and a float do not mix by themselves: prices are ticks, "
                "quantities lots, times ns; write a whole number, or c.x.to_float() where a float "
                "is meant",
            )
        _fail(expr, f"{left.kind} and {right.kind} do not go together here")

    def _read(self, expr: Expr, beside: Expr) -> Bound:
        """An operand; text is a letter or a duration, by what stands on the other side."""
        if expr.op != "constant" or not isinstance(expr.args[0], str):
            return self.bind(expr)
        said, fields = expr.args[0], _fields_in(beside)
        letters = [f for f in fields if getattr(self.of.fields.get(f), "code", "") == "|u1"]
        if len(said) == 1 and letters:
            return Bound(str(ord(said)), INT, FIELDS[INT])
        if any(f.endswith("_ns") for f in fields):
            try:
                time_ns = parse_duration_ns(said)
                return Bound(str(time_ns), INT, FIELDS[INT], time_ns, time_ns)
            except DeclarationError as error:
                _fail(expr, str(error))
        _fail(
            expr,
            f"text {said!r} has no meaning beside {beside!r}; a letter goes with a one-byte "
            "field (c.side == 'B'), a duration with a time in ns ('5ms')",
        )


def _float(value: Bound) -> str:
    """The text of a number as a float."""
    if value.kind == FLOAT:
        return value.text
    return f"{'col_' * value.may_be_unset}float({value.text})"


def _range(op: str, left: Bound, right: Bound) -> tuple[int, int]:
    """The least and the greatest that an operation on two integers can give."""
    if op == "add":
        return left.least + right.least, left.most + right.most
    if op == "sub":
        return left.least - right.most, left.most - right.least
    if op == "mul":
        ends = [a * b for a in (left.least, left.most) for b in (right.least, right.most)]
        return min(ends), max(ends)
    if op == "mod":  # the sign of the divisor, as in Python
        return min(right.least + 1, 0), max(right.most - 1, 0)
    farthest = max(-left.least, left.most)  # the divisor is 1 or -1 at least
    return -farthest, farthest


def _fields_in(expr: Expr) -> list[str]:
    if expr.op == "field":
        return [expr.args[0]]
    return [f for arg in expr.args if isinstance(arg, Expr) for f in _fields_in(arg)]


def _known(name: str, of: Any) -> str:
    near = difflib.get_close_matches(name, of._fields, 1)
    near = near or [field for field in of._fields if name and field.startswith(name)]
    return (f"did you mean {near[0]!r}? " if near else "") + f"It has {', '.join(of._fields)}"


def _fail(expr: Expr, what: str) -> NoReturn:
    raise DeclarationError(expr.place.says(what))
