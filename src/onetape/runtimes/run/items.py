"""A pipeline at the edge, fed by this process with frames that can be made again.

What is on the tape is what a replay reads. A run is resumed by making the frames again: those the
tape has are passed over.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onetape.connect.frames.merge import Item
from onetape.engine.digest import digests_of
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.inputs import symbols_of, ticks_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.ending import end_run, follow_swaps
from onetape.runtimes.run.tables_first import not_on_tape
from onetape.tape.layout import read_facts

SNAPSHOT_S = 1.0
Pace = Callable[[Iterable[Item]], Iterator[Item | None]]


@dataclass
class Brought:
    """What is run, and what is known of it.

    items    frames; they begin again at each iteration
    origin   what the manifest says of them: the same origin, the same frames
    names    symbols of instruments: see `onetape.connect.arrow.symbol_at`; `learns`: they are
             known when the items have been read
    rows     how many there are; 0: not known
    pace     gives the items, and None while the next one is not due. Ctrl-C then is an end
    facts    what is to be said besides, at the end
    framing, midnight_ns   of its feeds
    """

    items: Iterable[Item]
    origin: dict[str, Any]
    names: Mapping[int, str] | None
    learns: bool = False
    rows: int = 0
    pace: Pace | None = None
    facts: Callable[[], dict[str, Any]] = field(default=dict)
    framing: dict[str, str] = field(default_factory=dict)
    midnight_ns: int = 0


def run_items(
    pipeline: Pipeline,
    tape: Path,
    brought: Brought,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: bool = False,
    sinks: dict[str, int] | None = None,
    **saving: Any,
) -> dict[str, Any]:
    """Run the frames through a node to their end; returns the facts `--json` prints.

    saving: how checkpoints are made, see `EdgeNode`.
    """
    if resume and (was := read_facts(str(tape)).manifest.get("origin")) != brought.origin:
        raise OperatorError(
            f"{tape} was fed from {was}, this run from {brought.origin}; go on with the same "
            "input, or give a new folder"
        )
    with ExitStack() as stack:
        stack.callback(progress.close)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing=brought.framing,
                midnight_ns=brought.midnight_ns,
                origin=brought.origin,
                resume=resume,
                **saving,
                sinks=sinks,
            )
        delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                symbols=symbols_of(node.engine) if brought.names is None else brought.names,
                ticks=ticks_of(pipeline),
                durable=lambda: node.tape.durable_offset,
                folder=tape,
            )
        )
        digests = digests_of(node.plan)

        def take(blocks: Iterable[Any]) -> None:
            for name, rows, origins in blocks:
                digests[name].update(rows, origins)
                delivery.take(name, rows, origins)

        follow_swaps(node, digests, delivery)
        if resume:
            _recover(node, brought, digests, delivery)
        items: Iterator[Item | None] = not_on_tape(node, brought.items)
        if brought.pace is not None:
            items = brought.pace(items)  # type: ignore[arg-type]
        stack.enter_context(node)
        stack.enter_context(Control(node))
        began_s, events, told_s = time.perf_counter(), node.engine.run["events"], 0.0
        try:
            for item in items:
                while item is None or not node.push(item[2], source=item[0], kind=item[1]):
                    take(node.drain())
                    progress.update(int(events[0]), brought.rows, int(events[0]), "events")
                    if time.perf_counter() - told_s > SNAPSHOT_S:
                        told_s = time.perf_counter()
                        live.write(tape, live.snapshot(node))
                    time.sleep(DRAIN_PAUSE_S)
                    if item is None:
                        break
        except KeyboardInterrupt:
            if brought.pace is None:
                raise
        facts = end_run(node, delivery, digests, take, began_s, brought.facts())
    facts["delivered"] = delivery.told()
    return facts


def _recover(node: EdgeNode, brought: Brought, digests: dict[str, Any], delivery: Delivery) -> None:
    """Bring the node to the end of its tape."""
    if delivery and brought.learns:
        for _ in brought.items:  # the symbols of the rows that are made again
            pass
    for line in node.recover(digests, delivery.take if delivery else None):
        print(f"onetape: {line}", file=sys.stderr)
