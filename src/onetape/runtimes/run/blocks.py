"""`onetape run PIPELINE --tape DIR` fed with the blocks of one shard, wherever they are kept.

The node is that of every run at the edge: the frames go on its tape, and what leaves it is durable
there first. It ends when all sources of the stream have, after some seconds, or by Ctrl-C.
"""

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from onetape.codecs.block import MANIFEST, read_header, told_of
from onetape.connect.sinks.taking import OpenableSink
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.edge.block_feed import BlockFeed
from onetape.runtimes.edge.node import DRAIN_PAUSE_S
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.into_tape import TapeRun, check_origin
from onetape.runtimes.worker import check_stream

WAIT_S = 0.002  # for blocks, while none is there


class Blocks(Protocol):
    """The blocks of one shard, in order; a position is greater than those before it, and than 0.

    name     for messages: "NATS stream ORDERS, shard 0"
    origin   what the manifest of the tape says of it: the same origin, the same blocks
    """

    name: str
    origin: dict[str, Any]

    def first(self) -> bytes:
        """Block 0, the manifest."""

    def begin(self, after: int, ordinal: int) -> None:
        """Read on behind this position, with the block of this ordinal; 0: from the first on."""

    def read(self, wait_s: float) -> Iterable[tuple[int, bytes]]:
        """What has come, as (position, block); waits so long for some."""

    def keep(self, position: int) -> None:
        """All up to there is durable here."""

    def trouble(self) -> str:
        """What is wrong just now; else ""."""


def run_blocks(
    pipeline: Pipeline,
    blocks: Blocks,
    tape: Path,
    *,
    progress: Progress,
    out: Path | None = None,
    also: Callable[[str], list[OpenableSink]] = lambda name: [],
    resume: bool = False,
    seconds: float | None = None,
    **saving: Any,
) -> dict[str, Any]:
    """Run the blocks through a node to their end; returns the facts `--json` prints.

    also     sinks of an output, beside those of the pipeline
    seconds  end after so long; None: with the sources
    saving   how checkpoints are made, see `EdgeNode`

    OperatorError: the stream is of another pipeline, or the tape of another stream. BlockError: a
    block is damaged or missing; what came before is on the tape.
    """
    manifest = _manifest(pipeline, blocks)
    if resume:
        check_origin(tape, blocks.origin, "stream")
    with ExitStack() as stack:
        run = TapeRun(
            stack,
            pipeline,
            tape,
            progress=progress,
            out=out,
            also=also,
            framing=manifest["framing"],
            midnight_ns=manifest["midnight_ns"],
            origin=blocks.origin,
            resume=resume,
            **saving,
        )
        if resume:
            run.recover()
        feed = BlockFeed(run.node)
        blocks.begin(feed.place.position, feed.place.next_ordinal)
        run.begin()
        own: dict[str, Any] = {}
        try:
            _feed(run, feed, blocks, _Teller(blocks, run, progress), seconds)
        except KeyboardInterrupt:
            own["interrupted"] = True
        facts = run.end(own)
        if position := feed.settle():
            blocks.keep(position)
    facts |= {"blocks": feed.place.next_ordinal - 1, "is_over": feed.is_over}
    return facts | run.delivered()


def _manifest(pipeline: Pipeline, blocks: Blocks) -> dict[str, Any]:
    first = blocks.first()
    header = read_header(first)
    if header.kind != MANIFEST:
        raise OperatorError(f"{blocks.name} begins with {header.place}, not with a manifest")
    manifest = told_of(first)
    check_stream(pipeline, manifest, blocks.name)
    if header.shards != 1:
        raise OperatorError(
            f"{blocks.name} has {header.shards} shards; a node runs a stream of one: publish it "
            "with --shards 1, or run it on an engine (--on)"
        )
    return manifest


def _feed(
    run: TapeRun, feed: BlockFeed, blocks: Blocks, teller: "_Teller", seconds: float | None
) -> None:
    node = run.node
    end_s = time.perf_counter() + seconds if seconds is not None else float("inf")
    while not feed.is_over and time.perf_counter() < end_s:
        for position, block in blocks.read(WAIT_S):
            for source, kind, ts_recv_ns, payload in feed.frames(block):
                while not node.push(payload, source=source, kind=kind, ts_recv_ns=ts_recv_ns):
                    run.take(node.drain())
                    time.sleep(DRAIN_PAUSE_S)
            feed.took(position)
            run.take(node.drain())
        run.take(node.drain())
        if position := feed.settle():
            blocks.keep(position)
        teller.tell()


class _Teller:
    """What is said while it runs, once a second: for `onetape top`, the bar, and what is wrong."""

    def __init__(self, blocks: Blocks, run: TapeRun, progress: Progress) -> None:
        self._blocks, self._run, self._progress = blocks, run, progress
        self._said = list[str]()

    def tell(self) -> None:
        if not self._run.tell():
            return
        self._progress.update(self._run.events, 0, self._run.events, "events")
        said = [*filter(None, [self._blocks.trouble()]), *self._run.delivery.tend()]
        for line in said:
            if line not in self._said:
                print(f"onetape: {line}", file=sys.stderr)
        self._said = said
