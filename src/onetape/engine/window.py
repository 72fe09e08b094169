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

import typing
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.compiled.kernel import kernel
from onetape.engine.aggregates import (
    AggregateSpec,
    Aggregating,
    WindowStream,
    check_aggregate,
    needs_flags,
)
from onetape.engine.keeping import HALT, keeping
from onetape.engine.node import Canonical
from onetape.engine.stream import Stream
from onetape.records import DeclarationError
from onetape.records.types import parse_duration_ns

if typing.TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import _Planner

NONE = 2**63 - 1  # later than any pane


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
        raise needs_flags(node.spec)


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
