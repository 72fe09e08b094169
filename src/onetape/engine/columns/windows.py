"""`stream.window("1s", every="100ms", by=c.instrument_id).agg(name=expression, ...)`.

Sums, counts ... in the expressions are fields of a pane (`panes.py`); around them any arithmetic is
done when the window closes.
"""

from collections.abc import Callable
from typing import Any

from onetape.engine.aggregates import AggregateSpec, WindowStream, aggregate
from onetape.engine.batches import batches
from onetape.engine.columns import distinct, sketches, timed
from onetape.engine.columns.bind import bind, field_name
from onetape.engine.columns.expr import Expr, lift
from onetape.engine.columns.panes import COUNT, Panes
from onetape.engine.columns.written import written
from onetape.engine.sessions import session
from onetape.engine.stream import Stream
from onetape.engine.window import window
from onetape.records import DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Array, Field, f64, i64, u8, u32, u64

Make = Callable[[Stream, AggregateSpec, str], WindowStream]  # a window of the aggregate, by a key
PACKED = "packed_key"  # several fields as one
BITS = {"|u1": 8, "<u2": 16, "<u4": 32}
NAMES = {
    "i64": i64,
    "f64": f64,
    "u64": u64,
    "u32": u32,
    "Array": Array,
    "u8": u8,
    "distinct_add": distinct.distinct_add,
    "distinct_merge": distinct.distinct_merge,
    "distinct_count": distinct.distinct_count,
    "sketch_add": sketches.sketch_add,
    "sketch_merge": sketches.sketch_merge,
    "sketch_quantile": sketches.sketch_quantile,
    "half_lives": timed.half_lives,
    "twap_of": timed.twap_of,
    "ema_of": timed.ema_of,
}


class Windowed:
    """A stream cut into windows: say what to compute of each by `agg`."""

    def __init__(self, stream: Stream, by: Any, make: Make) -> None:
        self._make = make
        names = by if isinstance(by, tuple | list) else [] if by is None else [by]
        self._keys = [field_name(name, stream.of, "window: by") for name in names]
        is_one = len(self._keys) == 1 or by is None
        self._stream = stream if is_one else _packed(stream, self._keys)

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
        return self._make(
            self._stream, spec, PACKED if len(self._keys) > 1 else "".join(self._keys)
        )


def by_width(stream: Stream, width: str | int, by: Any, **options: Any) -> Windowed:
    """Windows of time."""
    return Windowed(
        stream, by, lambda keyed, spec, key: window(keyed, spec, width=width, key=key, **options)
    )


def by_pause(stream: Stream, gap: str | int, by: Any, **options: Any) -> Windowed:
    """Sessions."""
    return Windowed(
        stream, by, lambda keyed, spec, key: session(keyed, spec, gap=gap, key=key, **options)
    )


def by_count(stream: Stream, rows: int, by: Any, **options: Any) -> Windowed:
    """Batches."""
    return Windowed(
        stream, by, lambda keyed, spec, key: batches(keyed, spec, rows=rows, key=key, **options)
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


def _carry(name: str, panes: Panes) -> list[str]:
    """The head of `result`; and, where a window asks for the time before it, what is kept of it."""
    head = "    def result(self, key: int, start_ns: int, end_ns: int"
    if not panes.carry:
        return [f"{head}) -> Made | None:"]
    return [
        f'    def carry(self, pane: "{name}") -> None:',
        *[f"        {line}" for line in panes.carry],
        f'{head}, before: "{name}") -> Made | None:',
    ]


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
        *_carry(name, panes),
        f"        if self.{COUNT} == 0:",
        "            return None",
        f"        return Made({values})",
    ]
    spec = written(name, lines, {"Of": of, "Made": made, **NAMES})
    spec.__columns__ = [lift(expr) for expr in named.values()]
    spec.__kept__ = "; ".join([*panes.add, *panes.merge, *panes.carry])
    return spec
