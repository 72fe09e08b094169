"""A pipeline in parts by key, one thread each: the rows of a run in one part, in the same order.

All parts read the same frames, some MiB at a time, and each runs what is its own
(`engine/partition.py`); drivers hold no lock, so parts run beside each other. While they run the
next frames, their rows of the last ones are put in order: by the place of what caused them among
all that happened. That is the order in which one part makes them, so digests are equal too.

What does not go by the key stands in a second stage (`engine/stages.py`), in parts by a key of its
own or in one. After each step it takes the rows that the first hands over, in order, and how far
time has come; it too runs while the first stage runs the next frames.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from onetape.compiled.frame import END, frame_bytes, frame_kind, frame_length
from onetape.engine.digest import digests_of
from onetape.engine.engine import Counts, Engine
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.partition import BY, PARTS_MAX
from onetape.engine.stages import stages_of
from onetape.records import OperatorError
from onetape.runtimes.batch import Result, Take
from onetape.runtimes.stage import Made, Reached, Second, Stage

STEP_BYTES = 1 << 22
OF_STEPS = (
    "late_at_windows", "ahead", "dropped_matches", "keys_forgotten", "keys_evicted", "rows_dropped",
)  # fmt: skip


class Parts:
    """The engines of all parts of a pipeline. DeclarationError: it does not divide by that key."""

    def __init__(
        self,
        pipeline: Pipeline,
        count: int,
        *,
        by: str = BY,
        framing: dict[str, str] | None = None,
        midnight_ns: int = 0,
    ) -> None:
        if not 1 <= count <= PARTS_MAX:
            raise OperatorError(f"partitions were {count}; expected 1 to {PARTS_MAX}")
        self.outputs = pipeline.outputs
        cut = stages_of(pipeline, by)
        self.first = Stage(cut.first, cut.numbers[0], count, by, framing, midnight_ns)
        self.second = Second(cut, count) if cut.second is not None else None
        self.pipeline = pipeline

    @property
    def engines(self) -> list[Engine]:
        """Of the first stage: they read the sources."""
        return self.first.engines

    def counts(self) -> Counts:
        """As of one part: what all parts see alike from the first, what each does added up."""
        first = vars(self.first.engines[0].counts())
        each = self.first.engines + (self.second.stage.engines if self.second else [])
        added = {name: sum(vars(engine.counts())[name] for engine in each) for name in OF_STEPS}
        made = [engine.counts().rows for engine in each]
        rows = {name: sum(one.get(name, 0) for one in made) for name in self.outputs}
        return Counts(**first | added | {"rows": rows})

    def steps(self, runs: Iterable[Run]) -> Iterator[Made]:
        """What all parts make of some MiB of frames at a time, each output in the order of one
        part. The next step runs meanwhile."""
        with ThreadPoolExecutor(len(self.engines), thread_name_prefix="part") as pool:
            running: list[Future[Any]] = []
            for gathered in _gathered(runs, ends_apart=self.second is not None):
                done = [future.result() for future in running]
                running = [pool.submit(self.first.fed, e, gathered) for e in self.engines]
                if done:
                    yield self._finished(done)
            if running:
                yield self._finished([future.result() for future in running])

    def _finished(self, done: list[tuple[Made, Reached]]) -> Made:
        if self.second is None:
            return self.first.joined([made for made, _ in done])
        return self.second.after(self.first, [made for made, _ in done], done[0][1])


def run(parts: Parts, runs: Iterable[Run], take: Take | None = None) -> Result:
    """As `batch.run`. A state of several engines has no digest: it is ''."""
    digests = digests_of(parts)
    began_s = perf_counter()
    for made in parts.steps(runs):
        for name, (rows, origins) in made.items():
            if len(rows):
                digests[name].update(rows, origins)
                if take is not None:
                    take(name, rows, origins)
    elapsed_s = perf_counter() - began_s
    return Result(
        counts=parts.counts(),
        digests={name: digest.hexdigest() for name, digest in digests.items()},
        state_digest="",
        elapsed_s=elapsed_s,
        engine=parts.engines[0],
    )


def _gathered(runs: Iterable[Run], *, ends_apart: bool) -> Iterator[Run]:
    """The same frames in buffers of their own, some MiB each.

    ends_apart  the end of a source is a step of its own: what time had come to before it is told
    """
    kept, size = np.empty(STEP_BYTES, np.uint8), 0
    for buffer, begin, end in runs:
        for first, until, is_end in _cut(buffer, begin, end) if ends_apart else [(begin, end, 0)]:
            if size and (is_end or size + until - first > len(kept)):
                yield kept, 0, size
                kept, size = np.empty(max(STEP_BYTES, until - first), np.uint8), 0
            elif until - first > len(kept):
                kept = np.empty(until - first, np.uint8)
            kept[size : size + until - first] = buffer[first:until]
            size += until - first
    if size:
        yield kept, 0, size


def _cut(buffer: Any, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The run in pieces that begin at the ends of sources."""
    at = begin
    is_end = False
    while at < end:
        if frame_kind(buffer, at) == END:
            if at > begin:
                yield begin, at, is_end
            begin, is_end = at, True
        at += int(frame_bytes(frame_length(buffer, at)))
    yield begin, end, is_end
