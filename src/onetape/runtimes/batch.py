"""The batch runtime: a pipeline over a recorded file or a tape, as fast as it goes.

The driver is the one that runs at the edge; here it is called for one run of frames after another.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from onetape.connect.lmdb_store import LmdbStore
from onetape.engine.digest import OutputDigest, digests_of, state_digest
from onetape.engine.engine import Counts, Engine
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan

BATCH_OUTPUT_ROWS = 1 << 16

Take = Callable[[str, Any, Any], None]


@dataclass(frozen=True)
class Result:
    """What a run came to. Digests: equal means equal answers."""

    counts: Counts
    digests: dict[str, str]
    state_digest: str
    elapsed_s: float
    engine: Engine


def make_engine(
    pipeline: Pipeline, framing: dict[str, str] | None = None, midnight_ns: int = 0
) -> Engine:
    """An engine for `pipeline`: compiled, or found on disk. Seconds the first time."""
    engine = Engine(plan(pipeline, framing), output_rows=BATCH_OUTPUT_ROWS, store=LmdbStore)
    set_midnight(engine, midnight_ns)
    return engine


def set_midnight(engine: Engine, midnight_ns: int) -> None:
    """Set the trading date of all feeds: UTC ns of midnight in the venue's time zone."""
    for n, source in enumerate(engine.plan.pipeline.sources):
        if source.feed:
            engine.arrays[f"n{n}_feed"]["midnight_ns"] = midnight_ns


def run(engine: Engine, runs: Iterable[Run], take: Take | None = None) -> Result:
    """Run all frames; `take(output, rows, origins)` sees each block (a view: copy to keep)."""
    digests = digests_of(engine.plan)
    began_s = time.perf_counter()
    for name, rows, origins in rows_of(engine, runs):
        digests[name].update(rows, origins)
        if take is not None:
            take(name, rows, origins)
    return result(engine, digests, time.perf_counter() - began_s)


def rows_of(engine: Engine, runs: Iterable[Run]) -> Iterator[tuple[str, Any, Any]]:
    """All blocks of rows that the frames give, in order per output."""
    for buffer, begin, end in runs:
        yield from engine.feed(buffer, begin, end)


def result(engine: Engine, digests: dict[str, OutputDigest], elapsed_s: float) -> Result:
    return Result(
        counts=engine.counts(),
        digests={name: digest.hexdigest() for name, digest in digests.items()},
        state_digest=state_digest(engine),
        elapsed_s=elapsed_s,
        engine=engine,
    )
