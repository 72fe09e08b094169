"""Tables beside a feed: their frames and their ends come first, whole, then the feed begins.

So a table of reference data (`ot.table(ot.read(...))`) is known to the first message, and is on the
tape before it: a replay needs no file.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.compiled.atomics import poke
from onetape.compiled.frame import DATA, frame_bytes
from onetape.connect.frames.merge import Item, Merged
from onetape.engine.graph import Pipeline, Source
from onetape.records import OperatorError
from onetape.runtimes.edge import words
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.tape.ring import RING_FULL, append


def one_feed(pipeline: Pipeline) -> Source:
    """The ITCH source of a pipeline all other sources of which came with tables; it is source 0."""
    feeds, beside = _parted(pipeline)
    if [s.feed for s in feeds] != ["itch"] or any(source.table is None for source in beside):
        names = ", ".join(source.name for source in pipeline.sources)
        raise OperatorError(
            f"the pipeline has the sources {names}; an ITCH feed runs a pipeline of one ITCH "
            "source, and of tables beside it (ot.read)"
        )
    return feeds[0]


def items_first(pipeline: Pipeline) -> list[Item]:
    """The frames of the tables beside feeds, in order of event time, and their ends."""
    feeds, beside = _parted(pipeline)
    merged = Merged([source.table for source in beside])
    return [(len(feeds) + number, kind, payload) for number, kind, payload in merged]


@dataclass(frozen=True)
class TablesFirst:
    """The frames of the tables beside feeds, then those of the feeds; begins again each time."""

    pipeline: Pipeline
    feeds: Iterable[Item]

    def __iter__(self) -> Iterator[Item]:
        yield from items_first(self.pipeline)
        yield from self.feeds


def _parted(pipeline: Pipeline) -> tuple[list[Source], list[Source]]:
    """Its feeds, which come first, and its other sources."""
    feeds = [source for source in pipeline.sources if source.feed]
    beside = pipeline.sources[len(feeds) :]
    for source in beside if feeds else ():
        table = source.table
        if table is not None and table.symbol_fields and table.rules.symbols is None:
            raise OperatorError(
                f"source {source.name!r} names instruments by symbol, and beside a feed their ids "
                "are the feed's own; say which id each has: ot.read(..., symbols={'AAPL': 13})"
            )
    return feeds, beside


def not_on_tape(node: EdgeNode, items: Iterable[Item]) -> Iterator[Item]:
    """Frames are cut alike in each reading, so those on the tape are the first."""
    done, ended = int(node.engine.run["data_frames"][0]), node.engine.sources["ended"].tolist()

    def is_new(item: Item) -> bool:
        nonlocal done
        if item[1] != DATA:
            return not ended[item[0]]
        done -= 1
        return done < 0

    return filter(is_new, items)


def begin_with(node: EdgeNode, items: list[Item], take: Callable[[Iterable[Any]], Any]) -> int:
    """Put frames on the tape, less those it has, and run them, before the node is entered.

    take  is given the rows they make. Returns how many frames of data there are, old and new.
    """
    ring, control = node.tape.ring, node.tape.control
    for source, kind, payload in not_on_tape(node, items):
        data = np.frombuffer(bytes(payload) or b"\0", np.uint8).copy()
        arguments = (source, kind, time.time_ns(), data, 0, len(payload))
        while (position := append(ring, control, *arguments)) == RING_FULL:
            time.sleep(DRAIN_PAUSE_S)
        if position < 0:
            node.tape.sync()  # raises, with the disk's own error
            raise OperatorError("the tape takes no frames: see onetape doctor")
        begin = int(position) & (len(ring) - 1)
        take(node.engine.feed(ring, begin, begin + frame_bytes(len(payload))))
        poke(node.words, words.DONE_OFFSET, node.next_offset())
    return sum(kind == DATA for _, kind, _ in items)
