"""The driver's text for session windows: add to a session; when it has paused, tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onetape.engine import keyed_text, sessions
from onetape.engine.layout import AHEAD, LATE, NODE_WORDS
from onetape.engine.operator_text import _earliest, call, initial_block
from onetape.engine.window_text import before_none, slack_ns
from onetape.records import DeclarationError
from onetape.records.market import EARLY

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner


def on_event(planner: _Planner, node: sessions.Session, event: str) -> None:
    """One event: to its session, or to `late`."""
    text, label, number = planner.text, planner.label(node), planner.number[id(node)]
    planner.count_call(node)
    cells = _arrays(planner, node)
    fits = f"{label}_fits"
    text.add(f"ts = {event}.ts_event_ns", f"{fits} = root_late == 0 and root_time <= ts < FAR")
    with text.block(f"if not {fits}"):
        text.add(f"counts[{number * NODE_WORDS + LATE}] += 1")
    with text.block("else"):
        text.add(f"key = {node.key_of(event)}")
        clear = [f"clear_cells({label}_starts, slot, {cells})"]
        with keyed_text.find_slot(planner, node, "slot", node.capacity, clear):
            _add(planner, node, event, cells)
    if planner.is_wired(node.late()):
        with text.block(f"if not {fits}"):
            planner.push(node.late(), event)


def _add(planner: _Planner, node: sessions.Session, event: str, cells: int) -> None:
    text, label, gap = planner.text, planner.label(node), node.gap_ns
    number, of = planner.number[id(node)], f"{label}_starts, {label}_lasts, slot, {cells}"
    text.add(f"cell = session_of({of}, ts, {gap})")
    with text.block("if cell < 0"):
        text.add(f"counts[{number * NODE_WORDS + AHEAD}] += 1", f"{label}_fits = False")
    with text.block("else"):
        with text.block("if cell >= NEW_SESSION"):
            text.add("cell -= NEW_SESSION", f"copy_row({label}_panes, cell, x{number}_initial, 0)")
        planner.sample(node)
        text.add(f"r.node = {number}")
        call(planner, f"{label}_add", node.spec.add, [f"row({label}_panes, cell)", event], [])
        planner.sample(node, at_end=True)
        text.add(f"other = touching({of}, cell, {gap})")
        with text.block("if other >= 0"):
            text.add(
                f"if {label}_starts[other] < {label}_starts[cell]:",
                "    cell, other = other, cell",
            )
            both = [f"row({label}_panes, cell)", f"fixed(row({label}_panes, other))"]
            call(planner, f"{label}_merge", node.spec.merge, both, [])
            text.add(f"grow({label}_starts, {label}_lasts, cell, other)")
        # A session that goes on leaves its timer where it was: that one looks again.
        text.add(
            f"wake = rearm_earlier({label}_timers, {label}_heap, slot, key, "
            f"{label}_lasts[cell] + {gap})",
            "next_wake = min(next_wake, wake)",
        )
        if node.emit == "each":
            text.add(f"start = {label}_starts[cell] - 1")
            _tell(planner, node, "key", f"{label}_lasts[cell] + {gap}", EARLY)


def on_timer(planner: _Planner, node: sessions.Session) -> None:
    """A session of the key in `slot` ends at `due`."""
    text, label, gap = planner.text, planner.label(node), node.gap_ns
    cells, number = _arrays(planner, node), planner.number[id(node)]
    of = f"{label}_starts, {label}_lasts, slot, {cells}"
    text.add(f"r.node = {number}", f"cell = ended_at({of}, due, {gap})", "start = 0")
    with text.block("if cell >= 0"):
        text.add(f"start = {label}_starts[cell] - 1", f"{label}_starts[cell] = 0")
    text.add(
        f"set_timer({label}_timers, {label}_heap, slot, key, next_session_end({of}, {gap}, NEVER))",
        f"next_wake = {_earliest(planner)}",
    )
    with text.block(f"if row({label}_timers, slot).place == 0"):  # no session is open
        keyed_text.give_back(planner, node, "slot")
    with text.block("if cell >= 0"):
        _tell(planner, node, "root_key", "due", 0)


def _tell(planner: _Planner, node: sessions.Session, key: str, end: str, flag: int) -> None:
    """One row of the session in `cell` that begins at `start`."""
    label, number = planner.label(node), planner.number[id(node)]
    block = planner.array(f"x{number}_window", lambda: np.zeros(1, node.spec.of.dtype))
    used = planner.array(f"u{number}_window", lambda: np.zeros(1, np.int64))
    span = [f"row({label}_panes, cell)", key, "start", end, *before_none(planner, node)]
    call(planner, f"{label}_result", node.spec.result, span, [], into=f"{block}, {used}")
    if flag:
        planner.text.add(f"row({block}, 0).flags |= {flag}")
    planner.mark_stale(node, node.spec.of, block, f"{used}[0]", 1)
    planner.push_each(node.windows(), block, f"{used}[0]", 1)


def _arrays(planner: _Planner, node: sessions.Session) -> int:
    """Reserve the sessions' arrays; returns how many a key may have open."""
    label, spec, keys = planner.label(node), node.spec, node.capacity
    cells = 2 + -(-slack_ns(planner, node.inputs[0][1]) // node.gap_ns)
    if keys * cells > 1 << 28:
        raise DeclarationError(
            f"{node.name}: {keys} keys of {cells} sessions need "
            f"{keys * cells * (spec.state.itemsize + 16)} bytes; lower capacity, the lateness or "
            "the idle limit of its sources, or take a longer gap"
        )
    for name in ("session_of", "touching", "grow", "ended_at", "next_session_end"):
        planner.name(name, getattr(sessions, name))
    planner.name("NEW_SESSION", sessions.NEW)
    slots = planner.keyed_arrays(node, keys)
    planner.array(f"{label}_starts", lambda: np.zeros(slots() * cells, np.int64))
    planner.array(f"{label}_lasts", lambda: np.zeros(slots() * cells, np.int64))
    planner.array(f"{label}_panes", lambda: np.zeros(slots() * cells, spec.state))
    initial = f"x{planner.number[id(node)]}_initial"
    planner.array(initial, lambda: initial_block(spec.state, spec.initial))
    return cells
