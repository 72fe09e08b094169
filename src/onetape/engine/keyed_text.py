"""The driver's text for keys: find a key's slot, as the node keeps keys; give it back."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from onetape.compiled.timers import new_timers
from onetape.engine import keyed
from onetape.engine.keeping import DROP_NEW, WHEN_FULL
from onetape.engine.layout import FORGOTTEN, NODE_WORDS

if TYPE_CHECKING:
    from onetape.engine.node import Node
    from onetape.engine.planner import _Planner

STAY_SHARE, STAY_MOST = 64, 1024  # of the capacity may be keys that have nothing open


def find_slot(
    planner: _Planner, node: Node, slot: str, limit: int, clear: list[str]
) -> AbstractContextManager[None]:
    """Write the variable `slot` of `key`; in the block that is returned it is one.

    clear  what is done to a slot that another key may have had
    """
    text, label, keeping = planner.text, planner.label(node), node.keeping
    if keeping.is_plain:
        text.add(f"{slot} = slot_only({label}_direct, {label}_index, {label}_keys, key)")
        return nullcontext()
    for name in ("place_of", "NEW_KEY", "clear_cells"):
        planner.name(name, getattr(keyed, name))
    text.add(
        f"{slot} = place_of({_arrays(planner, node)}, counts, {_words(planner, node)}, key, "
        f"root_time, {keeping.ttl_ns}, {limit}, {WHEN_FULL.index(keeping.when_full)}, "
        f"{int(node.is_timed())})"
    )
    with text.block(f"if {slot} >= NEW_KEY"):
        text.add(f"{slot} -= NEW_KEY", *clear)
    return text.block(f"if {slot} >= 0") if keeping.when_full == DROP_NEW else nullcontext()


def give_back(planner: _Planner, node: Node, slot: str) -> None:
    """Nothing is to be known of the key in `slot` any more; its timer is not set.

    A few keys stay, where nothing else is said: those that come and go at each window's end need
    not be found and forgotten each time.
    """
    label = planner.label(node)
    stay = min(node.limits()["keys"] // STAY_SHARE, STAY_MOST) if node.keeping.is_plain else 0
    with planner.text.block(f"if {label}_index[COUNT] > {stay}") if stay else nullcontext():
        _give_back(planner, node, slot)


def _give_back(planner: _Planner, node: Node, slot: str) -> None:
    label = planner.label(node)
    planner.name("give_back", keyed.give_back)
    if node.keeping.is_ordered:
        planner.name("leave", keyed.leave)
        planner.text.add(f"leave({label}_links, {slot})")
    planner.text.add(f"give_back({label}_direct, {label}_index, {label}_keys, {slot})")


def forget_if_over(planner: _Planner, node: Node, slot: str) -> AbstractContextManager[None]:
    """Write that a timer of a key whose time is over makes it forgotten; else the block follows."""
    if not node.keeping.ttl_ns:
        return nullcontext()
    text, label = planner.text, planner.label(node)
    for name in ("begin", "is_over", "forget"):
        planner.name(name, getattr(keyed, name))
    text.add(f"begin({label}_links, root_time)")
    with text.block(f"if is_over({label}_links, {slot}, root_time, {node.keeping.ttl_ns})"):
        text.add(
            f"forget({_arrays(planner, node)}, {slot}, 1, 1)",
            f"counts[{_words(planner, node) + FORGOTTEN}] += 1",
        )
    return text.block("else")


def _words(planner: _Planner, node: Node) -> int:
    return planner.number[id(node)] * NODE_WORDS


def _arrays(planner: _Planner, node: Node) -> str:
    """Its arrays as the kernels take them; one that it does not need stands for none."""
    label = planner.label(node)
    names = [f"{label}_{name}" for name in ("direct", "index", "keys", "links", "timers", "heap")]
    if not node.keeping.is_ordered:
        names[3] = planner.array("x_links", lambda: keyed.new_links(0))
    if not node.is_timed():
        names[4] = planner.array("x_timers", lambda: new_timers(1)[0])
        names[5] = planner.array("x_heap", lambda: new_timers(1)[1])
    return ", ".join(names)
