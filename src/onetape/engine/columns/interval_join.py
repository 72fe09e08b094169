"""`left.interval_join(right, by=c.order_id, within=("-5ms", "2s"))`: pairs that are near in time.

A row of each side with the same key are a pair if right.ts_event_ns - left.ts_event_ns lies in
`within`, both ends included. A pair is told when the second of the two is there. A row is kept
until the watermark says that no partner of it can come any more; so all pairs of rows that are in
time are found, whatever way the two sides arrive. A late row goes to `late`, or `late_right`.

    how     "inner": pairs; "left": also each left row that has found no partner, when that is
            sure, its right side unset; "anti": only those

Beside the fields of both, a row has `ts_left_ns`, the time of its left side, and `apart_ns`, how
much later the right one is (unset without a partner). Its ts_event_ns is the time at which it is
sure: of a pair the later time of the two, of a row alone the first at which no partner can come.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled import pool
from onetape.compiled.index import new_index
from onetape.compiled.timers import new_timers
from onetape.engine import intervals
from onetape.engine.columns import joins
from onetape.engine.graph import Node, Stream
from onetape.engine.in_order import in_order
from onetape.engine.operator_text import _earliest
from onetape.engine.window_text import LATE
from onetape.records import UNSET, DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Field, parse_duration_ns

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner

SIDES = ("left", "right")
HOWS = ("inner", "left", "anti")
OWN = {"ts_left_ns": Field("<i8"), "apart_ns": Field("<i8")}
AT_MOST = 4096


@dataclass(frozen=True, eq=False)
class IntervalJoin(Node):
    """Pairs of rows of one key that are `least_ns` to `most_ns` apart."""

    of: Any = None
    key: str = ""
    least_ns: int = 0
    most_ns: int = 0
    how: str = "inner"
    taken: dict[str, str] = field(default_factory=dict)
    at_most: int = 64
    capacity: int = 1 << 16

    has_timer = True

    def late(self, side: str) -> Stream:
        return Stream(self, f"late_{side}", dict(self.inputs)[side].of)

    def rows(self) -> Stream:
        return Stream(self, "rows", self.of)

    def lines(self) -> list[str]:
        pairs = "" if self.how == "anti" else f" and {self.at_most:,} pairs of one row"
        return [
            f"{self.how}, by {self.key}, right - left in [{self.least_ns}, {self.most_ns}] ns",
            f"at most {self.capacity:,} rows kept of a side{pairs}; at capacity the pipeline halts "
            "and says so",
        ]

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
                f"at_key = known_key({label}_index, key)",
                "met = 0",
                f"cell = until({links}, first_from({links}, {label}_ends, at_key, {side}, {begin}), "
                f"{end})",
            )
            planner.sample(self)
            with text.block("while cell > 0"):
                text.add("met = 1")
                if mine == 1:
                    text.add(f"row({links}, cell - 1).met = 1")
                if self.how != "anti":
                    text.add(f"{other} = row({label}_rows{1 - mine}, cell - 1)")
                    self._pair(text, label, block, used, *([event, other][:: 1 - 2 * mine]))
                text.add(f"cell = until({links}, row({links}, cell - 1).after, {end})")
            with text.block(f"if {end} >= root_time"):  # else no partner can come any more
                at = f"at_key + {intervals.RIGHT}" if mine else "at_key"
                text.add(
                    f"at_key = any_key({label}_index, {label}_slots, {label}_told, key)",
                    f"cell = keep({label}_links{mine}, {label}_pool{mine}, {label}_ends, {at}, ts, "
                    "met)",
                    f"put_row({label}_rows{mine}, cell, {event})",
                    f"next_wake = min(next_wake, rearm_earlier({label}_timers, {label}_heap, "
                    f"at_key // 4, key, min({end} + 1, FAR)))",
                )
            if mine == 0 and self.how != "inner":
                with text.block("elif met == 0"):
                    self._alone(text, label, block, used, event, "ts")
            planner.sample(self, at_end=True)
        with text.block("else"):
            text.add(f"counts[{number * 2 + LATE}] += 1")
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
            f"first_over({gone[1]} + {intervals.RIGHT}, due - 1 + {self.least_ns}, False)",
            f"cell = first_over({gone[0]}, due - 1 - {self.most_ns}, {is_told})",
            f"wake = next_over({label}_links0, {label}_links1, {ends}, slot * 4, "
            f"{self.most_ns + 1}, {1 - self.least_ns}, FAR, NEVER)",
            f"set_timer({label}_timers, {label}_heap, slot, key, wake)",
            f"next_wake = {_earliest(planner)}",
            f"drop_key({label}_index, {label}_slots, {ends}, slot * 4, key)",
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
        made = self._row(text, label, block, used, left, f"max({left}.ts_event_ns, {right}.ts_event_ns)")
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
            planner.name(name, getattr(intervals, name))
        planner.name("left", pool.left)

        def cells() -> int:
            return self.capacity + planner.calls_most.get(number, 1)

        for n, (_, stream) in enumerate(self.inputs):
            of = stream.of
            planner.array(f"{label}_pool{n}", lambda: pool.new_pool(cells()))
            planner.array(f"{label}_links{n}", lambda: np.zeros(cells(), intervals.LINK))
            planner.array(f"{label}_rows{n}", lambda of=of: np.zeros(cells(), of.dtype))
        planner.array(f"{label}_slots", lambda: pool.new_pool(2 * cells()))
        planner.array(f"{label}_index", lambda: new_index(2 * cells()))
        planner.array(f"{label}_ends", lambda: np.zeros(8 * cells(), np.int64))
        planner.array(f"{label}_told", lambda: np.zeros(4 * cells(), np.int64))
        planner.array(f"{label}_timers", lambda: new_timers(2 * cells())[0])
        planner.array(f"{label}_heap", lambda: new_timers(2 * cells())[1])
        most = 1 if self.how == "anti" else self.at_most
        block = planner.array(f"x{number}_rows", lambda: np.zeros(most, self.of.dtype))
        return block, planner.array(f"u{number}_rows", lambda: np.zeros(1, np.int64))

    def headroom(self, planner: _Planner) -> str:
        label = planner.label(self)
        return f"min(left({label}_pool0), left({label}_pool1))"

    def canonical(self, label: str, arrays: Any) -> Iterator[tuple[str, Any, list[Any]]]:
        """What is kept, key by key in the order of the lists: where a row lies means nothing."""
        timers, heap = arrays[f"{label}_timers"], arrays[f"{label}_heap"]
        slots = heap[1 : 1 + heap[0]]  # each key that has rows has its timer
        slots = slots[np.argsort(timers["key"][slots])]
        yield label, timers["key"][slots], [timers["wake_ns"][slots]]
        for n in (0, 1):
            links, cells, keys = arrays[f"{label}_links{n}"], [], []
            for slot in slots.tolist():
                cell = int(arrays[f"{label}_ends"][4 * slot + 2 * n])
                while cell:
                    keys.append(int(timers["key"][slot]))
                    cells.append(cell - 1)
                    cell = int(links["after"][cell - 1])
            rows = arrays[f"{label}_rows{n}"][cells]
            yield label, np.array(keys, np.int64), [rows, links["met"][cells].copy()]


class JoinedStream(Stream):
    """What an interval join gives; `.late` and `.late_right` are rows that came too late for it."""

    @property
    def late(self) -> Stream:
        return typing.cast(IntervalJoin, self.node).late("left")

    @property
    def late_right(self) -> Stream:
        return typing.cast(IntervalJoin, self.node).late("right")


def interval_join(
    left: Stream,
    right: Stream,
    *,
    by: Any,
    within: tuple[str | int, str | int],
    how: str = "inner",
    at_most: int = 64,
    suffix: str = "_right",
    order: str = "arrival",
    capacity: int = 1 << 16,
) -> JoinedStream:
    """Pairs of rows; fields of `right` that both have get `suffix`."""
    what = "interval_join"
    joins.check_stream(what, right)
    key = joins.common_key(what, by, left.of, right.of)
    if how not in HOWS:
        raise DeclarationError(f"{what}: how was {how!r}; expected one of {', '.join(HOWS)}")
    if not isinstance(within, tuple | list) or len(within) != 2:
        raise DeclarationError(
            f"{what}: within was {within!r}; expected the least and the most that the right row is "
            "later, such as ('-5ms', '2s')"
        )
    least_ns, most_ns = (signed_ns(end) for end in within)
    if least_ns > most_ns:
        raise DeclarationError(f"{what}: within {within!r} is empty; its first end is the larger")
    for name, value, most in (("at_most", at_most, AT_MOST), ("capacity", capacity, 1 << 28)):
        if not isinstance(value, int) or not 1 <= value <= most:
            raise DeclarationError(f"{what}: {name} was {value!r}; expected 1 to {most:,}")
    fields = dict(left.of.fields) | OWN
    if taken_twice := [n for n in OWN if n in left.of.fields]:
        raise DeclarationError(
            f"{what}: {left.of.__name__} has {taken_twice[0]!r}, which a joined row has of its own; "
            "rename it before: select(...)"
        )
    taken = {}
    if how == "anti":
        del fields["apart_ns"]
    else:
        skipped = (*joins.SKIPPED, key)
        taken = joins.taken_fields(what, fields, right.of.fields, skipped, suffix)
        fields |= {called: right.of.fields[name] for name, called in taken.items()}
    word = "Without" if how == "anti" else "Near"
    inputs = in_order(what, order, {"left": left, "right": right}, 2 * capacity)
    node = IntervalJoin(
        f"{what}_{left.node.name}_{right.node.name}",
        tuple(inputs.items()),
        of=made_record(f"{left.of.__name__}{word}{right.of.__name__}", fields),
        key=key,
        least_ns=least_ns,
        most_ns=most_ns,
        how=how,
        taken=taken,
        at_most=at_most,
        capacity=capacity,
    )
    return JoinedStream(node, "rows", node.of)


def signed_ns(text: str | int) -> int:
    """A duration that may be below zero: '-5ms'."""
    is_below = isinstance(text, str) and text.strip().startswith("-")
    ns = -parse_duration_ns(text.strip()[1:]) if is_below else parse_duration_ns(text)  # type: ignore[union-attr]
    if not -(1 << 60) < ns < 1 << 60:
        raise DeclarationError(f"interval_join: within has {text!r}; expected at most 36 years")
    return ns
