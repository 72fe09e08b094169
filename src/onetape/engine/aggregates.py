"""Aggregates: what rows are added up to, and the nodes that add them up.

    @ot.aggregate
    class VwapSum:
        notional: ot.i64 = 0
        lots: ot.i64 = 0

        def add(self, t: Trade) -> None: ...
        def merge(self, later: "VwapSum") -> None: ...
        def result(self, key: int, start_ns: int, end_ns: int) -> Vwap | None: ...

Windows, sessions and batches take any of them, and differ in when a row is told. An aggregate with
`carry(self, pane)` is told what lies before a window, too: see window.py.
"""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.engine import checks
from onetape.engine.checks.subject import Known, Subject
from onetape.engine.node import Node
from onetape.engine.operator_node import check_key
from onetape.engine.operators import Handler, _handler, _state, state_fields
from onetape.engine.stream import Stream
from onetape.records import DeclarationError, is_record

if typing.TYPE_CHECKING:
    from onetape.engine.planner import Plan


@dataclass(frozen=True)
class AggregateSpec:
    """What an aggregate class declares."""

    name: str
    state: np.dtype[Any]
    initial: tuple[Any, ...]
    event: Any
    of: Any
    add: Any
    merge: Any
    result: Any
    carry: Any = None
    source: Any = None  # the class as written


@dataclass(frozen=True, eq=False)
class Aggregating(Node):
    """Events of a key, added up; outputs `windows` (results) and `late` (the events themselves)."""

    spec: Any = None
    key: str = ""  # none: all rows have one window
    capacity: int = 1 << 16
    emit: str = "end"

    def keyed_by(self) -> str | None:
        return self.key or None

    def meaning(self) -> dict[str, Any]:
        kept = getattr(self.spec.source, "__kept__", None)  # of columns; a class has its own fields
        return {} if kept is None else {"what its columns keep": kept}

    def code(self) -> Any:
        return self.spec.source

    def key_of(self, event: str) -> str:
        """The text of an event's key."""
        return f"{event}.{self.key}" if self.key else "0"

    def comes_with_time(self, output: str) -> bool:
        return output == "windows" and self.is_timed() and self.emit == "end"

    def lines(self, plan: Plan) -> list[str]:
        panes = plan.arrays[f"n{plan.pipeline.nodes.index(self)}_panes"]()
        keys = len(plan.arrays[f"n{plan.pipeline.nodes.index(self)}_keys"]())
        said = [f"{self.spans()} by {self.key}" if self.key else f"{self.spans()}, of all rows"]
        said += ["a row for each event, too"] if self.emit == "each" else []
        held = f"{len(panes) // keys} times {panes.itemsize:,} bytes"
        return [*said, self.keeping.line(f"{self.capacity:,} keys, each with {held}")]

    def limits(self) -> dict[str, int]:
        return {"keys": self.capacity}

    def expressions(self) -> list[Any]:
        return getattr(self.spec.source, "__columns__", [])

    def spans(self) -> str:
        """What is added up, for a person."""
        raise NotImplementedError

    def windows(self) -> Stream:
        return Stream(self, "windows", self.spec.of)

    def late(self) -> Stream:
        return Stream(self, "late", self.spec.event)


class WindowStream(Stream):
    """The results of a window; `.late` is the stream of late events."""

    @property
    def late(self) -> Stream:
        return typing.cast(Aggregating, self.node).late()


def aggregate(cls: type) -> AggregateSpec:
    """What a window keeps and gives: fields with defaults, `add`, `result`; `merge`, if it slides.

    ```python
    @ot.aggregate
    class Highest:
        price_ticks: ot.i64 = ot.UNSET

        def add(self, t: mk.Trade) -> None:
            self.price_ticks = max(self.price_ticks, t.price_ticks)

        def result(self, key: int, start_ns: int, end_ns: int) -> Jump | None:
            return Jump(end_ns, key, self.price_ticks)

    highest = ot.window(trades, Highest, width="1s", key="instrument_id")
    ```
    """
    state, initial = _state(cls)
    if state is None:
        raise DeclarationError(f"aggregate {cls.__name__} declares no fields")
    for name in ("add", "result"):
        if not inspect.isfunction(getattr(cls, name, None)):
            raise DeclarationError(f"aggregate {cls.__name__} has no method {name}")
    add: Handler = _handler(cls.__name__, "add", vars(cls)["add"], skip=1, cls=cls)
    hints = typing.get_type_hints(vars(cls)["result"], localns={cls.__name__: cls})
    made = [r for r in (*typing.get_args(hints.get("return")), hints.get("return")) if is_record(r)]
    if not made:
        raise DeclarationError(f"{cls.__name__}.result must be annotated to return a record")
    own = Known("state", cls.__name__, state_fields(cls))
    takes = list(inspect.signature(vars(cls)["result"]).parameters)
    if len(takes) != 4 + ("carry" in vars(cls)):
        raise DeclarationError(
            f"{cls.__name__}.result takes {', '.join(takes)}; expected self, key, start_ns, end_ns"
            " and, in an aggregate with carry(self, pane), what was carried: before"
        )
    for name, returns in (("merge", None), ("carry", None), ("result", made[0])):
        function = vars(cls).get(name)
        if inspect.isfunction(function):
            named = list(inspect.signature(function).parameters)
            taken = named[:1] + named[4:] if name == "result" else named[:2]
            known = dict.fromkeys(taken, own)
            where = f"{cls.__name__}.{name}"
            checks.check(Subject(where, function, known, returns=returns, cls=cls))
    return AggregateSpec(
        name=cls.__name__,
        state=state,
        initial=initial,
        event=add.event,
        of=made[0],
        add=vars(cls)["add"],
        merge=vars(cls).get("merge"),
        result=vars(cls)["result"],
        carry=vars(cls).get("carry"),
        source=cls,
    )


def needs_flags(spec: AggregateSpec) -> DeclarationError:
    return DeclarationError(
        f"{spec.of.__name__} needs a field flags: ot.u32, in which a row says that it is not the "
        "one at the end of its window (mk.EARLY, mk.LATE)"
    )


def check_aggregate(
    what: str, stream: Any, spec: Any, key: str | None, capacity: int, emit: str = "end"
) -> None:
    """Can `spec` add the events of `stream`, by `key`?"""
    if not isinstance(stream, Stream) or not isinstance(spec, AggregateSpec):
        raise DeclarationError(
            f"{what} was given {stream!r} and {spec!r}; expected a stream and an @aggregate class"
        )
    if capacity < 1:
        raise DeclarationError(f"{what} capacity was {capacity}; expected 1 key or more")
    if stream.of is not spec.event:
        raise DeclarationError(
            f"{spec.name} adds {spec.event.__name__}, was given a stream of {stream.of.__name__}"
        )
    if emit not in ("end", "each"):
        raise DeclarationError(f"{what} emit was {emit!r}; expected 'end' or 'each'")
    if emit == "each" and "flags" not in spec.of.fields:
        raise needs_flags(spec)
    if not key:
        return
    if key not in stream.of._fields:
        raise DeclarationError(
            f"{spec.name} is keyed by {key!r}, which {stream.of.__name__} does not have"
        )
    check_key(spec.name, key, stream.of)
