"""A pipeline in parts by key, one thread each: the rows of a run in one part, in the same order.

All parts read the same frames, some MiB at a time, and each runs what is its own
(`engine/partition.py`); drivers hold no lock, so parts run beside each other. While they run the
next frames, their rows of the last ones are put in order: by the place of what caused them among
all that happened. That is the order in which one part makes them, so digests are equal too.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.engine import layout
from onetape.engine.digest import digests_of
from onetape.engine.engine import Counts, Engine
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.partition import BY, PARTS_MAX, Partitioned, partitioned
from onetape.engine.planner import plan
from onetape.records import OperatorError
from onetape.records.declare import raw_rows
from onetape.runtimes.batch import BATCH_OUTPUT_ROWS, Result, Take, set_midnight

STEP_BYTES = 1 << 22
PLACE_BITS = layout.ROOT_NODES_MAX.bit_length() - 1

Made = dict[str, tuple[Any, Any]]  # rows and origins of each output


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
        self.of: Partitioned = partitioned(pipeline, by)
        planned = plan(self.of.pipeline, framing, placed=True)
        self.engines: list[Engine] = []
        for part in range(count):
            turn = self.engines[0].turn if self.engines else None
            engine = Engine(planned, BATCH_OUTPUT_ROWS, turn)
            set_midnight(engine, midnight_ns)
            self.of.assign(engine, part, count)
            self.engines.append(engine)

    def counts(self) -> Counts:
        """As of one part: what all parts see alike from the first, what each does added up."""
        each = [engine.counts() for engine in self.engines]
        first = vars(each[0])
        added = {
            name: sum(vars(one)[name] for one in each) for name in ("late_at_windows", "ahead")
        }
        rows = {name: sum(one.rows[name] for one in each) for name in each[0].rows}
        return Counts(**first | added | {"rows": rows})

    def steps(self, runs: Iterable[Run]) -> Iterator[Made]:
        """What all parts make of some MiB of frames at a time, each output in the order of one
        part. The next step runs meanwhile."""
        with ThreadPoolExecutor(len(self.engines), thread_name_prefix="part") as pool:
            running: list[Future[Made]] = []
            for gathered in _gathered(runs):
                made = [future.result() for future in running]
                running = [pool.submit(_fed, engine, gathered) for engine in self.engines]
                if made:
                    yield self._joined(made)
            if running:
                yield self._joined([future.result() for future in running])

    def _joined(self, made: list[Made]) -> Made:
        joined = {}
        for name in made[0]:
            rows = np.concatenate([part[name][0] for part in made])
            origins = np.concatenate([part[name][1] for part in made])
            if sum(len(part[name][0]) > 0 for part in made) > 1:
                order = _order(origins, [len(part[name][0]) for part in made])
                rows, origins = rows[order], origins[order]
            origins["node"] = self.of.numbers[origins["node"]]
            origins["tape_offset"] = 0  # a place is of no use to others
            joined[name] = (rows.view(self.of.pipeline.outputs[name].of.dtype), origins)
        return joined


def run(parts: Parts, runs: Iterable[Run], take: Take | None = None) -> Result:
    """As `batch.run`. A state of several engines has no digest: it is ''."""
    digests = digests_of(parts.engines[0].plan)
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


def _gathered(runs: Iterable[Run]) -> Iterator[Run]:
    """The same frames in buffers of their own, some MiB each."""
    pieces: list[Any] = []
    size = 0
    for buffer, begin, end in runs:
        pieces.append(buffer[begin:end].copy())
        size += end - begin
        if size >= STEP_BYTES:
            yield np.concatenate(pieces), 0, size
            pieces, size = [], 0
    if pieces:
        yield np.concatenate(pieces), 0, size


def _fed(engine: Engine, frames: Run) -> Made:
    kept: dict[str, list[tuple[Any, Any]]] = {name: [] for name in engine.plan.outputs}
    for name, rows, origins in engine.feed(*frames):
        kept[name].append((raw_rows(rows).copy(), origins.copy()))
    made = {}
    for name, blocks in kept.items():
        empty = raw_rows(np.empty(0, engine.plan.pipeline.outputs[name].of.dtype))
        made[name] = (
            np.concatenate([empty, *(block for block, _ in blocks)]),
            np.concatenate([np.empty(0, layout.ORIGIN), *(caused for _, caused in blocks)]),
        )
    return made


def _order(origins: Any, counts: list[int]) -> Any:
    """Indices into the joined rows of all parts, each part's in order, that put all in order."""
    ends = np.cumsum(counts)
    order = np.empty(len(origins), np.int64)
    merge_parts(origins, ends - counts, ends, order)
    return order


@kernel
def merge_parts(origins, heads, ends, order):
    """Merge runs that are in order. heads: where each begins, moved to its end; O(rows x parts)."""
    for n in range(order.shape[0]):
        best = -1
        for part in range(ends.shape[0]):
            if heads[part] < ends[part]:
                if best < 0 or comes_before(origins, heads[part], heads[best]):
                    best = part
        order[n] = heads[best]
        heads[best] += 1


@kernel
def comes_before(origins, i, j):
    """Was the root of row i before that of row j? Timers of one moment fire by time, step, key."""
    a, b = row(origins, i), row(origins, j)
    if a.tape_offset == b.tape_offset and a.root != layout.TIMER_ROOT:
        return False
    moment_a = shift_right(a.tape_offset, PLACE_BITS)
    moment_b = shift_right(b.tape_offset, PLACE_BITS)
    if moment_a != moment_b:
        return moment_a < moment_b
    if a.sequence != b.sequence:
        return a.sequence < b.sequence
    if a.tape_offset != b.tape_offset:
        return a.tape_offset < b.tape_offset
    return a.key < b.key
