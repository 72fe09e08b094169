"""A pipeline at the edge, fed by this process with frames that can be made again.

What is on the tape is what a replay reads. A run is resumed by making the frames again: those the
tape has are passed over.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onetape.connect.frames.merge import Item
from onetape.engine.graph import Pipeline
from onetape.runtimes.edge.node import DRAIN_PAUSE_S
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.into_tape import TapeRun, check_origin
from onetape.runtimes.run.tables_first import not_on_tape

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
    if resume:
        check_origin(tape, brought.origin, "input")
    with ExitStack() as stack:
        run = TapeRun(
            stack,
            pipeline,
            tape,
            progress=progress,
            out=out,
            symbols=brought.names,
            framing=brought.framing,
            midnight_ns=brought.midnight_ns,
            origin=brought.origin,
            resume=resume,
            sinks=sinks,
            **saving,
        )
        node = run.node
        if resume:
            if run.delivery and brought.learns:
                for _ in brought.items:  # the symbols of the rows that are made again
                    pass
            run.recover()
        items: Iterator[Item | None] = not_on_tape(node, brought.items)
        if brought.pace is not None:
            items = brought.pace(items)  # type: ignore[arg-type]
        run.begin()
        try:
            for item in items:
                while item is None or not node.push(item[2], source=item[0], kind=item[1]):
                    run.take(node.drain())
                    progress.update(run.events, brought.rows, run.events, "events")
                    run.tell()
                    time.sleep(DRAIN_PAUSE_S)
                    if item is None:
                        break
        except KeyboardInterrupt:
            if brought.pace is None:
                raise
        facts = run.end(brought.facts())
    return facts | run.delivered()
