"""The driver's text for windows: add to a pane; when a window ends, merge its panes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onetape.engine import keyed_text
from onetape.engine.layout import AHEAD, LATE, NODE_WORDS
from onetape.engine.operator_text import _earliest, call, initial_block
from onetape.engine.window import Window, next_end
from onetape.records import DeclarationError

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner


def on_event(planner: _Planner, node: Window, event: str) -> None:
    """One event: to its pane, or to `late`."""
    text, label, every = planner.text, planner.label(node), node.every_ns
    planner.count_call(node)
    ring = _arrays(planner, node)
    number = planner.number[id(node)]
    text.add(
        f"ts = {event}.ts_event_ns",
        f"pane = ts // {every}",
        "fits = root_late == 0 and root_time <= ts < FAR",
    )
    with text.block("if not fits"):
        text.add(f"counts[{number * NODE_WORDS + LATE}] += 1")
    with text.block("else"):
        text.add(f"key = {event}.{node.key}")
        clear = [f"clear_cells({label}_numbers, slot, {ring})"]
        with keyed_text.find_slot(planner, node, "slot", node.capacity, clear):
            _add(planner, node, event, ring)
    if planner.is_wired(node.late()):
        with text.block("if not fits"):
            planner.push(node.late(), event)


def _add(planner: _Planner, node: Window, event: str, ring: int) -> None:
    text, label, every = planner.text, planner.label(node), node.every_ns
    number = planner.number[id(node)]
    text.add(f"cell = slot * {ring} + (pane & {ring - 1})")
    with text.block(f"if {label}_numbers[cell] != pane + 1"):
        # The cell's pane is still needed if its last window is not before the next to end.
        timer, last = f"row({label}_timers, slot)", f"{label}_numbers[cell]"
        if node.panes_count() > 1:
            last = f"({last} + {node.panes_count() - 1})"
        with text.block(
            f"if {label}_numbers[cell] != 0 and {timer}.place > 0 "
            f"and {last} * {every} >= {timer}.wake_ns"
        ):
            text.add(f"counts[{number * NODE_WORDS + AHEAD}] += 1", "fits = False")
        with text.block("else"):
            # A pane that is there has its timer; only the first event in it sets one.
            text.add(
                f"{label}_numbers[cell] = pane + 1",
                f"copy_row({label}_panes, cell, x{number}_initial, 0)",
                f"wake = rearm_earlier({label}_timers, {label}_heap, slot, key, "
                f"(pane + 1) * {every})",
                "next_wake = min(next_wake, wake)",
            )
    with text.block("if fits"):
        planner.sample(node)
        text.add(f"r.node = {number}")
        call(planner, f"{label}_add", node.spec.add, [f"row({label}_panes, cell)", event], [])
        planner.sample(node, at_end=True)


def on_timer(planner: _Planner, node: Window) -> None:
    """The window that ends at `due` is complete, for the key in `slot`."""
    text, label, every, panes = planner.text, planner.label(node), node.every_ns, node.panes_count()
    ring, number = _arrays(planner, node), planner.number[id(node)]
    planner.name("next_end", next_end)
    block = planner.array(f"x{number}_window", lambda: np.zeros(1, node.spec.of.dtype))
    used = planner.array(f"u{number}_window", lambda: np.zeros(1, np.int64))
    text.add(f"r.node = {number}", f"last = due // {every}")
    if panes == 1:
        text.add(f"{label}_sum = row({label}_panes, slot * {ring} + ((last - 1) & {ring - 1}))")
    else:
        planner.array(f"x{number}_total", lambda: np.zeros(1, node.spec.state))
        text.add(
            f"copy_row(x{number}_total, 0, x{number}_initial, 0)",
            f"{label}_sum = row(x{number}_total, 0)",
            "whole = 0",
        )
        with text.block(f"for pane in range(max(last - {panes}, 0), last)"):
            text.add(f"cell = slot * {ring} + (pane & {ring - 1})")
            with text.block(f"if {label}_numbers[cell] == pane + 1"):
                with text.block("if whole == 0"):  # the oldest pane as it is: nothing is merged
                    text.add(f"copy_row(x{number}_total, 0, {label}_panes, cell)", "whole = 1")
                with text.block("else"):
                    panes_of = [f"{label}_sum", f"fixed(row({label}_panes, cell))"]
                    call(planner, f"{label}_merge", node.spec.merge, panes_of, [])
    text.add(
        f"following = next_end({label}_numbers, slot, {ring}, {panes}, last)",
        f"wake = following * {every} if following >= 0 else NEVER",
        f"set_timer({label}_timers, {label}_heap, slot, key, wake)",
        f"next_wake = {_earliest(planner)}",
    )
    span = [f"{label}_sum", "root_key", f"due - {node.width_ns}", "due"]
    call(planner, f"{label}_result", node.spec.result, span, [], into=f"{block}, {used}")
    with text.block("if following < 0"):  # no pane is open: the key is as one never seen
        keyed_text.give_back(planner, node, "slot")
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
    initial = f"x{planner.number[id(node)]}_initial"
    planner.array(initial, lambda: initial_block(spec.state, spec.initial))
    return ring


def ring_panes(planner: _Planner, node: Window) -> int:
    """Panes a key keeps: a window, what may still arrive late, and how far sources may differ."""
    needed = node.panes_count() + -(-slack_ns(planner) // node.every_ns) + 2
    return 1 << (needed - 1).bit_length()  # a power of two: a cell is found by masking


def slack_ns(planner: _Planner) -> int:
    """How far apart in time events may come: late ones, and sources that differ."""
    sources = planner.pipeline.sources
    slack = max(s.lateness_ns for s in sources)
    return slack + 2 * max(s.idle_ns for s in sources) if len(sources) > 1 else slack
