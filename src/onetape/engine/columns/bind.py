"""Check an expression against a record, and write it as a line of Python.

Kinds: an integer (of 64 bits, signed), a float, a truth value, an id (u64: equal or not, nothing
else). Integers and floats do not mix by themselves: a price is ticks, and 101.25 is not one.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from onetape.engine.columns.expr import BINARY, COMPARE, Expr
from onetape.records import UNSET, DeclarationError
from onetape.records.types import Field, parse_duration_ns

INT, FLOAT, BOOL, ID = "a whole number", "a float", "true or false", "an id"
WINDOWED = ("sum", "count", "least", "greatest", "first", "last")

FIELDS = {INT: Field("<i8"), FLOAT: Field("<f8"), BOOL: Field("|u1"), ID: Field("<u8")}


@dataclass(frozen=True)
class Bound:
    """Text of the value, its kind, and the field that would hold it."""

    text: str
    kind: str
    field: Field


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
        return Bound(f"{self.event}.{name}", kind, field)

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
        if not -(2**63) <= value < 2**63:
            _fail(expr, f"{value} has more than 64 bits")
        return Bound(f"({value})" if value < 0 else str(value), INT, FIELDS[INT])

    def _binary(self, expr: Expr) -> Bound:
        left, right = self._two(expr)
        if expr.op == "truediv":  # the compiler divides floats; so does the text, in every mode
            left, right = (Bound(f"float({b.text})", FLOAT, b.field) for b in (left, right))
        kind = left.kind
        return Bound(f"({left.text} {BINARY[expr.op]} {right.text})", kind, FIELDS[kind])

    def _pair(self, expr: Expr) -> Bound:
        left, right = self._two(expr)
        return Bound(f"{expr.op}({left.text}, {right.text})", left.kind, FIELDS[left.kind])

    def _compare(self, expr: Expr) -> Bound:
        left, right = self._two(expr, ids=expr.op in ("eq", "ne"), bools=expr.op in ("eq", "ne"))
        return Bound(f"({left.text} {COMPARE[expr.op]} {right.text})", BOOL, FIELDS[BOOL])

    def _logic(self, expr: Expr) -> Bound:
        left, right = (self._of_kind(a, (BOOL,)) for a in expr.args)
        return Bound(f"({left.text} {expr.op} {right.text})", BOOL, FIELDS[BOOL])

    def _not(self, expr: Expr) -> Bound:
        return Bound(f"(not {self._of_kind(expr.args[0], (BOOL,)).text})", BOOL, FIELDS[BOOL])

    def _neg(self, expr: Expr) -> Bound:
        value = self._of_kind(expr.args[0], (INT, FLOAT))
        return Bound(f"(-{value.text})", value.kind, FIELDS[value.kind])

    def _abs(self, expr: Expr) -> Bound:
        value = self._of_kind(expr.args[0], (INT, FLOAT))
        return Bound(f"abs({value.text})", value.kind, FIELDS[value.kind])

    def _is_set(self, expr: Expr) -> Bound:
        return Bound(f"({self._of_kind(expr.args[0], (INT,)).text} != {UNSET})", BOOL, FIELDS[BOOL])

    def _to_float(self, expr: Expr) -> Bound:
        return Bound(f"float({self._of_kind(expr.args[0], (INT,)).text})", FLOAT, FIELDS[FLOAT])

    def _alias(self, expr: Expr) -> Bound:
        return self.bind(expr.args[0])

    def _when(self, expr: Expr) -> Bound:
        test = self._of_kind(expr.args[0], (BOOL,))
        then, other = self._same_kind(expr, expr.args[1], expr.args[2])
        text = f"({then.text} if {test.text} else {other.text})"
        return Bound(text, then.kind, FIELDS[then.kind])

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
                return Bound(str(parse_duration_ns(said)), INT, FIELDS[INT])
            except DeclarationError as error:
                _fail(expr, str(error))
        _fail(
            expr,
            f"text {said!r} has no meaning beside {beside!r}; a letter goes with a one-byte "
            "field (c.side == 'B'), a duration with a time in ns ('5ms')",
        )


def _fields_in(expr: Expr) -> list[str]:
    if expr.op == "field":
        return [expr.args[0]]
    return [f for arg in expr.args if isinstance(arg, Expr) for f in _fields_in(arg)]


def _known(name: str, of: Any) -> str:
    near = difflib.get_close_matches(name, of._fields, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"It has {', '.join(of._fields)}"


def _fail(expr: Expr, what: str) -> NoReturn:
    raise DeclarationError(expr.place.says(what))
