"""The driver's text for state that may be put away: look for an event's keys before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.engine import layout, spill
from onetape.engine.sources import Source
from onetape.records import DeclarationError

if TYPE_CHECKING:
    from onetape.engine.operator_node import OperatorNode
    from onetape.engine.planner import _Planner
    from onetape.engine.stream import Stream


def fetch_first(planner: _Planner, source: Source, n: int) -> None:
    """Before an event of the source: return if the state of its key may have to be brought."""
    node: Any
    for node in planner.pipeline.nodes:
        if not node.keeping.memory_bytes or source not in _sources(node):
            continue
        label, key = planner.label(node), node.spec.key
        arrays(planner, node)
        for name in ("lacks", "WANTED"):
            planner.name(name, getattr(spill, name))
        planner.name("FETCH", layout.FETCH)
        event = f"row(x{n}_events, 0)" if source.feed else f"row_at(x{n}_events, buffer, event_at)"
        planner.text.add(f"key = {event}.{key}")
        names = ", ".join(f"{label}_{name}" for name in ("direct", "index", "filter", "spill"))
        with planner.text.block(f"if lacks({names}, key)"):
            planner.text.add(
                f"{label}_spill[WANTED] = key",
                f"r.node = {planner.number[id(node)]}",
                "status = FETCH",
                "break",
            )


def arrays(planner: _Planner, node: OperatorNode) -> None:
    """Reserve what a node needs to put keys away."""
    label, keys = planner.label(node), spill.keys_at_hand(node)
    slots = planner.keyed_arrays(node, keys)
    planner.array(f"{label}_state", lambda: np.zeros(slots(), node.spec.state))
    planner.array(f"{label}_seen", lambda: np.zeros(slots(), np.int64))
    words = spill.filter_words(node.capacity["keys"])
    planner.array(f"{label}_filter", lambda: np.zeros(words, np.int64))
    planner.array(f"{label}_spill", lambda: np.zeros(spill.WORDS, np.int64))


def headroom(planner: _Planner, node: OperatorNode) -> str:
    """How many new keys there is room for, at hand and in all."""
    label = planner.label(node)
    planner.name("SPILLED", spill.SPILLED)
    most = planner.calls_most.get(planner.number[id(node)], 1)
    known = node.capacity["keys"] + most
    return (
        f"min({label}_index[LIMIT] - {label}_index[COUNT], "
        f"{known} - {label}_index[COUNT] - {label}_spill[SPILLED])"
    )


def check(node: OperatorNode) -> None:
    """DeclarationError: its state cannot be put away."""
    list(_sources(node))
    keeping = node.keeping
    if keeping.ttl_ns or keeping.when_full != "halt":
        raise DeclarationError(
            f"{node.name}: memory= goes with keys that are kept for good; with ttl or when_full "
            "they are few enough: give it the memory they need"
        )
    if not spill.keys_at_hand(node):
        raise DeclarationError(
            f"{node.name}: memory was {keeping.memory_bytes:,} bytes; expected "
            f"{spill.bytes_for(node, spill.LEAST_KEYS):,} or more: for the first keys, and "
            f"for a filter of all {node.capacity['keys']:,} that it may know"
        )


def _sources(node: Any) -> Iterator[Source]:
    """The sources whose events have the node's key in them."""
    for _, stream in node.inputs:
        yield from _of_stream(node, stream)


def _of_stream(node: Any, stream: Stream) -> Iterator[Source]:
    maker, key = stream.node, node.spec.key
    if isinstance(maker, Source) and stream.output == "events":
        yield maker
    elif maker.passes(key):
        for _, before in maker.inputs:
            yield from _of_stream(node, before)
    else:
        raise DeclarationError(
            f"{node.name}: memory= needs the key before anything has happened to the event, and "
            f"{stream!r} makes rows of its own; take a stream of a source, filtered or with more "
            "columns"
        )
