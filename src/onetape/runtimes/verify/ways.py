"""The ways of running one recorded input that `onetape verify --runtimes` compares.

Each gives a `Ran`: its digests, and its rows once more for when they differ.
"""

import os
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes import batch, course
from onetape.runtimes.answer import Answer
from onetape.runtimes.inputs import Inputs, has_several_feeds, has_tables, inputs_of, inputs_of_tape
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.feeds import run_feeds
from onetape.runtimes.run.file import CHUNK_BYTES, run_file
from onetape.runtimes.run.tables import run_tables
from onetape.runtimes.spark.made import Rows, made_in
from onetape.runtimes.spark.run import BLOCKS, run_streams
from onetape.runtimes.spark.streams import Streams, written
from onetape.runtimes.spark.tables import ROW_GROUP
from onetape.runtimes.verify import command as verify
from onetape.runtimes.worker import Worker
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

QUEUED_BLOCKS = 64


@dataclass
class Ran:
    """What one way came to.

    state      {shard: digest}; {0: digest} of the whole
    rows       all of its rows once more, in the order they were made per instrument
    """

    way: str
    digests: dict[str, str]
    state: dict[int, str]
    events: int
    elapsed_s: float
    rows: Callable[[], Iterator[Rows]]


@dataclass
class Recorded:
    """One input: a tape, or the files or tables that a pipeline's sources are.

    folder  for what is not kept
    """

    pipeline: Pipeline
    tape: Path | None
    named: Any
    day: Any
    shards: int
    folder: Path
    progress: Progress
    _streams: Streams | None = None

    def inputs(self) -> Inputs:
        if self.tape is None:
            return inputs_of(self.pipeline, self.named, self.day)
        return inputs_of_tape(self.pipeline, self.tape)

    def streams(self) -> Streams:
        """As files of blocks, made once for all engines."""
        if self._streams is None:
            self._streams = written(
                self.pipeline, self.inputs(), self.folder, self.shards, self.progress
            )
        return self._streams


def edge(recorded: Recorded) -> Ran:
    """Through the hot loop, onto a new tape: at the edge, as it was or will be live."""
    pipeline, began_s = recorded.pipeline, time.perf_counter()
    if recorded.tape is not None:
        tape = recorded.tape
        answer = verify.answer_of("edge", _edge_rows(pipeline, tape), pipeline)
        return _ran(answer, began_s, partial(_edge_rows, pipeline, tape))
    tape = recorded.folder / "tape"
    options: dict[str, Any] = {"checkpoint_every_s": 0, "progress": recorded.progress}
    if has_several_feeds(pipeline):
        facts = run_feeds(pipeline, tape, recorded.named, out=None, resume=False, **options)
    elif has_tables(pipeline):
        facts = run_tables(pipeline, tape, **options)
    else:
        from onetape.connect.itch_file import open_itch

        path = recorded.named or pipeline.sources[0].url
        file = open_itch(path, trading_date=recorded.day, chunk_bytes=CHUNK_BYTES)
        facts = run_file(pipeline, file, tape, **options)
    return Ran(
        "edge",
        facts["digests"],
        {0: facts["state_digest"]},
        facts["messages"],
        facts["elapsed_s"],
        partial(_edge_rows, pipeline, tape),
    )


def whole(recorded: Recorded) -> Ran:
    """The batch runtime, in one piece."""
    pipeline, began_s = recorded.pipeline, time.perf_counter()
    if recorded.tape is None:
        inputs = recorded.inputs()
        engine = batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns)
        result = batch.run(engine, inputs.runs())
        digests, state, events = result.digests, result.state_digest, result.counts.events
        rows = partial(_batch_rows, pipeline, recorded)
        return Ran("batch", digests, {0: state}, events, result.elapsed_s, rows)
    rows = partial(_tape_rows, pipeline, recorded.tape)
    answer = verify.answer_of("batch", rows(), pipeline)
    if answer.swaps:
        raise OperatorError(
            f"{recorded.tape} was run by {answer.swaps + 1} versions, one after another, and "
            "--runtimes compares one; give what it was made of (--file FILE)"
        )
    return _ran(answer, began_s, rows)


def in_shards(recorded: Recorded) -> Ran:
    """The batch runtime, a worker a shard, on all cores: what an engine does, without one."""
    streams, began_s = recorded.streams(), time.perf_counter()
    answer = Answer(recorded.pipeline)

    def again() -> Iterator[Rows]:
        return _shard_rows(recorded.pipeline, streams, Answer(recorded.pipeline))

    for _ in _shard_rows(recorded.pipeline, streams, answer):
        pass
    elapsed_s = time.perf_counter() - began_s
    way = f"batch, {streams.manifest['shards']} shards"
    return Ran(way, answer.digests, answer.state_digests, answer.events, elapsed_s, again)


def on_spark(engine: str, recorded: Recorded) -> Ran:
    """Blocks through Sail or Spark."""
    streams, folder = recorded.streams(), recorded.folder / engine
    folder.mkdir()
    times = run_streams(
        recorded.pipeline, streams, folder, engine=engine, progress=recorded.progress
    )

    def rows() -> Iterator[Rows]:
        return made_in(folder / BLOCKS, recorded.pipeline).rows(folder / BLOCKS)

    made = made_in(folder / BLOCKS, recorded.pipeline)
    for _ in made.rows(folder / BLOCKS):
        pass
    answer = made.answer
    return Ran(engine, answer.digests, answer.state_digests, answer.events, times["job_s"], rows)


def on_flink(recorded: Recorded) -> Ran:
    """Blocks through a Flink cluster of this machine, up to a slot a processor."""
    from onetape.runtimes.flink.recorded import run_recorded

    def run(take: Callable[..., None]) -> Any:
        return run_recorded(
            recorded.pipeline,
            recorded.inputs(),
            parallelism=min(recorded.shards, os.cpu_count() or 1),
            shards=recorded.shards,
            take=take,
        )

    def rows() -> Iterator[Rows]:
        kept: list[Rows] = []
        run(lambda name, taken, origins: kept.append((name, taken, origins)))
        yield from kept

    answer, facts = run(lambda *_: None)
    return Ran(
        "flink",
        answer.digests,
        answer.state_digests,
        answer.events,
        facts["elapsed_s"],
        rows,
    )


def _ran(answer: Any, began_s: float, rows: Callable[[], Iterator[Any]]) -> Ran:
    state = {0: answer.state_digest}
    elapsed_s = time.perf_counter() - began_s
    return Ran(answer.way, answer.digests, state, answer.events, elapsed_s, rows)


def _edge_rows(pipeline: Pipeline, tape: Path) -> Iterator[Any]:
    return verify.edge_steps(pipeline, read_facts(str(tape)).manifest, tape)


def _tape_rows(pipeline: Pipeline, tape: Path) -> Iterator[Any]:
    manifest = read_facts(str(tape)).manifest
    return verify.rows_of(course.begin(pipeline, tape, manifest), read_segments(tape))


def _batch_rows(pipeline: Pipeline, recorded: Recorded) -> Iterator[Rows]:
    inputs = recorded.inputs()
    engine: Engine = batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns)
    return batch.rows_of(engine, inputs.runs())


def _shard_rows(pipeline: Pipeline, streams: Streams, answer: Answer) -> Iterator[Rows]:
    """All rows of all shards, each run in a thread of its own."""
    import pyarrow.parquet as pq

    made: queue.Queue[Any] = queue.Queue(QUEUED_BLOCKS)
    first = Worker(pipeline)
    first.warm(streams.manifest["framing"], streams.manifest["shards"], streams.manifest["by"])

    def run(worker: Worker, paths: list[str]) -> None:
        try:
            for path in paths:
                with pq.ParquetFile(path) as file:
                    for few in file.iter_batches(ROW_GROUP, columns=["block"]):
                        for block in few.column("block"):
                            for one in worker.turn(block.as_py()):
                                made.put(one)
            made.put(None)
        except BaseException as error:
            made.put(error)

    failed: BaseException | None = None
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shard") as pool:
        for paths in streams.inputs.values():
            worker = Worker(pipeline)
            worker.engine = first.engine  # its machine code
            pool.submit(run, worker, paths)
        left = len(streams.inputs)
        while left:  # to the end of all, also when one failed: others may wait for room
            one = made.get()
            left -= not isinstance(one, bytes)
            failed = one if isinstance(one, BaseException) else failed
            taken = answer.take(one) if isinstance(one, bytes) and failed is None else None
            if taken is not None:
                yield taken
    if failed is not None:
        raise failed
