"""A recorded file through a node, onto a tape: to its end, or on from where a run was cut short."""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import ItchFile
from onetape.engine.digest import digests_of
from onetape.engine.graph import Pipeline
from onetape.records import PeerError
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.ending import end_run, follow_swaps
from onetape.runtimes.run.same import origin_of
from onetape.runtimes.run.tables_first import begin_with, items_first, one_feed

CHUNK_BYTES = 8192
SNAPSHOT_S = 1.0


def run_file(
    pipeline: Pipeline,
    file: ItchFile,
    tape: Path,
    *,
    progress: Progress,
    out: Path | None = None,
    speed: float = 0,
    resume: bool = False,
    **saving: Any,
) -> dict[str, Any]:
    """Run a file through a node to its end; returns the facts `--json` prints.

    An interrupted run is resumed from its tape: the frames that are there are run again (for the
    state alone from the newest checkpoint on), and the file goes on with the frame after them.

    saving: how checkpoints are made, see `EdgeNode`.
    """
    feed = one_feed(pipeline).name
    with ExitStack() as stack:
        stack.callback(progress.close)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing={feed: file.framing},
                midnight_ns=file.midnight_ns,
                origin=origin_of(file, CHUNK_BYTES),
                resume=resume,
                **saving,
            )
        digests = digests_of(node.plan)
        delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                symbols=node.engine.feed_state(feed)["symbols"],
                durable=node.durable_offset,
                folder=tape,
            )
        )

        def take(blocks: Iterable[Any]) -> bool:
            taken = False
            for name, rows, origins in blocks:
                digests[name].update(rows, origins)
                delivery.take(name, rows, origins)
                taken = True
            return taken

        follow_swaps(node, digests, delivery)
        for line in node.recover(digests, delivery.take if delivery else None) if resume else []:
            print(f"onetape: {line}", file=sys.stderr)
        done, events_before = (int(node.engine.run[n][0]) for n in ("data_frames", "events"))
        done -= min(begin_with(node, items_first(pipeline), take), done)
        stack.enter_context(node)
        stack.enter_context(Control(node))
        feeder = FileFeeder(node, islice(file, done, None), speed=speed)
        stack.callback(feeder.stop)
        began_s, told_s = time.perf_counter(), 0.0
        if not node.engine.sources["ended"][0]:
            feeder.start()
        size = file.path.stat().st_size
        while feeder.is_alive():
            events = int(node.engine.run["events"][0])
            if time.perf_counter() - told_s > SNAPSHOT_S:
                told_s = time.perf_counter()
                live.write(tape, live.snapshot(node))  # for onetape top
            if not take(node.drain()):
                progress.update(feeder.bytes_done, size, events, "events")
                time.sleep(DRAIN_PAUSE_S)
        try:
            feeder.check()
        except PeerError as why:
            raise PeerError(
                f"{why}; what came before is on {tape}, which can be replayed and verified: keep "
                "it, or delete it and run the whole file on a new tape"
            ) from why
        own = {"messages_before": events_before, "skipped_packets": dict(file.skipped)}
        facts = end_run(node, delivery, digests, take, began_s, own)
    facts["delivered"] = delivery.told()
    return facts
