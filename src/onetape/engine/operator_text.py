"""The driver's text for operators: find the key's state, call the handler, pass its rows on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled.kernel import is_ours
from onetape.engine import keyed_text
from onetape.engine.apart import Apart
from onetape.engine.emit import Emitter, put
from onetape.engine.operator_node import OperatorNode
from onetape.engine.operators import WAKE, Handler
from onetape.records import UNSET

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner


def on_event(planner: _Planner, node: OperatorNode, name: str, event: str) -> None:
    """One event at an input of an operator."""
    spec, label = node.spec, planner.label(node)
    handler: Handler = spec.inputs[name]
    if spec.tables:
        planner.count_call(node)
        _run_handler(planner, node, handler, [tables(planner, node), event])
    elif spec.state is None:
        _run_handler(
            planner, node, handler, ["None", event] if isinstance(spec.source, type) else [event]
        )
    else:
        planner.count_call(node)
        _keyed_arrays(planner, node)
        planner.text.add(f"key = {event}.{spec.key}")
        with _find_slot(planner, node):
            own = f"row({label}_state, {label}_slot)"
            order = [own, event] if isinstance(spec.source, type) else [event, own]
            _run_handler(planner, node, handler, order, key="key", slot=f"{label}_slot")


def on_timer(planner: _Planner, node: OperatorNode) -> None:
    """The timer in `slot` is due at `due`, for `key`."""
    label = planner.label(node)
    _keyed_arrays(planner, node)
    with keyed_text.forget_if_over(planner, node, "slot"):
        planner.text.add(f"{label}_slot = slot", f"row({label}_state, slot).{WAKE} = {UNSET}")
        own = f"row({label}_state, {label}_slot)"
        slot = f"{label}_slot"
        _run_handler(planner, node, node.spec.timer, [own, "due"], key="root_key", slot=slot)
    planner.text.add(f"next_wake = {_earliest(planner)}")


def _find_slot(planner: _Planner, node: OperatorNode) -> AbstractContextManager[None]:
    """Write the slot of `key`: with the initial state, if the key begins."""
    label, initial = planner.label(node), f"x{planner.number[id(node)]}_initial"
    slot = f"{label}_slot"
    if not node.keeping.is_plain:
        clear = [f"copy_row({label}_state, {slot}, {initial}, 0)"]
        return keyed_text.find_slot(planner, node, slot, node.capacity["keys"], clear)
    planner.text.add(
        f"{slot} = slot_of({label}_direct, {label}_index, {label}_keys, "
        f"{label}_state, {initial}, key)"
    )
    return nullcontext()


def tables(planner: _Planner, node: OperatorNode) -> str:
    """The expression for an operator's `self` when its state is tables."""
    label = planner.label(node)
    planner.name(f"{label}_tables", node.spec.tables_type())
    names = []
    for name, table in node.spec.tables.items():
        names.append(planner.array(f"{label}_{name}", partial(table.make, node.capacity)))
    return f"{label}_tables({', '.join(names)})"


def _keyed_arrays(planner: _Planner, node: OperatorNode) -> None:
    spec, label, keys = node.spec, planner.label(node), node.capacity["keys"]
    slots = planner.keyed_arrays(node, keys)
    planner.array(f"{label}_state", lambda: np.zeros(slots(), spec.state))
    initial = f"x{planner.number[id(node)]}_initial"
    planner.array(initial, lambda: initial_block(spec.state, spec.initial))


def initial_block(dtype: Any, values: tuple[Any, ...]) -> Any:
    block = np.zeros(1, dtype)
    for name, value in zip(dtype.names, values, strict=True):
        block[name] = value
    return block


def _run_handler(
    planner: _Planner,
    node: OperatorNode,
    handler: Handler,
    arguments: list[str],
    *,
    key: str = "0",
    slot: str = "",
) -> None:
    spec, label, text = node.spec, planner.label(node), planner.text
    text.add(f"r.node = {planner.number[id(node)]}")
    made: list[tuple[Any, str, str]] = []
    for output in handler.outputs:
        where = f"{planner.number[id(node)]}_{handler.name}__{output.name}"
        block = planner.array(f"x{where}", partial(np.zeros, output.at_most, output.of.dtype))
        used = planner.array(f"u{where}", lambda: np.zeros(1, np.int64))
        made.append((output, block, used))
        if not handler.returns:
            planner.name("Emitter", Emitter)
            text.add(f"{used}[0] = 0")
            arguments.append(f"Emitter({block}, {used})")
    settings = []
    for setting in handler.settings:
        wired = setting.removeprefix("with_")
        if setting != wired and wired in spec.outputs and is_ours(spec.source):
            # Of this package's own operators: it asks whether anyone reads the output.
            settings.append(int(planner.is_wired(node.stream(wired))))
        else:
            settings.append(node.settings[setting])
    planner.sample(node)
    into = f"{made[0][1]}, {made[0][2]}" if handler.returns else ""
    name = f"{label}_{handler.name}"
    call(planner, name, handler.function, arguments, settings, into)
    planner.sample(node, at_end=True)
    if handler is spec.timer:
        with text.block(f"if {UNSET} < row({label}_state, {slot}).{WAKE} <= due"):
            text.add('raise ValueError("on_timer set wake_ns, but not to a later time")')
        # Time is over: else an operator that always sets its next timer would never be done.
        with text.block(f"if {planner.time_is_over()}"):
            text.add(f"row({label}_state, {slot}).{WAKE} = {UNSET}")
    if spec.timer is not None:
        text.add(
            f"wake = rearm({label}_timers, {label}_heap, {slot}, {key}, "
            f"row({label}_state, {slot}).{WAKE})",
            "next_wake = min(next_wake, wake)",
        )
    for output, block, used in made:
        planner.mark_stale(node, output.of, block, f"{used}[0]", output.at_most)
        planner.push_each(node.stream(output.name), block, f"{used}[0]", output.at_most)


def call(
    planner: _Planner,
    name: str,
    function: Any,
    arguments: list[str],
    settings: list[int],
    into: str = "",
) -> None:
    """Call a function of an operator; `into` is where a row goes that it returns."""
    if planner.apart:
        made = Apart(function, len(arguments), tuple(settings), bool(into))
        passed = [*arguments, into] if into else arguments
        planner.text.add(f"{planner.name(name, made)}({', '.join(passed)})")
        return
    made_by = f"{planner.name(name, function)}({', '.join([*arguments, *map(str, settings)])})"
    planner.name("put", put)
    planner.text.add(f"put({made_by}, {into})" if into else made_by)


def _earliest(planner: _Planner) -> str:
    wakes = [
        f"next_wake_of({planner.label(n)}_timers, {planner.label(n)}_heap)" for n in planner.timed
    ]
    return wakes[0] if len(wakes) == 1 else f"min({', '.join(wakes)})"
