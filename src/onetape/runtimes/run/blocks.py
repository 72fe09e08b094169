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

from onetape.codecs.block import MANIFEST, json_of, read_header
from onetape.connect.sinks.taking import OpenableSink
from onetape.engine.digest import digests_of
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.block_feed import BlockFeed
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.inputs import symbols_of, ticks_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.ending import end_run, follow_swaps
from onetape.tape.layout import read_facts

SNAPSHOT_S = 1.0
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
    if resume and (was := read_facts(str(tape)).manifest.get("origin")) != blocks.origin:
        raise OperatorError(
            f"{tape} was fed from {was}, this run from {blocks.origin}; go on with the same "
            "stream, or give a new folder"
        )
    with ExitStack() as stack:
        stack.callback(progress.close)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing=manifest["framing"],
                midnight_ns=manifest["midnight_ns"],
                origin=blocks.origin,
                resume=resume,
                **saving,
            )
        delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                also=also,
                symbols=symbols_of(node.engine),
                ticks=ticks_of(pipeline),
                durable=node.durable_offset,
                folder=tape,
            )
        )
        digests = digests_of(node.plan)

        def take(rows: Iterable[Any]) -> None:
            for name, made, origins in rows:
                digests[name].update(made, origins)
                delivery.take(name, made, origins)

        follow_swaps(node, digests, delivery)
        for line in node.recover(digests, delivery.take if delivery else None) if resume else []:
            print(f"onetape: {line}", file=sys.stderr)
        feed = BlockFeed(node)
        blocks.begin(feed.place.position, feed.place.next_ordinal)
        stack.enter_context(node)
        stack.enter_context(Control(node))
        before, began_s = int(node.engine.run["events"][0]), time.perf_counter()
        own: dict[str, Any] = {"messages_before": before}
        try:
            _feed(node, feed, blocks, take, _Teller(blocks, delivery, progress), seconds)
        except KeyboardInterrupt:
            own["interrupted"] = True
        facts = end_run(node, delivery, digests, take, began_s, own)
        if position := feed.settle():
            blocks.keep(position)
    facts |= {"blocks": feed.place.next_ordinal - 1, "is_over": feed.is_over}
    facts["delivered"] = delivery.told()
    return facts


def _manifest(pipeline: Pipeline, blocks: Blocks) -> dict[str, Any]:
    first = blocks.first()
    header, manifest = read_header(first), json_of(first)
    names = [source.name for source in pipeline.sources]
    if header.kind != MANIFEST or manifest.get("sources") != names:
        raise OperatorError(
            f"{blocks.name} is of the sources {manifest.get('sources')}, and the pipeline reads "
            f"{names}; give it the stream that was made for it"
        )
    if header.shards != 1:
        raise OperatorError(
            f"{blocks.name} has {header.shards} shards; a node runs a stream of one: publish it "
            "with --shards 1, or run it on an engine (--on)"
        )
    return manifest


def _feed(
    node: EdgeNode,
    feed: BlockFeed,
    blocks: Blocks,
    take: Callable[[Iterable[Any]], None],
    teller: "_Teller",
    seconds: float | None,
) -> None:
    end_s = time.perf_counter() + seconds if seconds is not None else float("inf")
    while not feed.is_over and time.perf_counter() < end_s:
        for position, block in blocks.read(WAIT_S):
            for source, kind, ts_recv_ns, payload in feed.frames(block):
                while not node.push(payload, source=source, kind=kind, ts_recv_ns=ts_recv_ns):
                    take(node.drain())
                    time.sleep(DRAIN_PAUSE_S)
            feed.took(position)
            take(node.drain())
        take(node.drain())
        if position := feed.settle():
            blocks.keep(position)
        teller.tell(node)


class _Teller:
    """What is said while it runs, once a second: for `onetape top`, the bar, and what is wrong."""

    def __init__(self, blocks: Blocks, delivery: Delivery, progress: Progress) -> None:
        self._blocks, self._delivery, self._progress = blocks, delivery, progress
        self._told_s, self._said = 0.0, list[str]()

    def tell(self, node: EdgeNode) -> None:
        if time.perf_counter() - self._told_s < SNAPSHOT_S:
            return
        self._told_s = time.perf_counter()
        live.write(node.folder, live.snapshot(node))
        events = int(node.engine.run["events"][0])
        self._progress.update(events, 0, events, "events")
        said = [*filter(None, [self._blocks.trouble()]), *self._delivery.tend()]
        for line in said:
            if line not in self._said:
                print(f"onetape: {line}", file=sys.stderr)
        self._said = said
