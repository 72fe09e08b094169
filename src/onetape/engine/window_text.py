"""The driver's text for windows: add to a pane; when a window ends, merge its panes.

Names begin with the node's label: what a row causes further down is written in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onetape.engine import keyed_text, layout
from onetape.engine.aggregates import Aggregating
from onetape.engine.operator_text import _earliest, call, initial_block
from onetape.engine.window import Window, next_due, next_end
from onetape.records import DeclarationError
from onetape.records.market import EARLY, LATE

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner
    from onetape.engine.stream import Stream


def on_event(planner: _Planner, node: Window, event: str) -> None:
    """One event: to its pane, or to `late`."""
    text, label, every = planner.text, planner.label(node), node.every_ns
    fits, pane, slot = (f"{label}_{name}" for name in ("fits", "pane", "slot"))
    planner.count_call(node)
    ring = _arrays(planner, node)
    number = planner.number[id(node)]
    text.add(
        f"ts = {event}.ts_event_ns",
        f"{pane} = ts // {every}",
        f"{fits} = root_late == 0 and root_time <= ts < FAR",
    )
    if node.lateness_ns:
        text.add(
            f"{label}_again = not {fits} and 0 <= ts < FAR and "
            f"({pane} + {node.panes_count()}) * {every} + {node.lateness_ns} > root_time",
            f"{fits} |= {label}_again",
        )
    passed = f"not {fits}"  # it, or some of its windows
    if node.lateness_ns and node.panes_count() > 1:
        text.add(
            f"{label}_missed = {label}_again and "
            f"({pane} + 1) * {every} + {node.lateness_ns} <= root_time"
        )
        passed = f"({passed} or {label}_missed)"
        with text.block(f"if {label}_missed"):
            text.add(f"counts[{number * layout.NODE_WORDS + layout.LATE}] += 1")
    with text.block(f"if not {fits}"):
        text.add(f"counts[{number * layout.NODE_WORDS + layout.LATE}] += 1")
    with text.block("else"):
        text.add(f"key = {node.key_of(event)}")
        clear = [f"clear_cells({label}_numbers, {slot}, {ring})"]
        clear += [f"{label}_kept[{slot}] = 0"] if node.spec.carry is not None else []
        with keyed_text.find_slot(planner, node, slot, node.capacity, clear):
            _add(planner, node, event, ring)
    if planner.is_wired(node.late()):
        with text.block(f"if {passed}"):
            planner.push(node.late(), event)


def _add(planner: _Planner, node: Window, event: str, ring: int) -> None:
    """The event goes to its pane, unless the cell of that pane is needed still."""
    text, label, number = planner.text, planner.label(node), planner.number[id(node)]
    fits, pane, cell, slot = (f"{label}_{name}" for name in ("fits", "pane", "cell", "slot"))
    text.add(f"{cell} = {slot} * {ring} + ({pane} & {ring - 1})")
    with text.block(f"if {label}_numbers[{cell}] != {pane} + 1"):
        with text.block(f"if {_is_needed(node, label)}"):
            text.add(f"counts[{number * layout.NODE_WORDS + layout.AHEAD}] += 1", f"{fits} = False")
        with text.block("else"):
            text.add(
                f"{label}_numbers[{cell}] = {pane} + 1",
                f"copy_row({label}_panes, {cell}, x{number}_initial, 0)",
            )
            if node.early_ns:
                text.add(f"{label}_changed[{cell}] = 0")
            else:  # a pane that is there has its timer; only the first event in it sets one
                _await_end(planner, node)
    with text.block(f"if {fits}"):
        planner.sample(node)
        text.add(f"r.node = {number}")
        call(planner, f"{label}_add", node.spec.add, [f"row({label}_panes, {cell})", event], [])
        planner.sample(node, at_end=True)
        if node.early_ns:
            _await_early(planner, node)
        if node.lateness_ns or node.emit == "each":
            _tell_at_once(planner, node)


def _is_needed(node: Window, label: str) -> str:
    """Does a window that is still to be told need the pane that is in the cell now?"""
    held, timer = f"{label}_numbers[{label}_cell]", f"row({label}_timers, {label}_slot)"
    last = f"({held} + {node.panes_count() - 1})" if node.panes_count() > 1 else held
    if node.lateness_ns:
        return f"{held} != 0 and {last} * {node.every_ns} + {node.lateness_ns} > root_time"
    # Its last window is not before the next to end.
    return f"{held} != 0 and {timer}.place > 0 and {last} * {node.every_ns} >= {timer}.wake_ns"


def _await_end(planner: _Planner, node: Window) -> None:
    """The first of the new pane's windows that has not ended has a timer."""
    text, label, every = planner.text, planner.label(node), node.every_ns
    end = f"({label}_pane + 1) * {every}"
    rearm = f"wake = rearm_earlier({label}_timers, {label}_heap, {label}_slot, key, {{}})"
    if not node.lateness_ns:
        text.add(rearm.format(end), "next_wake = min(next_wake, wake)")
        return
    text.add(f"first_end = max({label}_pane, root_time // {every}) + 1")
    with text.block(f"if first_end <= {label}_pane + {node.panes_count()}"):
        text.add(rearm.format(f"first_end * {every}"), "next_wake = min(next_wake, wake)")


def _await_early(planner: _Planner, node: Window) -> None:
    """A pane that has changed is told at the next multiple of `early`, at last where it ends."""
    text, label, every, early = planner.text, planner.label(node), node.every_ns, node.early_ns
    changed = f"{label}_changed[{label}_cell]"
    with text.block(f"if {changed} == 0 and ({label}_pane + 1) * {every} > root_time"):
        text.add(
            f"{changed} = 1",
            f"wake = (max(root_time, {label}_pane * {every}) // {early} + 1) * {early}",
            f"wake = rearm_earlier({label}_timers, {label}_heap, {label}_slot, key, wake)",
            "next_wake = min(next_wake, wake)",
        )


def _tell_at_once(planner: _Planner, node: Window) -> None:
    """A window that has ended already is told again; with emit="each" one that is open, too."""
    text, label, every, panes = planner.text, planner.label(node), node.every_ns, node.panes_count()
    timer, end = f"row({label}_timers, {label}_slot)", f"{label}_end"
    flag, slot, due = f"{label}_flag", f"{label}_slot", f"{label}_end * {every}"
    # One that ends right now may have its timer still to come: that tells it on time.
    is_over = (
        f"{due} <= root_time < {due} + {node.lateness_ns} and "
        f"not ({timer}.place > 0 and {timer}.wake_ns <= {due})"
    )
    if panes == 1:
        text.add(f"{end}, {flag} = {label}_pane + 1, 0")
        if node.emit == "each":
            text.add(f"if {due} > root_time:", f"    {flag} = {EARLY}")
        if node.lateness_ns:
            text.add(f"if {is_over}:", f"    {flag} = {LATE}")
        with text.block(f"if {flag} != 0"):
            _tell(planner, node, slot, end, f"{label}_keys[{slot}]", flag)
        return
    until = f"min({label}_pane + {panes}, root_time // {every})"
    with text.block(f"if {label}_again"):
        text.add(f"{label}_until = {until}")
        planner.times *= panes
        ends = f"for {end} in range({label}_pane + 1, {label}_until + 1)"
        with text.block(ends), text.block(f"if {is_over}"):
            _tell(planner, node, slot, end, f"{label}_keys[{slot}]", str(LATE))
        planner.times //= panes


def on_timer(planner: _Planner, node: Window) -> None:
    """Of the key in `slot` a window ends at `due`, or is to be told early."""
    text, label, every, panes = planner.text, planner.label(node), node.every_ns, node.panes_count()
    ring, number = _arrays(planner, node), planner.number[id(node)]
    timer = f"{label}_timers, {label}_heap, slot, key"
    text.add(f"r.node = {number}", f"{label}_slot = slot")
    if node.early_ns:
        planner.name("next_due", next_due)
        cell = f"slot * {ring} + (({label}_end - 1) & {ring - 1})"
        text.add(
            f"{label}_end = (due - 1) // {every} + 1",
            f"{label}_flag = {EARLY} if due < {label}_end * {every} else 0",
            f"{label}_changed[{cell}] = 0",
            f"wake = next_due({label}_numbers, {label}_changed, slot, {ring}, {every}, "
            f"{node.early_ns}, due)",
        )
    else:
        planner.name("next_end", next_end)
        text.add(
            f"{label}_end = due // {every}",
            f"following = next_end({label}_numbers, slot, {ring}, {panes}, {label}_end)",
            f"wake = following * {every} if following >= 0 else NEVER",
        )
    text.add(f"set_timer({timer}, wake)", f"next_wake = {_earliest(planner)}")
    if node.leaves_keys():
        with text.block("if wake == NEVER"):  # no pane is open: the key is as one never seen
            keyed_text.give_back(planner, node, "slot")
    flag = f"{label}_flag" if node.early_ns else ""
    _tell(planner, node, f"{label}_slot", f"{label}_end", "root_key", flag, is_over=True)


def _tell(
    planner: _Planner,
    node: Window,
    slot: str,
    end: str,
    key: str,
    flag: str,
    is_over: bool = False,
) -> None:
    """One row of the window with this end number. flag: how it is not the one on time, or ''.

    is_over  the oldest pane lies before all windows to come (unless `flag` says otherwise)
    """
    text, label, every, panes = planner.text, planner.label(node), node.every_ns, node.panes_count()
    ring, number = _arrays(planner, node), planner.number[id(node)]
    block = planner.array(f"x{number}_window", lambda: np.zeros(1, node.spec.of.dtype))
    used = planner.array(f"u{number}_window", lambda: np.zeros(1, np.int64))
    cell_of = f"cell = {slot} * {ring} + ({{}} & {ring - 1})"
    if panes == 1:
        text.add(cell_of.format(f"({end} - 1)"), f"{label}_sum = row({label}_panes, cell)")
    else:
        planner.array(f"x{number}_total", lambda: np.zeros(1, node.spec.state))
        text.add(
            f"copy_row(x{number}_total, 0, x{number}_initial, 0)",
            f"{label}_sum = row(x{number}_total, 0)",
            "whole = 0",
        )
        with text.block(f"for pane in range(max({end} - {panes}, 0), {end})"):
            text.add(cell_of.format("pane"))
            with text.block(f"if {label}_numbers[cell] == pane + 1"):
                with text.block("if whole == 0"):  # the oldest pane as it is: nothing is merged
                    text.add(f"copy_row(x{number}_total, 0, {label}_panes, cell)", "whole = 1")
                with text.block("else"):
                    panes_of = [f"{label}_sum", f"fixed(row({label}_panes, cell))"]
                    call(planner, f"{label}_merge", node.spec.merge, panes_of, [])
    due = f"{end} * {every}"
    span = [f"{label}_sum", key, f"{due} - {node.width_ns}", due]
    if node.spec.carry is not None:
        with text.block(f"if {label}_kept[{slot}] == 0"):
            text.add(
                f"{label}_kept[{slot}] = 1",
                f"copy_row({label}_before, {slot}, x{number}_initial, 0)",
            )
        span.append(f"fixed(row({label}_before, {slot}))")
    call(planner, f"{label}_result", node.spec.result, span, [], into=f"{block}, {used}")
    if node.spec.carry is not None and is_over:
        text.add(cell_of.format(f"({end} - {panes})"))
        leaves = f"{label}_numbers[cell] == {end} - {panes - 1} > 0"
        with text.block(f"if {leaves}" + (f" and {flag} == 0" if flag else "")):
            kept = [f"row({label}_before, {slot})", f"fixed(row({label}_panes, cell))"]
            call(planner, f"{label}_carry", node.spec.carry, kept, [])
    if flag:
        text.add(f"row({block}, 0).flags |= {flag}")
    planner.mark_stale(node, node.spec.of, block, f"{used}[0]", 1)
    planner.push_each(node.windows(), block, f"{used}[0]", 1)


def _arrays(planner: _Planner, node: Window) -> int:
    """Reserve the window's arrays; returns the panes a key's ring holds."""
    label, spec, keys = planner.label(node), node.spec, node.capacity
    ring = ring_panes(planner, node)
    if keys * ring > 1 << 28:
        raise DeclarationError(
            f"{node.name}: {keys} keys of {ring} panes need {keys * ring * spec.state.itemsize} "
            "bytes; lower capacity, the lateness or the idle limit of its sources"
        )
    slots = planner.keyed_arrays(node, keys)
    planner.array(f"{label}_numbers", lambda: np.zeros(slots() * ring, np.int64))
    planner.array(f"{label}_panes", lambda: np.zeros(slots() * ring, spec.state))
    if node.early_ns:
        planner.array(f"{label}_changed", lambda: np.zeros(slots() * ring, np.int64))
    if spec.carry is not None:
        planner.array(f"{label}_kept", lambda: np.zeros(slots(), np.int64))
        planner.array(f"{label}_before", lambda: np.zeros(slots(), spec.state))
    initial = f"x{planner.number[id(node)]}_initial"
    planner.array(initial, lambda: initial_block(spec.state, spec.initial))
    return ring


def ring_panes(planner: _Planner, node: Window) -> int:
    """Panes a key keeps: a window, what may still arrive late, and how far sources may differ."""
    kept_ns = slack_ns(planner, node.inputs[0][1]) + node.lateness_ns
    needed = node.panes_count() + -(-kept_ns // node.every_ns) + 2
    return 1 << (needed - 1).bit_length()  # a power of two: a cell is found by masking


def slack_ns(planner: _Planner, stream: Stream) -> int:
    """How far apart in time rows may come: late ones, and sources that differ."""
    if stream.node.comes_with_time(stream.output):
        return 0
    sources = planner.pipeline.sources
    slack = max(s.lateness_ns for s in sources)
    return slack + 2 * max(s.idle_ns for s in sources) if len(sources) > 1 else slack


def before_none(planner: _Planner, node: Aggregating) -> list[str]:
    """What `result` is told of the time before, where nothing is kept of it."""
    return [f"fixed(row(x{planner.number[id(node)]}_initial, 0))"] if node.spec.carry else []
