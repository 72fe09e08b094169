"""All state of an engine: as arrays for a checkpoint, in canonical order for a digest.

Slots are handed out in order of first appearance and freed memory is not cleared, so raw arrays of
two equal engines may differ; the canonical form leaves out what has no meaning.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.compiled.recency import ranks
from onetape.records import UNSET, OperatorError

_AWAY = ("_away_keys", "_away_state")


def canonical_state(engine: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """(node, keys, blocks): per node its keys and, entry by entry, what each key holds.

    With a + before the node: more entries of the same kind as those before.
    """
    arrays = engine.arrays
    for number, node in enumerate(engine.plan.pipeline.nodes):
        label = f"n{number}"
        for keys, blocks in node.canonical(engine, label):
            yield label, keys, blocks
        spill = engine.spills.get(number)
        for keys, states in spill.chunks() if spill else ():
            yield f"+{label}", keys, [states]
        if f"{label}_timers" in arrays and f"{label}_keys" in arrays:
            held = held_slots(arrays[f"{label}_index"])
            timers = arrays[f"{label}_timers"]
            held = held[timers["place"][held] > 0]  # keys that hold nothing may be there or not
            yield label, arrays[f"{label}_keys"][held], [timers["wake_ns"][held]]
        if f"{label}_links" in arrays:
            held = held_slots(arrays[f"{label}_index"])
            links, place = (
                arrays[f"{label}_links"],
                np.zeros(len(arrays[f"{label}_keys"]), np.int64),
            )
            ranks(links, place)
            order = [links["seen_ns"][held + 1], place[held]]
            yield label, arrays[f"{label}_keys"][held], order
            yield label, np.array([number]), [links["seen_ns"][:1].copy()]


def save(engine: Any) -> dict[str, Any]:
    """Everything that must be restored, by name. Views, not copies.

    Arrays of nodes are named n...; others (x..., u...) hold nothing between two events.
    """
    arrays = {"run": engine.run, "sources": engine.sources, "counts": engine.counts_words}
    arrays |= {"heads": engine.heads}
    for name, array in engine.arrays.items():
        if name[0] == "n":
            arrays[name] = array
    for number, spill in engine.spills.items():  # copies, these: they come from the store
        for part, array in zip(_AWAY, spill.saved(), strict=True):
            arrays[f"n{number}{part}"] = array
    return arrays


def newest_event_ns(engine: Any) -> int | None:
    """The newest time that any source has reached by its events or ticks; None: not known.

    A source that has ended does not tell any more.
    """
    lags = np.array([source.lateness_ns for source in engine.plan.pipeline.sources])
    known = (engine.sources["ended"] == 0) & (engine.sources["watermark_ns"] != UNSET)
    times = (engine.sources["watermark_ns"] + lags)[known]
    return int(times.max()) if len(times) else None


def restore(
    engine: Any, arrays: dict[str, Any], copy: Callable[[Any, Any], None] = np.copyto
) -> None:
    """Put saved arrays back; OperatorError if they are of another pipeline or another layout.

    copy  (target, given): how; a shell knows a way that leaves untouched memory untouched
    """
    away = {n: [arrays.get(f"n{n}{part}") for part in _AWAY] for n in engine.spills}
    arrays = {name: array for name, array in arrays.items() if not name.endswith(_AWAY)}
    expected = {n: array for n, array in save(engine).items() if not n.endswith(_AWAY)}
    if set(arrays) != set(expected):
        odd = sorted(set(arrays) ^ set(expected))
        raise OperatorError(f"the checkpoint is of another pipeline: it differs in {odd[:4]}")
    for name, array in expected.items():
        given = arrays[name]
        if given.dtype != array.dtype or given.shape != array.shape:
            raise OperatorError(
                f"the checkpoint's {name} is {given.dtype}{given.shape}; this pipeline has "
                f"{array.dtype}{array.shape}"
            )
    for name, array in expected.items():
        copy(array, arrays[name])
    engine.tails[...] = engine.heads
    for number, (keys, states) in away.items():
        engine.spills[number].put_back(keys, states)
