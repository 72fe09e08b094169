"""A recorded file through a node, onto a tape: to its end, or on from where a run was cut short."""

import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import ItchFile
from onetape.engine.graph import Pipeline
from onetape.records import PeerError
from onetape.runtimes.edge.feeder import FileFeeder
from onetape.runtimes.edge.node import DRAIN_PAUSE_S
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.into_tape import TapeRun
from onetape.runtimes.run.same import origin_of
from onetape.runtimes.run.tables_first import begin_with, items_first, one_feed

CHUNK_BYTES = 8192


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
        run = TapeRun(
            stack,
            pipeline,
            tape,
            progress=progress,
            out=out,
            framing={feed: file.framing},
            midnight_ns=file.midnight_ns,
            origin=origin_of(file, CHUNK_BYTES),
            resume=resume,
            **saving,
        )
        node = run.node
        if resume:
            run.recover()
        done = int(node.engine.run["data_frames"][0])
        done -= min(begin_with(node, items_first(pipeline), run.take), done)
        run.begin()
        feeder = FileFeeder(node, islice(file, done, None), speed=speed)
        stack.callback(feeder.stop)
        if not node.engine.sources["ended"][0]:
            feeder.start()
        size = file.path.stat().st_size
        while feeder.is_alive():
            run.tell()
            events = run.events  # before their rows are taken
            if not run.take(node.drain()):
                progress.update(feeder.bytes_done, size, events, "events")
                time.sleep(DRAIN_PAUSE_S)
        try:
            feeder.check()
        except PeerError as why:
            raise PeerError(
                f"{why}; what came before is on {tape}, which can be replayed and verified: keep "
                "it, or delete it and run the whole file on a new tape"
            ) from why
        facts = run.end({"skipped_packets": dict(file.skipped)})
    return facts | run.delivered()
