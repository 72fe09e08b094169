"""`stream.window("1s", every="100ms", by=c.instrument_id).agg(name=expression, ...)`.

Each sum, count, least, greatest, first or last in the expressions is a field of a pane, written
once however often it occurs; around them any arithmetic is done when the window closes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from onetape.engine.batches import batches
from onetape.engine.columns.bind import BOOL, FIELDS, FLOAT, ID, INT, Bound, bind, field_name
from onetape.engine.columns.expr import Expr, lift, same
from onetape.engine.columns.written import written
from onetape.engine.graph import Stream
from onetape.engine.sessions import session
from onetape.engine.window import AggregateSpec, WindowStream, aggregate, window
from onetape.records import UNSET, DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Field, f64, i64, u64

SUM_MAX = 1 << 62  # of a window; two such sums still fit 64 bits
ROWS_MAX = 1 << 62
COUNT = "rows_count"
LEAST = {INT: str(2**63 - 1), FLOAT: 'float("inf")'}
GREATEST = {INT: str(-(2**63)), FLOAT: 'float("-inf")'}


Make = Callable[[AggregateSpec, str], WindowStream]  # a window of the aggregate, by a key


class Windowed:
    """A stream cut into windows: say what to compute of each by `agg`."""

    def __init__(self, stream: Stream, by: Any, make: Make) -> None:
        self._stream, self._make = stream, make
        self._by = field_name(by, stream.of, "window: by")

    def agg(self, spec: AggregateSpec | None = None, **named: Any) -> WindowStream:
        """One row a window: its end as ts_event_ns, the key, and what is named; or an aggregate."""
        if spec is None:
            spec = aggregate(_written(self._stream.of, self._by, named))
        elif named:
            raise DeclarationError("agg takes an @aggregate class, or named columns, not both")
        return self._make(spec, self._by)


def by_width(
    stream: Stream, width: str | int, every: str | int | None, by: Any, capacity: int
) -> Windowed:
    """Windows of time."""
    return Windowed(
        stream,
        by,
        lambda spec, key: window(
            stream, spec, width=width, every=every, key=key, capacity=capacity
        ),
    )


def by_pause(stream: Stream, gap: str | int, by: Any, capacity: int) -> Windowed:
    """Sessions."""
    return Windowed(
        stream, by, lambda spec, key: session(stream, spec, gap=gap, key=key, capacity=capacity)
    )


def by_count(stream: Stream, rows: int, by: Any, capacity: int) -> Windowed:
    """Batches."""
    return Windowed(
        stream, by, lambda spec, key: batches(stream, spec, rows=rows, key=key, capacity=capacity)
    )


class _Panes:
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
        key = same(expr)
        if key not in self.known:
            name = f"{expr.op}_{len(self.known)}"
            self.known[key] = self._field(name, expr.op, bind(expr.args[0], self.of), expr)
        return self.known[key]

    def _field(self, name: str, op: str, value: Bound, expr: Expr) -> Bound:
        if op == "set_rows" and not value.may_be_unset:
            return Bound(f"self.{COUNT}", INT, FIELDS[INT], 0, ROWS_MAX)
        mine, later = f"self.{name}", f"later.{name}"
        if op in ("sum", "least", "greatest") and value.kind not in (INT, FLOAT):
            raise DeclarationError(expr.place.says(f"{op}() of {value.kind}; expected numbers"))
        kind = {FLOAT: "f64", ID: "u64"}.get(value.kind, "i64")
        start, text = "0.0" if kind == "f64" else "0", value.text
        some: list[str] = []  # in front of a line that takes only what is set
        made = Bound(mine, value.kind, value.field, value.least, value.most, value.may_be_unset)
        if value.may_be_unset and op in ("sum", "least", "greatest", "set_rows"):
            self.add.append(f"value = {text}")
            some, text = [f"if value != {UNSET}:"], "value"
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
            function, start = (
                ("min", LEAST[value.kind]) if op == "least" else ("max", GREATEST[value.kind])
            )
            if value.may_be_unset:
                start = str(UNSET)
            for lines, other, given in ((self.add, text, some), (self.merge, later, [])):
                if value.may_be_unset:
                    given = [f"if {mine} == {UNSET}:", f"    {mine} = {other}"]
                    given += [f"elif {other} != {UNSET}:"]
                lines += _under(given, f"{mine} = {function}({mine}, {other})")
        elif op == "last":
            self.add.append(f"{mine} = {text}")
            self.merge.append(f"{mine} = {later}")
        else:
            self.add += [f"if self.{COUNT} == 0:", f"    {mine} = {text}"]
        self.fields.append(f"    {name}: {kind} = {start}")
        return replace(made, field=FIELDS[INT]) if made.kind == BOOL else made


def _under(head: list[str], line: str) -> list[str]:
    """The line, in the block that `head` begins, if it does."""
    return [*head, f"    {line}"] if head else [line]


def _written(of: Any, by: str, named: dict[str, Any]) -> Any:
    if not named:
        raise DeclarationError("agg was given nothing; write for example lots=c.qty_lots.sum()")
    for taken in named:
        if taken in ("ts_event_ns", by, "flags"):
            raise DeclarationError(f"agg: {taken!r} is a field of every window's row already")
    panes, name = _Panes(of), f"{of.__name__}Window"
    results = {n: bind(lift(e), of, windowed=panes.leaf) for n, e in named.items()}
    fields = {"ts_event_ns": Field("<i8"), by: of.fields[by]}
    fields |= {n: bound.field for n, bound in results.items()} | {"flags": Field("<u4")}
    made = made_record(name, fields)
    values = ", ".join(["end_ns", "key", *(bound.text for bound in results.values()), "0"])
    lines = [
        f"class {name}:",
        *panes.fields,
        "    def add(self, e: Of) -> None:",
        *[f"        {line}" for line in panes.add],
        f"        self.{COUNT} += 1",
        f'    def merge(self, later: "{name}") -> None:',
        *[f"        {line}" for line in panes.merge],
        f"        self.{COUNT} += later.{COUNT}",
        "    def result(self, key: int, start_ns: int, end_ns: int) -> Made | None:",
        f"        if self.{COUNT} == 0:",
        "            return None",
        f"        return Made({values})",
    ]
    spec = written(name, lines, {"Of": of, "Made": made, "i64": i64, "f64": f64, "u64": u64})
    spec.__columns__ = [lift(expr) for expr in named.values()]
    return spec
