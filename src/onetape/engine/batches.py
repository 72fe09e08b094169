"""Batches: every `rows` rows of a key, in the order they came, give one row.

    bars = trades.batches(100, by=c.instrument_id).agg(high=c.price_ticks.max())

Time plays no part: a late row counts like any other, and what is not full when the input ends gives
nothing. The row's ts_event_ns is that of the last row in it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.engine.aggregates import AggregateSpec, Aggregating, WindowStream, check_aggregate
from onetape.engine.keeping import HALT, keeping
from onetape.engine.keyed_text import find_slot, give_back
from onetape.engine.node import Canonical
from onetape.engine.operator_text import call, initial_block
from onetape.engine.stream import Stream
from onetape.engine.window_text import before_none
from onetape.records import DeclarationError
from onetape.records.market import EARLY

if TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import _Planner


@dataclass(frozen=True, eq=False)
class Batches(Aggregating):
    """Aggregates of `rows` rows each."""

    kind = "batches"

    rows: int = 0

    def write(self, planner: _Planner, name: str, event: str) -> None:
        on_event(planner, self, event)

    def canonical(self, engine: Engine, label: str) -> Canonical:
        arrays = engine.arrays
        slots = held_slots(arrays[f"{label}_index"])
        slots = slots[arrays[f"{label}_rows"][slots] > 0]
        kept = [arrays[f"{label}_{name}"][slots] for name in ("rows", "began", "panes")]
        yield arrays[f"{label}_keys"][slots], kept

    def manifest(self) -> dict[str, Any]:
        return {"rows": self.rows, "key": self.key} | self.keeping.facts()

    def spans(self) -> str:
        return f"every {self.rows:,} rows"


def batches(
    stream: Stream,
    spec: AggregateSpec,
    *,
    rows: int,
    key: str | None = None,
    capacity: int = 1 << 16,
    when_full: str = HALT,
    ttl: str | int | None = None,
    emit: str = "end",
) -> WindowStream:
    """Every `rows` rows of `stream` per value of `key`; emit="each": and what there is by each.

    At most `capacity` keys with a batch begun; `when_full` and `ttl` as for an operator.
    """
    check_aggregate("batches", stream, spec, key, capacity, emit)
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise DeclarationError(f"batches of {rows!r} rows; expected a whole number, 1 or more")
    node = Batches(
        name=f"{spec.name}_{rows}_rows",
        inputs=(("events", stream),),
        spec=spec,
        key=key or "",
        capacity=capacity if key else 1,
        keeping=keeping("batches", when_full, ttl),
        emit=emit,
        rows=rows,
    )
    return WindowStream(node, "windows", spec.of)


def on_event(planner: _Planner, node: Batches, event: str) -> None:
    """One event: to the batch of its key; a full one is told and begins anew."""
    text, label, number = planner.text, planner.label(node), planner.number[id(node)]
    planner.count_call(node)
    _arrays(planner, node)
    block = planner.array(f"x{number}_window", lambda: np.zeros(1, node.spec.of.dtype))
    used = planner.array(f"u{number}_window", lambda: np.zeros(1, np.int64))
    text.add(f"key = {node.key_of(event)}", f"{used}[0] = 0")
    with find_slot(planner, node, "slot", node.capacity, [f"{label}_rows[slot] = 0"]):
        _add(planner, node, event, block, used)
    planner.push_each(node.windows(), block, f"{used}[0]", 1)


def _add(planner: _Planner, node: Batches, event: str, block: str, used: str) -> None:
    text, label, number = planner.text, planner.label(node), planner.number[id(node)]
    with text.block(f"if {label}_rows[slot] == 0"):
        text.add(
            f"copy_row({label}_panes, slot, x{number}_initial, 0)",
            f"{label}_began[slot] = {event}.ts_event_ns",
        )
    text.add(f"{label}_rows[slot] += 1", f"r.node = {number}")
    planner.sample(node)
    call(planner, f"{label}_add", node.spec.add, [f"row({label}_panes, slot)", event], [])
    planner.sample(node, at_end=True)
    text.add(f"is_full = {label}_rows[slot] == {node.rows}")
    text.add("if is_full:", f"    {label}_rows[slot] = 0")
    with text.block("if is_full") if node.emit == "end" else nullcontext():
        span = [f"row({label}_panes, slot)", "key", f"{label}_began[slot]", f"{event}.ts_event_ns"]
        span += before_none(planner, node)
        call(planner, f"{label}_result", node.spec.result, span, [], into=f"{block}, {used}")
        if node.emit == "each":
            text.add("if not is_full:", f"    row({block}, 0).flags |= {EARLY}")
        with text.block("if is_full") if node.emit == "each" else nullcontext():
            give_back(planner, node, "slot")  # it holds nothing now
        planner.mark_stale(node, node.spec.of, block, f"{used}[0]", 1)


def _arrays(planner: _Planner, node: Batches) -> None:
    label, spec = planner.label(node), node.spec
    slots = planner.keyed_arrays(node, node.capacity)
    planner.array(f"{label}_rows", lambda: np.zeros(slots(), np.int64))
    planner.array(f"{label}_began", lambda: np.zeros(slots(), np.int64))
    planner.array(f"{label}_panes", lambda: np.zeros(slots(), spec.state))
    initial = f"x{planner.number[id(node)]}_initial"
    planner.array(initial, lambda: initial_block(spec.state, spec.initial))
