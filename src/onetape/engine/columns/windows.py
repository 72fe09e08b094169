"""`stream.window("1s", every="100ms", by=c.instrument_id).agg(name=expression, ...)`.

Sums, counts ... in the expressions are fields of a pane (`panes.py`); around them any arithmetic is
done when the window closes.
"""

from collections.abc import Callable
from typing import Any

from onetape.engine.batches import batches
from onetape.engine.columns.bind import bind, field_name
from onetape.engine.columns.expr import Expr, lift
from onetape.engine.columns.panes import COUNT, Panes
from onetape.engine.columns.written import written
from onetape.engine.sessions import session
from onetape.engine.stream import Stream
from onetape.engine.window import AggregateSpec, WindowStream, aggregate, window
from onetape.records import DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Field, f64, i64, u64

Make = Callable[[Stream, AggregateSpec, str], WindowStream]  # a window of the aggregate, by a key
PACKED = "packed_key"  # several fields as one
BITS = {"|u1": 8, "<u2": 16, "<u4": 32}


class Windowed:
    """A stream cut into windows: say what to compute of each by `agg`."""

    def __init__(self, stream: Stream, by: Any, make: Make) -> None:
        self._make = make
        names = by if isinstance(by, tuple | list) else [by]
        self._keys = [field_name(name, stream.of, "window: by") for name in names]
        self._stream = _packed(stream, self._keys) if len(self._keys) != 1 else stream

    def agg(self, spec: AggregateSpec | None = None, **named: Any) -> WindowStream:
        """One row a window: its end as ts_event_ns, the key, and what is named; or an aggregate."""
        if spec is None:
            spec = aggregate(_written(self._stream.of, self._keys, named))
        elif named:
            raise DeclarationError("agg takes an @aggregate class, or named columns, not both")
        elif len(self._keys) > 1:
            raise DeclarationError(
                f"by {' and '.join(self._keys)}: several fields go with named columns; an "
                "@aggregate class is told one key"
            )
        return self._make(self._stream, spec, self._keys[0] if len(self._keys) == 1 else PACKED)


def by_width(
    stream: Stream, width: str | int, every: str | int | None, by: Any, capacity: int
) -> Windowed:
    """Windows of time."""
    return Windowed(
        stream,
        by,
        lambda keyed, spec, key: window(
            keyed, spec, width=width, every=every, key=key, capacity=capacity
        ),
    )


def by_pause(stream: Stream, gap: str | int, by: Any, capacity: int) -> Windowed:
    """Sessions."""
    return Windowed(
        stream,
        by,
        lambda keyed, spec, key: session(keyed, spec, gap=gap, key=key, capacity=capacity),
    )


def by_count(stream: Stream, rows: int, by: Any, capacity: int) -> Windowed:
    """Batches."""
    return Windowed(
        stream,
        by,
        lambda keyed, spec, key: batches(keyed, spec, rows=rows, key=key, capacity=capacity),
    )


def _packed(stream: Stream, keys: list[str]) -> Stream:
    """The rows with all key fields in one, the first in the highest bits."""
    if not keys or len(set(keys)) < len(keys):
        raise DeclarationError(f"window: by was {keys}; expected one field or several, each once")
    packed = Expr("constant", 0)
    for key in keys:
        bits = BITS.get(stream.of.fields[key].code)
        if bits is None:
            raise DeclarationError(
                f"window: by several fields, of which {key!r} is no u8, u16 or u32; a field of 64 "
                "bits is a key alone"
            )
        packed = packed * (1 << bits) + Expr("field", key)
    if sum(BITS[stream.of.fields[key].code] for key in keys) > 63:
        raise DeclarationError(f"window: by {keys}: more than 63 bits in all; take fewer")
    return stream.with_columns(**{PACKED: packed})


def _unpacked(of: Any, keys: list[str]) -> list[str]:
    """What each key field is, in terms of `key`."""
    if len(keys) == 1:
        return ["key"]
    texts, shift = [], 0
    for key in reversed(keys):
        bits = BITS[of.fields[key].code]
        texts.append(f"(key >> {shift}) & {(1 << bits) - 1}")
        shift += bits
    return texts[::-1]


def _written(of: Any, keys: list[str], named: dict[str, Any]) -> Any:
    if not named:
        raise DeclarationError("agg was given nothing; write for example lots=c.qty_lots.sum()")
    for taken in named:
        if taken in ("ts_event_ns", *keys, "flags"):
            raise DeclarationError(f"agg: {taken!r} is a field of every window's row already")
    panes, name = Panes(of), f"{of.__name__}Window"
    results = {n: bind(lift(e), of, windowed=panes.leaf) for n, e in named.items()}
    fields = {"ts_event_ns": Field("<i8")} | {key: of.fields[key] for key in keys}
    fields |= {n: bound.field for n, bound in results.items()} | {"flags": Field("<u4")}
    made = made_record(name, fields)
    told = [bound.text for bound in results.values()]
    values = ", ".join(["end_ns", *_unpacked(of, keys), *told, "0"])
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
