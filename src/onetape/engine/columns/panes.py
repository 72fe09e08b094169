"""What the columns of a window need: fields of a pane, how a row is added, how two panes join.

Each sum, count, least, greatest, first or last is written once, however often it occurs.
"""

from dataclasses import replace
from typing import Any

from onetape.engine.columns.bind import BOOL, FIELDS, FLOAT, ID, INT, Bound, bind
from onetape.engine.columns.expr import Expr, same
from onetape.engine.columns.sketches import CELLS, WORDS
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
        self.carry: list[str] = []  # what is kept of a pane that lies before the window

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
        if expr.op == "quantile":
            return self._quantile(expr)
        key = same(expr)
        if key not in self.known:
            name = f"{expr.op}_{len(self.known)}"
            self.known[key] = self._field(name, expr.op, bind(expr.args[0], self.of), expr)
        return self.known[key]

    def _field(self, name: str, op: str, value: Bound, expr: Expr) -> Bound:
        if op == "set_rows" and not value.may_be_unset and value.kind != FLOAT:
            return Bound(f"self.{COUNT}", INT, FIELDS[INT], 0, ROWS_MAX)
        mine, later = f"self.{name}", f"later.{name}"
        if op not in ("first", "last", "set_rows") and value.kind not in (INT, FLOAT):
            raise DeclarationError(expr.place.says(f"{op}() of {value.kind}; expected numbers"))
        if op == "var":
            return self._variance(name, value)
        if op == "twap":
            return self._twap(name, value)
        if op == "ema":
            return self._ema(name, value, expr.args[1])
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
        self.add += [
            *_if_there(value),
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

    def _quantile(self, expr: Expr) -> Bound:
        """Of a sketch, which all quantiles of one expression share."""
        inner, share = expr.args
        value = bind(inner, self.of)
        if value.kind != INT:
            raise DeclarationError(
                expr.place.says(f"quantile() of {value.kind}; expected a whole number")
            )
        key = ("sketch", same(inner))
        if key not in self.known:
            span, cells = (f"sketch_{len(self.known)}_{part}" for part in ("span", "cells"))
            self.fields += [
                f"    {span}: Array[i64, {WORDS}]",
                f"    {cells}: Array[u32, {CELLS}]",
            ]
            mine, later = (f"{of}.{span}[:], {of}.{cells}[:]" for of in ("self", "later"))
            self.add += [*_if_there(value), f"    sketch_add({mine}, value)"]
            self.merge.append(f"sketch_merge({mine}, {later})")
            self.known[key] = replace(value, text=mine, field=FIELDS[INT])
        sketch = self.known[key]
        return replace(sketch, text=f"sketch_quantile({sketch.text}, {share!r})")

    def _twap(self, name: str, value: Bound) -> Bound:
        """The area under the values from the pane's first row to its last."""
        first, last, value_, area = (f"{name}_{p}" for p in ("first_ns", "last_ns", "last", "area"))
        self.fields += [f"    {part}: i64 = {UNSET}" for part in (first, last)]
        self.fields += [f"    {part}: f64 = 0.0" for part in (value_, area)]
        self.add += [
            *_if_there(value),
            f"    if self.{first} == {UNSET}:",
            f"        self.{first} = self.{last} = e.ts_event_ns",
            f"        self.{value_} = float(value)",
            f"    elif e.ts_event_ns >= self.{last}:",  # an older one is not in force any more
            f"        self.{area} += self.{value_} * float(e.ts_event_ns - self.{last})",
            f"        self.{last} = e.ts_event_ns",
            f"        self.{value_} = float(value)",
        ]
        self.merge += [
            f"if later.{first} != {UNSET}:",
            f"    if self.{first} == {UNSET}:",
            f"        self.{first} = later.{first}",
            "    else:",
            f"        self.{area} += self.{value_} * float(later.{first} - self.{last})",
            f"    self.{area} += later.{area}",
            f"    self.{last} = later.{last}",
            f"    self.{value_} = later.{value_}",
        ]
        self.carry += [
            f"if pane.{first} != {UNSET}:",
            f"    self.{first} = pane.{first}",
            f"    self.{value_} = pane.{value_}",
        ]
        mine = ", ".join(f"self.{part}" for part in (area, first, last, value_))
        before = f"int(before.{first} != {UNSET}), before.{value_}"
        text = f"twap_of({mine}, {before}, start_ns, end_ns)"
        return Bound(text, FLOAT, FIELDS[FLOAT])

    def _ema(self, name: str, value: Bound, half_life_ns: int) -> Bound:
        """Weighted values and their weights, as of the youngest row."""
        total, weight, at = parts = [f"{name}_{part}" for part in ("sum", "weight", "at_ns")]
        self.fields += [f"    {total}: f64 = 0.0", f"    {weight}: f64 = 0.0", f"    {at}: i64 = 0"]
        self.add += [
            *_if_there(value),
            f"    part = half_lives(abs(e.ts_event_ns - self.{at}), {half_life_ns})",
            f"    if e.ts_event_ns >= self.{at}:",
            f"        self.{total} = self.{total} * part + float(value)",
            f"        self.{weight} = self.{weight} * part + 1.0",
            f"        self.{at} = e.ts_event_ns",
            "    else:",
            f"        self.{total} += float(value) * part",
            f"        self.{weight} += part",
        ]
        for lines, other in ((self.merge, "later"), (self.carry, "pane")):
            lines += [
                f"if {other}.{weight} > 0.0:",
                f"    part = half_lives(max({other}.{at} - self.{at}, 0), {half_life_ns})",
                f"    self.{total} = self.{total} * part + {other}.{total}",
                f"    self.{weight} = self.{weight} * part + {other}.{weight}",
                f"    self.{at} = {other}.{at}",
            ]
        mine, before = (", ".join(f"{of}.{part}" for part in parts) for of in ("self", "before"))
        return Bound(f"ema_of({mine}, {before}, {half_life_ns})", FLOAT, FIELDS[FLOAT])


def _if_there(value: Bound) -> list[str]:
    """The value, and the head of a block for when it is one."""
    there = f"value != {UNSET}" if value.may_be_unset else "value == value"
    return [f"value = {value.text}", f"if {there}:"]


def _under(head: list[str], line: str) -> list[str]:
    """The line, in the block that `head` begins, if it does."""
    return [*head, f"    {line}"] if head else [line]
