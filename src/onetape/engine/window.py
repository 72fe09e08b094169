"""Event-time windows, tumbling and sliding, at a cost per event that does not depend on overlap.

    @ot.aggregate
    class VwapSum:
        notional: ot.i64 = 0
        lots: ot.i64 = 0

        def add(self, t: Trade) -> None: ...
        def merge(self, later: "VwapSum") -> None: ...
        def result(self, key: int, start_ns: int, end_ns: int) -> Vwap | None: ...

    vwap = ot.window(trades, VwapSum, width="1s", every="100ms", key="instrument_id")

Time is cut into panes of `every`; an event is added to one pane; when the watermark reaches the
end of a window the later panes are merged, oldest first, into a copy of the first: neither side of
a merge is empty. Windows are [start, end),
aligned to the epoch; an empty window gives nothing.

When a window gives a row:

    at its end            when the watermark gets there; always
    emit="each"           after each event in it, too (tumbling)
    early="100ms"         at the multiples of that time, if it has changed since (tumbling)
    lateness="500ms"      again after each event that is late by no more than that

Rows other than the one at the end have the bit EARLY or LATE in their `flags`; a later row of the
same key and end takes the place of an earlier one. An aggregate with `carry(self, pane)` is told
what lies before a window: panes that no window to come holds are carried, oldest first, into one
more state of the key, which `result` takes as a fifth argument.

A key holds a ring of panes. An event older than the watermark is late: it is counted, goes to the
output `late` and changes nothing. An event so far ahead that its pane would overwrite one still
needed (possible only when another source holds the watermark back) is counted as `ahead` and goes
the same way.
"""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.compiled.kernel import kernel
from onetape.engine import checks
from onetape.engine.checks.subject import Known, Subject
from onetape.engine.keeping import HALT, keeping
from onetape.engine.node import Canonical, Node
from onetape.engine.operator_node import check_key
from onetape.engine.operators import Handler, _handler, _state, state_fields
from onetape.engine.stream import Stream
from onetape.records import DeclarationError, is_record
from onetape.records.types import parse_duration_ns

if typing.TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan, _Planner

NONE = 2**63 - 1  # later than any pane


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


@dataclass(frozen=True, eq=False)
class Window(Aggregating):
    """Windows of `width_ns`, one every `every_ns`."""

    kind = "window"

    width_ns: int = 0
    every_ns: int = 0
    early_ns: int = 0
    lateness_ns: int = 0

    def write(self, planner: _Planner, name: str, event: str) -> None:
        window_text.on_event(planner, self, event)

    def is_timed(self) -> bool:
        return True

    def write_timer(self, planner: _Planner) -> None:
        window_text.on_timer(planner, self)

    def canonical(self, engine: Engine, label: str) -> Canonical:
        """Panes with their number; those that no later window needs are left out."""
        arrays = engine.arrays
        held = held_slots(arrays[f"{label}_index"])
        keys = arrays[f"{label}_keys"][held]
        numbers = arrays[f"{label}_numbers"].reshape(len(arrays[f"{label}_keys"]), -1)
        used, ring = numbers[held], numbers.shape[1]
        # All that was due has fired, so the last window of a pane is over or not by the watermark.
        ends_ns = (used - 1 + self.panes_count()) * self.every_ns + self.lateness_ns
        slots, cells = np.nonzero((used > 0) & (ends_ns > engine.run["watermark_ns"][0]))
        at = held[slots] * ring + cells
        blocks = [arrays[f"{label}_panes"][at]]
        blocks += [arrays[f"{label}_changed"][at]] if self.early_ns else []
        yield keys[slots] * 1_000_003 + used[slots, cells], blocks
        if self.spec.carry is not None:
            yield keys, [arrays[f"{label}_{name}"][held] for name in ("kept", "before")]

    def manifest(self) -> dict[str, Any]:
        spans = {"width_ns": self.width_ns, "every_ns": self.every_ns, "key": self.key}
        triggers = {"early_ns": self.early_ns, "lateness_ns": self.lateness_ns}
        return spans | {n: ns for n, ns in triggers.items() if ns} | self.keeping.facts()

    def leaves_keys(self) -> bool:
        """Is a key without an open pane as one never seen? Not while something of it is needed."""
        return self.lateness_ns == 0 and self.spec.carry is None

    def spans(self) -> str:
        said = f"width {self.width_ns} ns every {self.every_ns} ns"
        said += f", early every {self.early_ns} ns" if self.early_ns else ""
        return said + (f", again until {self.lateness_ns} ns late" if self.lateness_ns else "")

    def comes_with_time(self, output: str) -> bool:
        return super().comes_with_time(output) and not (self.early_ns or self.lateness_ns)

    def panes_count(self) -> int:
        """Panes in one window."""
        return self.width_ns // self.every_ns


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


def window(
    stream: Stream,
    spec: AggregateSpec,
    *,
    width: str | int,
    every: str | int | None = None,
    key: str | None = None,
    capacity: int = 1 << 16,
    when_full: str = HALT,
    emit: str = "end",
    early: str | int = 0,
    lateness: str | int = 0,
) -> WindowStream:
    """Windows of `width`, moved every `every` (default: width, tumbling), per value of `key`.

    ```python
    average = ot.window(trades, VwapSum, width="1s", every="100ms", key="instrument_id")
    late = average.late  # the stream of events that came too late
    ```

    Without `key`: one window of all rows. At most 1 024 panes of `every`; at most `capacity` keys
    with an open pane (with `lateness` or `carry`: keys in all), and when there are so many:
    `when_full`, as for an operator. `emit`, `early` and `lateness` ask for more rows than the one
    at the end: docs/WINDOWS.md. With columns:
    `trades.window("1s", by=c.instrument_id).agg(high=c.price_ticks.max())`.
    """
    check_aggregate("window", stream, spec, key, capacity, emit)
    width_ns = parse_duration_ns(width)
    every_ns = width_ns if every is None else parse_duration_ns(every)
    if width_ns <= 0 or every_ns <= 0 or width_ns % every_ns:
        raise DeclarationError(
            f"window width {width_ns} ns must be a multiple of every {every_ns} ns"
        )
    if width_ns // every_ns > 1024:
        raise DeclarationError(f"a window of {width_ns // every_ns} panes; at most 1024")
    if width_ns != every_ns and spec.merge is None:
        raise DeclarationError(f"{spec.name} needs merge(self, later) for a sliding window")
    node = Window(
        name=f"{spec.name}_{width_ns}ns",
        inputs=(("events", stream),),
        spec=spec,
        key=key or "",
        width_ns=width_ns,
        every_ns=every_ns,
        capacity=capacity if key else 1,
        keeping=keeping("window", when_full),
        emit=emit,
        early_ns=parse_duration_ns(early),
        lateness_ns=parse_duration_ns(lateness),
    )
    _check_triggers(node)
    return WindowStream(node, "windows", spec.of)


def _check_triggers(node: Window) -> None:
    early_ns, lateness_ns, is_each = node.early_ns, node.lateness_ns, node.emit == "each"
    if (early_ns or is_each) and node.every_ns != node.width_ns:
        raise DeclarationError(
            f"{node.name}: {'emit' if is_each else 'early'} is for tumbling windows: an "
            f"event lies in {node.panes_count()} of these; take a smaller every instead"
        )
    if early_ns and is_each:
        raise DeclarationError(f"{node.name}: emit='each' gives every change; early adds nothing")
    if early_ns and (early_ns < 0 or node.width_ns % early_ns or early_ns == node.width_ns):
        raise DeclarationError(
            f"{node.name}: early was {early_ns} ns; expected a part of the width, {node.width_ns} "
            "ns, that divides it"
        )
    if lateness_ns < 0 or lateness_ns >= 1 << 62:
        raise DeclarationError(f"{node.name}: lateness was {lateness_ns} ns; expected 0 or more")
    if lateness_ns and node.spec.carry is not None:
        raise DeclarationError(
            f"{node.name}: what was before a window (twap, ema, carry) goes into all later ones, "
            "so none of them can be told again; give the source the lateness instead"
        )
    if (early_ns or lateness_ns) and "flags" not in node.spec.of.fields:
        raise _needs_flags(node.spec)


def _needs_flags(spec: AggregateSpec) -> DeclarationError:
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
        raise _needs_flags(spec)
    if not key:
        return
    if key not in stream.of._fields:
        raise DeclarationError(
            f"{spec.name} is keyed by {key!r}, which {stream.of.__name__} does not have"
        )
    check_key(spec.name, key, stream.of)


@kernel
def next_end(numbers, slot, ring, panes, end_number):
    """Number of the next window end after `end_number` that has an event, or -1.

    numbers  int64[slots * ring]: pane number + 1 of each cell, 0 when never used
    A window with end number b is made of the panes b - panes ... b - 1.
    """
    over = max(end_number - panes, -1)
    earliest = NONE
    for cell in range(slot * ring, (slot + 1) * ring):  # no branch: panes come and go at random
        pane = numbers[cell] - 1
        earliest = min(earliest, pane if pane > over else NONE)
    return max(end_number, earliest) + 1 if earliest < NONE else -1


@kernel
def next_due(numbers, changed, slot, ring, every, early, due):
    """When, after `due`, the key's next pane ends, or is to be told early; never: NONE.

    changed  int64[slots * ring]: 1 where a pane has an event that has not been told
    """
    earliest = NONE
    for cell in range(slot * ring, (slot + 1) * ring):
        end = numbers[cell] * every
        if end > due:
            wake = (max(due, end - every) // early + 1) * early if changed[cell] != 0 else end
            earliest = min(earliest, wake)
    return earliest


# Last: the text of a window knows this node.
from onetape.engine import window_text  # noqa: E402
