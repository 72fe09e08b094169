"""`order="event_time"`: rows wait until the watermark has passed them, then go on in order.

    both = ot.merge(a, b, order="event_time")
    LeadLag(lead=a, lag=b, order="event_time")

The order is (ts_event_ns, source, sequence): whatever way the rows of several sources arrive, what
stands behind sees them one way. What it costs is waiting: a row goes on when no other of its time
can come, which the newest events of all sources decide (less the lateness of each; a source that is
silent for longer than its idle limit holds nothing back).

To what stands behind, time is that of the row which goes on; timers and windows there fire between
rows, as if each row came at its own time. A row older than the watermark comes too late to be put
in order: it is counted, and goes to the output `late` of its input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled import pool
from onetape.compiled.timers import new_timers
from onetape.engine import waiting
from onetape.engine.layout import LATE, NODE_WORDS
from onetape.engine.node import Canonical, Node, fed_by
from onetape.engine.stream import Stream
from onetape.records import DeclarationError
from onetape.records.declare import raw_rows

if TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan, _Planner

ARRIVALS, LAST_DUE, MADE = range(3)  # words of the node


@dataclass(frozen=True, eq=False)
class InOrder(Node):
    """Streams whose rows go on by event time, each as itself."""

    kind = "in order"

    capacity: int = 1 << 16

    def sorted(self, name: str) -> Stream:
        return Stream(self, name, dict(self.inputs)[name].of)

    def late(self, name: str) -> Stream:
        return Stream(self, f"late_{name}", dict(self.inputs)[name].of)

    def is_timed(self) -> bool:
        return True

    def comes_with_time(self, output: str) -> bool:
        return not output.startswith("late_")

    def meaning(self) -> dict[str, Any]:
        return {"its inputs": ", ".join(name for name, _ in self.inputs)} | fed_by(self)

    def manifest(self) -> dict[str, Any]:
        return {"order": "event_time", "capacity": self.capacity}

    def lines(self, plan: Plan) -> list[str]:
        return [
            f"in the order of event time; at most {self.capacity:,} rows wait; at capacity the "
            "pipeline halts and says so"
        ]

    def write(self, planner: _Planner, name: str, event: str) -> None:
        """A row waits, or is late."""
        text, label, number = planner.text, planner.label(self), planner.number[id(self)]
        planner.count_call(self)
        self._arrays(planner)
        which = [n for n, _ in self.inputs].index(name)
        text.add(f"ts = {event}.ts_event_ns", "fits = root_late == 0 and root_time <= ts < FAR")
        with text.block("if fits"):
            text.add(
                f"of = root_source if root != TIMER_ROOT else {waiting.NO_SOURCE}",
                "by = root_sequence if root != TIMER_ROOT else 0",
                f"{label}_words[{ARRIVALS}] += 1",
                f"cell = line_wait({label}_waiting, {label}_turns, {label}_pool, ts, of, by, "
                f"{label}_words[{ARRIVALS}], {which})",
                f"put_row({label}_rows{which}, cell, {event})",
                f"next_wake = min(next_wake, rearm_earlier({label}_timers, {label}_heap, 0, "
                f"{number}, ts + 1))",
            )
        with text.block("else"):
            text.add(f"counts[{number * NODE_WORDS + LATE}] += 1")
            if planner.is_wired(self.late(name)):
                planner.push(self.late(name), event)

    def write_timer(self, planner: _Planner) -> None:
        """The first row goes on: nothing of its time can come any more."""
        text, label, number = planner.text, planner.label(self), planner.number[id(self)]
        self._arrays(planner)
        words = f"{label}_words"
        text.add(
            f"cell = line_leave({label}_waiting, {label}_turns, {label}_pool)",
            f"which_input = row({label}_turns, cell).input",
            f"wake = line_first_ns({label}_waiting, {label}_turns, NEVER - 1) + 1",
            f"set_timer({label}_timers, {label}_heap, 0, {number}, wake)",
            f"next_wake = {_earliest(planner)}",
            "root_time = due - 1",
            # Rows of one time are told apart by how many were made at it before.
            f"made_rows = {words}[{MADE}] if {words}[{LAST_DUE}] == due else 0",
        )
        for which, (name, stream) in enumerate(self.inputs):
            with text.block(f"{'if' if which == 0 else 'elif'} which_input == {which}"):
                text.add(f"{label}_row{which} = fixed(row({label}_rows{which}, cell))")
                planner.push(Stream(self, name, stream.of), f"{label}_row{which}")
            planner.root_done()  # one row is one root, whichever input it is of
        text.add(f"{words}[{LAST_DUE}] = due", f"{words}[{MADE}] = made_rows")

    def write_headroom(self, planner: _Planner) -> str:
        return f"line_left({planner.label(self)}_pool)"

    def used(self, arrays: dict[str, Any], label: str) -> int | None:
        return int(arrays[f"{label}_waiting"][0])

    def limits(self) -> dict[str, int]:
        return {"rows that wait": self.capacity}

    def canonical(self, engine: Engine, label: str) -> Canonical:
        """What waits, in the order it came: in which slot each lies means nothing."""
        arrays = engine.arrays
        yield np.arange(3), [arrays[f"{label}_words"]]
        slots = arrays[f"{label}_waiting"][1 : 1 + arrays[f"{label}_waiting"][0]]
        turns = arrays[f"{label}_turns"][slots]
        order = np.argsort(turns["arrival"])
        slots, turns = slots[order], turns[order]
        yield turns["arrival"], [turns]
        for which, _ in enumerate(self.inputs):
            of = turns["input"] == which
            yield turns["arrival"][of], [raw_rows(arrays[f"{label}_rows{which}"])[slots[of]]]

    def _arrays(self, planner: _Planner) -> None:
        label, number = planner.label(self), planner.number[id(self)]
        for name in ("wait", "leave", "first_ns"):
            planner.name(f"line_{name}", getattr(waiting, name))
        planner.name("line_left", pool.left)

        def slots() -> int:
            return self.capacity + planner.calls_most.get(number, 1)

        def rows_of(of: Any) -> Any:
            return lambda: np.zeros(slots(), of.dtype)

        planner.array(f"{label}_words", lambda: np.zeros(3, np.int64))
        planner.array(f"{label}_pool", lambda: pool.new_pool(slots()))
        planner.array(f"{label}_waiting", lambda: waiting.new_heap(slots()))
        planner.array(f"{label}_turns", lambda: np.zeros(slots(), waiting.TURN))
        planner.array(f"{label}_timers", lambda: new_timers(1)[0])
        planner.array(f"{label}_heap", lambda: new_timers(1)[1])
        for which, (_, stream) in enumerate(self.inputs):
            planner.array(f"{label}_rows{which}", rows_of(stream.of))


ORDERS = ("arrival", "event_time")


def in_order(
    what: str, order: str, inputs: dict[str, Stream], capacity: int = 1 << 16
) -> dict[str, Stream]:
    """The inputs of `what` as `order` says: as they are, or put in the order of event time."""
    if order not in ORDERS:
        raise DeclarationError(
            f"{what}: order was {order!r}; expected 'arrival' (as they come: no waiting) or "
            "'event_time' (ts_event_ns, source, sequence: rows wait for the watermark)"
        )
    if order == "arrival":
        return inputs
    if not isinstance(capacity, int) or capacity < 1:
        raise DeclarationError(f"{what}: capacity was {capacity!r} rows that wait; expected 1+")
    node = InOrder(f"{what}_in_order", tuple(inputs.items()), capacity=capacity)
    return {name: node.sorted(name) for name in inputs}


# Last: the text of an operator knows operators, whose inputs may be put in order.
from onetape.engine.operator_text import _earliest  # noqa: E402
