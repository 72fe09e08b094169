"""All state of an engine: as arrays for a checkpoint, in canonical order for a digest.

Slots are handed out in order of first appearance and freed memory is not cleared, so raw arrays of
two equal engines may differ; the canonical form leaves out what has no meaning.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from onetape.compiled.index import COUNT
from onetape.compiled.timers import NEVER
from onetape.engine.batches import Batches
from onetape.engine.graph import OperatorNode, Source
from onetape.engine.sessions import Session
from onetape.engine.window import Window
from onetape.records import UNSET, OperatorError


def canonical_state(engine: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """(node, keys, blocks): per node its keys and, entry by entry, what each key holds."""
    arrays = engine.arrays
    for number, node in enumerate(engine.plan.pipeline.nodes):
        label = f"n{number}"
        if isinstance(node, Source):
            # Receive times are left out: a file read again has others, and the same answer.
            source = engine.sources[number : number + 1]
            blocks = [source[name].copy() for name in ("watermark_ns", "events", "ended")]
            yield label, np.array([number]), blocks
            if f"{label}_feed" in arrays:
                yield label, np.array([number]), [arrays[f"{label}_feed"]]
        elif isinstance(node, OperatorNode) and node.spec.tables:
            book = node.spec.tables_type()(*(arrays[f"{label}_{t}"] for t in node.spec.tables))
            for block in node.spec.canonical(book):
                yield label, np.arange(len(block)), [block]
        elif f"{label}_index" in arrays:
            used = int(arrays[f"{label}_index"][COUNT])
            keys = arrays[f"{label}_keys"][:used]
            if isinstance(node, Window):
                yield from _panes(label, node, arrays, keys)
            elif isinstance(node, Session):
                yield from _sessions(label, arrays, keys)
            elif isinstance(node, Batches):
                kept = [arrays[f"{label}_{n}"][: len(keys)] for n in ("rows", "began", "panes")]
                open_ = np.flatnonzero(kept[0])
                yield label, keys[open_], [block[open_] for block in kept]
            else:
                yield label, keys, [arrays[f"{label}_state"][:used]]
            if f"{label}_timers" in arrays:
                timers = arrays[f"{label}_timers"][:used]
                yield label, keys, [np.where(timers["place"] > 0, timers["wake_ns"], NEVER)]


def _panes(label: str, node: Window, arrays: Any, keys: Any) -> Iterator[tuple[str, Any, Any]]:
    """Panes with their number; those that no later window needs are left out."""
    numbers = arrays[f"{label}_numbers"]
    ring = len(numbers) // len(arrays[f"{label}_keys"])
    used = numbers[: len(keys) * ring].reshape(-1, ring)
    timers = arrays[f"{label}_timers"][: len(keys)]
    first = timers["wake_ns"] // node.every_ns - node.panes_count()
    live = (used > first[:, None]) & (timers["place"] > 0)[:, None] & (used > 0)
    slots, cells = np.nonzero(live)
    panes = arrays[f"{label}_panes"][slots * ring + cells]
    yield label, keys[slots] * 1_000_003 + used[slots, cells], [panes]


def _sessions(label: str, arrays: Any, keys: Any) -> Iterator[tuple[str, Any, Any]]:
    """Open sessions by their start: in which cell each lies means nothing."""
    starts, lasts = arrays[f"{label}_starts"], arrays[f"{label}_lasts"]
    cells = len(starts) // len(arrays[f"{label}_keys"])
    open_ = np.flatnonzero(starts[: len(keys) * cells])
    spans = [starts[open_], lasts[open_], arrays[f"{label}_panes"][open_]]
    yield label, keys[open_ // cells] * 1_000_003 + starts[open_], spans


def save(engine: Any) -> dict[str, Any]:
    """Everything that must be restored, by name. Views, not copies.

    Arrays of nodes are named n...; others (x..., u...) hold nothing between two events.
    """
    arrays = {"run": engine.run, "sources": engine.sources, "counts": engine.counts_words}
    arrays |= {"heads": engine.heads}
    for name, array in engine.arrays.items():
        if name[0] == "n":
            arrays[name] = array
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
    expected = save(engine)
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
