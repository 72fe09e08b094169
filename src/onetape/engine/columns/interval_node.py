"""The node of an interval join: what is kept of each side, and the text that finds pairs in it.

What it means is said in `interval_join.py`, how the rows are kept in `engine/intervals.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled import pool
from onetape.compiled.index import new_index
from onetape.compiled.timers import new_timers
from onetape.engine import intervals
from onetape.engine.columns import joins
from onetape.engine.layout import LATE, NODE_WORDS
from onetape.engine.node import Canonical, Node, fed_by
from onetape.engine.operator_text import _earliest
from onetape.engine.stream import Stream
from onetape.records import UNSET
from onetape.records.declare import raw_rows
from onetape.records.types import Field

if TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan, _Planner

SIDES = ("left", "right")
OWN = {"ts_left_ns": Field("<i8"), "apart_ns": Field("<i8")}


@dataclass(frozen=True, eq=False)
class IntervalJoin(Node):
    """Pairs of rows of one key that are `least_ns` to `most_ns` apart."""

    kind = "join"

    of: Any = None
    key: str = ""
    least_ns: int = 0
    most_ns: int = 0
    how: str = "inner"
    taken: dict[str, str] = field(default_factory=dict)
    at_most: int = 64
    capacity: int = 1 << 16

    def late(self, side: str) -> Stream:
        return Stream(self, f"late_{side}", dict(self.inputs)[side].of)

    def rows(self) -> Stream:
        return Stream(self, "rows", self.of)

    def keyed_by(self) -> str | None:
        return self.key

    def is_timed(self) -> bool:
        return True

    def lines(self, plan: Plan) -> list[str]:
        pairs = "" if self.how == "anti" else f" and {self.at_most:,} pairs of one row"
        return [
            f"{self.how}, by {self.key}, right - left in [{self.least_ns}, {self.most_ns}] ns",
            f"at most {self.capacity:,} rows kept of a side{pairs}; at capacity the pipeline halts "
            "and says so",
        ]

    def meaning(self) -> dict[str, Any]:
        return fed_by(self)

    def manifest(self) -> dict[str, Any]:
        return {"within_ns": [self.least_ns, self.most_ns], "how": self.how, "key": self.key}

    # --- the driver's text ------------------------------------------------------------------------

    def write(self, planner: _Planner, name: str, event: str) -> None:
        """One row: pairs with what is kept of the other side, then it is kept itself."""
        text, label, number = planner.text, planner.label(self), planner.number[id(self)]
        planner.count_call(self)
        block, used = self._arrays(planner)
        mine = SIDES.index(name)
        # A left row has partners from ts + least to ts + most, a right one from ts - most on.
        signed = (self.least_ns, self.most_ns) if mine == 0 else (-self.most_ns, -self.least_ns)
        begin, end = (f"ts + {ns}" if ns >= 0 else f"ts - {-ns}" for ns in signed)
        links, other = f"{label}_links{1 - mine}", f"{label}_other{1 - mine}"
        side = intervals.RIGHT if mine == 0 else intervals.LEFT
        text.add(
            f"ts = {event}.ts_event_ns",
            f"{used}[0] = 0",
            "fits = root_late == 0 and root_time <= ts < FAR",
        )
        with text.block("if fits"):
            text.add(
                f"r.node = {number}",
                f"key = {event}.{self.key}",
                f"at_key = join_known_key({label}_index, key)",
                "met = 0",
                f"cell = join_first_from({links}, {label}_ends, at_key, {side}, {begin})",
                f"cell = join_until({links}, cell, {end})",
            )
            planner.sample(self)
            with text.block("while cell > 0"):
                text.add("met = 1")
                if mine == 1:
                    text.add(f"row({links}, cell - 1).met = 1")
                if self.how != "anti":
                    text.add(f"{other} = row({label}_rows{1 - mine}, cell - 1)")
                    self._pair(text, label, block, used, *([event, other][:: 1 - 2 * mine]))
                text.add(f"cell = join_until({links}, row({links}, cell - 1).after, {end})")
            with text.block(f"if {end} >= root_time"):  # else no partner can come any more
                at = f"at_key + {intervals.RIGHT}" if mine else "at_key"
                text.add(
                    f"at_key = join_any_key({label}_index, {label}_slots, {label}_told, key)",
                    f"cell = join_keep({label}_links{mine}, {label}_pool{mine}, {label}_ends, "
                    f"{at}, ts, met)",
                    f"put_row({label}_rows{mine}, cell, {event})",
                    f"next_wake = min(next_wake, rearm_earlier({label}_timers, {label}_heap, "
                    f"at_key // 4, key, min({end} + 1, FAR)))",
                )
            if mine == 0 and self.how != "inner":
                with text.block("elif met == 0"):
                    self._alone(text, label, block, used, event, "ts")
            planner.sample(self, at_end=True)
        with text.block("else"):
            text.add(f"counts[{number * NODE_WORDS + LATE}] += 1")
            if planner.is_wired(self.late(name)):
                planner.push(self.late(name), event)
        most = 1 if self.how == "anti" else self.at_most
        if self.how != "anti" or mine == 0:
            planner.mark_stale(self, self.of, block, f"{used}[0]", most)
            planner.push_each(self.rows(), block, f"{used}[0]", most)

    def write_timer(self, planner: _Planner) -> None:
        """Rows of the key in `slot` that can have no partner any more are told, or forgotten."""
        text, label, number = planner.text, planner.label(self), planner.number[id(self)]
        block, used = self._arrays(planner)
        ends, told = f"{label}_ends", f"{label}_told"
        is_told = self.how != "inner"
        gone = [f"{label}_links{n}, {label}_pool{n}, {ends}, slot * 4" for n in (0, 1)]
        text.add(
            f"r.node = {number}",
            f"join_first_over({gone[1]} + {intervals.RIGHT}, due - 1 + {self.least_ns}, False)",
            f"cell = join_first_over({gone[0]}, due - 1 - {self.most_ns}, {is_told})",
            f"wake = join_next_over({label}_links0, {label}_links1, {ends}, slot * 4, "
            f"{self.most_ns + 1}, {1 - self.least_ns}, FAR, NEVER)",
            f"set_timer({label}_timers, {label}_heap, slot, key, wake)",
            f"next_wake = {_earliest(planner)}",
            f"join_drop_key({label}_index, {label}_slots, {ends}, slot * 4, key)",
        )
        if not is_told:
            return
        # Rows of one time are told apart by how many were made at it before.
        text.add(
            f"{used}[0] = 0",
            f"made_rows = {told}[2 * slot + 1] if {told}[2 * slot] == due else 0",
            f"{label}_slot = slot",
        )
        with text.block("if cell >= 0"):
            text.add(f"{label}_other0 = row({label}_rows0, cell)")
            self._alone(text, label, block, used, f"{label}_other0", "due")
        planner.mark_stale(self, self.of, block, f"{used}[0]", 1)
        planner.push_each(self.rows(), block, f"{used}[0]", 1)
        text.add(
            f"{told}[2 * {label}_slot] = due",
            f"{told}[2 * {label}_slot + 1] = made_rows",
        )

    def _pair(self, text: Any, label: str, block: str, used: str, left: str, right: str) -> None:
        with text.block(f"if {used}[0] == {self.at_most}"):
            text.add(
                f'raise IndexError("a row has more than {self.at_most} partners; give a larger '
                f'at_most={self.at_most}")'
            )
        made = self._row(
            text, label, block, used, left, f"max({left}.ts_event_ns, {right}.ts_event_ns)"
        )
        text.add(
            f"{made}.apart_ns = {right}.ts_event_ns - {left}.ts_event_ns",
            *[f"{made}.{called} = {right}.{name}" for name, called in self.taken.items()],
        )

    def _alone(self, text: Any, label: str, block: str, used: str, left: str, ts: str) -> None:
        made = self._row(text, label, block, used, left, ts)
        if self.how == "left":
            right = dict(self.inputs)["right"].of.fields
            text.add(f"{made}.apart_ns = {UNSET}", *joins.unset(right, self.taken, made))

    def _row(self, text: Any, label: str, block: str, used: str, left: str, ts: str) -> str:
        """The next row, with its time and its left side."""
        made = f"{label}_made"
        of = dict(dict(self.inputs)["left"].of.fields)
        of.pop("ts_event_ns")
        text.add(
            f"{made} = clear_row({block}, {used}[0])",
            f"{used}[0] += 1",
            f"{made}.ts_event_ns = {ts}",
            f"{made}.ts_left_ns = {left}.ts_event_ns",
            *joins.copied(of, made, left),
        )
        return made

    # --- state ------------------------------------------------------------------------------------

    def _arrays(self, planner: _Planner) -> tuple[str, str]:
        label, number = planner.label(self), planner.number[id(self)]
        for name in ("known_key", "any_key", "drop_key", "first_from", "until", "keep",
                     "first_over", "next_over"):  # fmt: skip
            planner.name(f"join_{name}", getattr(intervals, name))
        planner.name("join_left", pool.left)

        def cells() -> int:
            return self.capacity + planner.calls_most.get(number, 1)

        def rows_of(of: Any) -> Any:
            return lambda: np.zeros(cells(), of.dtype)

        for n, (_, stream) in enumerate(self.inputs):
            planner.array(f"{label}_pool{n}", lambda: pool.new_pool(cells()))
            planner.array(f"{label}_links{n}", lambda: np.zeros(cells(), intervals.LINK))
            planner.array(f"{label}_rows{n}", rows_of(stream.of))
        planner.array(f"{label}_slots", lambda: pool.new_pool(2 * cells()))
        planner.array(f"{label}_index", lambda: new_index(2 * cells()))
        planner.array(f"{label}_ends", lambda: np.zeros(8 * cells(), np.int64))
        planner.array(f"{label}_told", lambda: np.zeros(4 * cells(), np.int64))
        planner.array(f"{label}_timers", lambda: new_timers(2 * cells())[0])
        planner.array(f"{label}_heap", lambda: new_timers(2 * cells())[1])
        most = 1 if self.how == "anti" else self.at_most
        block = planner.array(f"x{number}_rows", lambda: np.zeros(most, self.of.dtype))
        return block, planner.array(f"u{number}_rows", lambda: np.zeros(1, np.int64))

    def write_headroom(self, planner: _Planner) -> str:
        label = planner.label(self)
        return f"min(join_left({label}_pool0), join_left({label}_pool1))"

    def used(self, arrays: dict[str, Any], label: str) -> int | None:
        pools = [arrays[f"{label}_pool{n}"] for n in (0, 1)]
        return max(int(p[pool.FRESH] - p[pool.BACK]) for p in pools)

    def limits(self) -> dict[str, int]:
        return {"rows of a side": self.capacity}

    def canonical(self, engine: Engine, label: str) -> Canonical:
        """What is kept, key by key in the order of the lists: where a row lies means nothing."""
        arrays = engine.arrays
        timers, heap = arrays[f"{label}_timers"], arrays[f"{label}_heap"]
        slots = heap[1 : 1 + heap[0]]  # each key that has rows has its timer
        slots = slots[np.argsort(timers["key"][slots])]
        yield timers["key"][slots], [timers["wake_ns"][slots]]
        for n in (0, 1):
            links, cells, keys = arrays[f"{label}_links{n}"], [], []
            for slot in slots.tolist():
                cell = int(arrays[f"{label}_ends"][4 * slot + 2 * n])
                while cell:
                    keys.append(int(timers["key"][slot]))
                    cells.append(cell - 1)
                    cell = int(links["after"][cell - 1])
            rows = raw_rows(arrays[f"{label}_rows{n}"])[cells]
            yield np.array(keys, np.int64), [rows, links["met"][cells].copy()]
