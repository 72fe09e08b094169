"""Session windows: rows of a key belong together until it pauses for `gap`.

    visits = ot.session(orders, Activity, gap="30s", key="account_id")
    visits = orders.session("30s", by=c.account_id).agg(orders=ot.count())

Two rows less than `gap` apart are of one session; it ends, at its last row + gap, when the
watermark gets there, and gives one row (`ts_event_ns` is that end). A row out of order may belong
to an earlier session than the newest, and may close the pause between two: these are merged. So a
key holds a few sessions, as many as lateness leaves open; a row for which none is left is counted
as `ahead`, one older than the watermark is late, and both go to the output `late`.

The aggregate is that of any window: add, merge, result(key, start_ns, end_ns).
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.compiled.kernel import kernel
from onetape.engine.keeping import HALT, keeping
from onetape.engine.node import Canonical
from onetape.engine.stream import Stream
from onetape.engine.window import AggregateSpec, Aggregating, WindowStream, check_aggregate
from onetape.records import DeclarationError
from onetape.records.types import parse_duration_ns

if typing.TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import _Planner

NEW = 1 << 32  # added to the cell of a session that has just begun


@dataclass(frozen=True, eq=False)
class Session(Aggregating):
    """Sessions that a pause of `gap_ns` ends."""

    kind = "session"

    gap_ns: int = 0

    def write(self, planner: _Planner, name: str, event: str) -> None:
        session_text.on_event(planner, self, event)

    def is_timed(self) -> bool:
        return True

    def write_timer(self, planner: _Planner) -> None:
        session_text.on_timer(planner, self)

    def canonical(self, engine: Engine, label: str) -> Canonical:
        """Open sessions by their start: in which cell each lies means nothing."""
        arrays = engine.arrays
        held = held_slots(arrays[f"{label}_index"])
        starts, lasts = arrays[f"{label}_starts"], arrays[f"{label}_lasts"]
        cells = len(starts) // len(arrays[f"{label}_keys"])
        open_ = (held[:, None] * cells + np.arange(cells)).reshape(-1)
        open_ = open_[starts[open_] != 0]
        keys = arrays[f"{label}_keys"]
        spans = [starts[open_], lasts[open_], arrays[f"{label}_panes"][open_]]
        yield keys[open_ // cells] * 1_000_003 + starts[open_], spans

    def manifest(self) -> dict[str, Any]:
        return {"gap_ns": self.gap_ns, "key": self.key} | self.keeping.facts()

    def spans(self) -> str:
        return f"until a pause of {self.gap_ns} ns"


def session(
    stream: Stream,
    spec: AggregateSpec,
    *,
    gap: str | int,
    key: str | None = None,
    capacity: int = 1 << 16,
    when_full: str = HALT,
    emit: str = "end",
) -> WindowStream:
    """Session windows of `stream`, ended by a pause of `gap`, per value of `key`.

    ```python
    burst = ot.session(trades, VwapSum, gap="200ms", key="instrument_id")
    lots = trades.session("200ms", by=c.instrument_id).agg(lots=c.qty_lots.sum())  # with columns
    ```

    emit="each": a row for each event, too, with the bit EARLY in `flags`.
    The class needs `merge`: a late event may join two sessions. At most `capacity` keys
    with an open session, and when there are so many: `when_full`, as for an operator.
    """
    check_aggregate("session", stream, spec, key, capacity, emit)
    gap_ns = parse_duration_ns(gap)
    if gap_ns <= 0:
        raise DeclarationError(f"session gap was {gap_ns} ns; expected a pause, such as '30s'")
    if spec.merge is None:
        raise DeclarationError(f"{spec.name} needs merge(self, later): sessions may grow together")
    node = Session(
        name=f"{spec.name}_session_{gap_ns}ns",
        inputs=(("events", stream),),
        spec=spec,
        key=key or "",
        gap_ns=gap_ns,
        capacity=capacity if key else 1,
        keeping=keeping("session", when_full),
        emit=emit,
    )
    return WindowStream(node, "windows", spec.of)


@kernel
def session_of(starts, lasts, slot, cells, ts, gap):
    """The cell of the session that `ts` belongs to, made to span it (the earlier, if it stands
    between two); NEW + the cell of one that begins with it; -1 if none is free.

    starts  int64[slots * cells]: time + 1 of a session's first row, 0 where the cell is free
    lasts   the time of its last row
    """
    free = found = -1
    for cell in range(slot * cells, (slot + 1) * cells):
        if starts[cell] == 0:
            free = cell
        elif starts[cell] - 1 - gap < ts < lasts[cell] + gap:
            if found < 0 or starts[cell] < starts[found]:
                found = cell
    if found >= 0:
        starts[found] = min(starts[found], ts + 1)
        lasts[found] = max(lasts[found], ts)
        return found
    if free < 0:
        return -1
    starts[free] = ts + 1
    lasts[free] = ts
    return NEW + free


@kernel
def touching(starts, lasts, slot, cells, cell, gap):
    """Another session of the key, less than `gap` from that of `cell`; or -1."""
    for other in range(slot * cells, (slot + 1) * cells):
        if other != cell and starts[other] != 0:
            if starts[other] - 1 < lasts[cell] + gap and starts[cell] - 1 < lasts[other] + gap:
                return other
    return -1


@kernel
def grow(starts, lasts, earlier, later):
    """The later session becomes part of the earlier."""
    lasts[earlier] = max(lasts[earlier], lasts[later])
    starts[earlier] = min(starts[earlier], starts[later])
    starts[later] = 0


@kernel
def ended_at(starts, lasts, slot, cells, end_ns, gap):
    """The cell of the key's session that ends at `end_ns`, or -1: it has gone on since."""
    for cell in range(slot * cells, (slot + 1) * cells):
        if starts[cell] != 0 and lasts[cell] + gap == end_ns:
            return cell
    return -1


@kernel
def next_session_end(starts, lasts, slot, cells, gap, never):
    """When the first of the key's sessions ends, or `never`."""
    end_ns = never
    for cell in range(slot * cells, (slot + 1) * cells):
        if starts[cell] != 0:
            end_ns = min(end_ns, lasts[cell] + gap)
    return end_ns


# Last: the text of a session knows this node.
from onetape.engine import session_text  # noqa: E402
