"""What the columns of a window need: fields of a pane, how a row is added, how two panes join.

Each sum, count, least, greatest, first or last is written once, however often it occurs.
"""

from dataclasses import replace
from typing import Any

from onetape.engine.columns.bind import BOOL, FIELDS, FLOAT, ID, INT, Bound, bind
from onetape.engine.columns.expr import Expr, same
from onetape.records import UNSET, DeclarationError

SUM_MAX = 1 << 62  # of a window; two such sums still fit 64 bits
ROWS_MAX = 1 << 62
COUNT = "rows_count"
LEAST, GREATEST = str(2**63 - 1), str(-(2**63))


class Panes:
    """The fields of a pane, and the lines that keep them, as expressions ask for them."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.known: dict[Any, Bound] = {}
        self.fields = [f"    {COUNT}: i64 = 0"]
        self.add: list[str] = []
        self.merge: list[str] = []

    def leaf(self, expr: Expr) -> Bound:
        """What stands for a sum, a count ... in the result."""
        if expr.op == "count":
            return Bound(f"self.{COUNT}", INT, FIELDS[INT], 0, ROWS_MAX)
        if expr.op == "start":
            return Bound("start_ns", INT, FIELDS[INT], -ROWS_MAX, ROWS_MAX)
        if expr.op == "mean":
            total, rows = (self.leaf(Expr(op, *expr.args)) for op in ("sum", "set_rows"))
            text = f"col_ratio(float({total.text}), float({rows.text}))"
            return Bound(text, FLOAT, FIELDS[FLOAT])
        key = same(expr)
        if key not in self.known:
            name = f"{expr.op}_{len(self.known)}"
            self.known[key] = self._field(name, expr.op, bind(expr.args[0], self.of), expr)
        return self.known[key]

    def _field(self, name: str, op: str, value: Bound, expr: Expr) -> Bound:
        if op == "set_rows" and not value.may_be_unset and value.kind != FLOAT:
            return Bound(f"self.{COUNT}", INT, FIELDS[INT], 0, ROWS_MAX)
        mine, later = f"self.{name}", f"later.{name}"
        if op in ("sum", "least", "greatest", "var") and value.kind not in (INT, FLOAT):
            raise DeclarationError(expr.place.says(f"{op}() of {value.kind}; expected numbers"))
        if op == "var":
            return self._variance(name, value)
        kind = {FLOAT: "f64", ID: "u64"}.get(value.kind, "i64")
        start, text = "0.0" if kind == "f64" else "0", value.text
        some: list[str] = []  # in front of a line that takes only what is set
        made = Bound(mine, value.kind, value.field, value.least, value.most, value.may_be_unset)
        nothing, there = str(UNSET), "{0} != " + str(UNSET)
        if value.kind == FLOAT:
            nothing, there = 'float("nan")', "{0} == {0}"
        is_partial = value.may_be_unset or value.kind == FLOAT
        if is_partial and op in ("sum", "least", "greatest", "set_rows"):
            self.add.append(f"value = {text}")
            some, text = [f"if {there.format('value')}:"], "value"
        if op == "set_rows":
            kind, made = "i64", Bound(mine, INT, FIELDS[INT], 0, ROWS_MAX)
            self.add += _under(some, f"{mine} += 1")
            self.merge.append(f"{mine} += {later}")
        elif op == "sum":
            if value.kind == INT:
                made = Bound(mine, INT, FIELDS[INT], -SUM_MAX, SUM_MAX)
            self.add += _under(some, f"{mine} += {text}")
            self.merge.append(f"{mine} += {later}")
            if value.kind == INT:
                guard = f"if not {-SUM_MAX} < {mine} < {SUM_MAX}:"
                fault = f'    raise OverflowError("{expr!r}: the sum is over 2**62 in one window")'
                self.add += [guard, fault]
                self.merge += [guard, fault]
        elif op in ("least", "greatest"):
            function, start = ("min", LEAST) if op == "least" else ("max", GREATEST)
            if is_partial:
                start = nothing
            for lines, other, given in ((self.add, text, some), (self.merge, later, [])):
                if is_partial:
                    given = [f"if not ({there.format(mine)}):", f"    {mine} = {other}"]
                    given += [f"elif {there.format(other)}:"]
                lines += _under(given, f"{mine} = {function}({mine}, {other})")
        elif op == "last":
            self.add.append(f"{mine} = {text}")
            self.merge.append(f"{mine} = {later}")
        else:
            self.add += [f"if self.{COUNT} == 0:", f"    {mine} = {text}"]
        self.fields.append(f"    {name}: {kind} = {start}")
        return replace(made, field=FIELDS[INT]) if made.kind == BOOL else made

    def _variance(self, name: str, value: Bound) -> Bound:
        """Count, mean and squared distances, kept row by row, and joined for two panes.

        Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
        """
        n, mean, squares = (f"{name}_{part}" for part in ("n", "mean", "squares"))
        self.fields += [f"    {part}: f64 = 0.0" for part in (n, mean, squares)]
        there = f"value != {UNSET}" if value.may_be_unset else "value == value"
        self.add += [
            f"value = {value.text}",
            f"if {there}:",
            f"    self.{n} += 1.0",
            f"    off = float(value) - self.{mean}",
            f"    self.{mean} += off / self.{n}",
            f"    self.{squares} += off * (float(value) - self.{mean})",
        ]
        self.merge += [
            f"if later.{n} > 0.0:",
            f"    both = self.{n} + later.{n}",
            f"    off = later.{mean} - self.{mean}",
            f"    self.{mean} += off * later.{n} / both",
            f"    self.{squares} += later.{squares} + off * off * self.{n} * later.{n} / both",
            f"    self.{n} = both",
        ]
        made = f"(self.{squares} / (self.{n} - 1.0) if self.{n} > 1.0 else col_float({UNSET}))"
        return Bound(made, FLOAT, FIELDS[FLOAT])


def _under(head: list[str], line: str) -> list[str]:
    """The line, in the block that `head` begins, if it does."""
    return [*head, f"    {line}"] if head else [line]
