"""`stream.window("1s", every="100ms", by=c.instrument_id).agg(name=expression, ...)`.

Sums, counts ... in the expressions are fields of a pane (`panes.py`); around them any arithmetic is
done when the window closes.
"""

from collections.abc import Callable
from typing import Any

from onetape.engine.batches import batches
from onetape.engine.columns.bind import bind, field_name
from onetape.engine.columns.expr import lift
from onetape.engine.columns.panes import COUNT, Panes
from onetape.engine.columns.written import written
from onetape.engine.graph import Stream
from onetape.engine.sessions import session
from onetape.engine.window import AggregateSpec, WindowStream, aggregate, window
from onetape.records import DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Field, f64, i64, u64

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


def _written(of: Any, by: str, named: dict[str, Any]) -> Any:
    if not named:
        raise DeclarationError("agg was given nothing; write for example lots=c.qty_lots.sum()")
    for taken in named:
        if taken in ("ts_event_ns", by, "flags"):
            raise DeclarationError(f"agg: {taken!r} is a field of every window's row already")
    panes, name = Panes(of), f"{of.__name__}Window"
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
