"""A pipeline over the days of a lake: shards of days beside each other, a thread each.

A shard of a day is a stream of its own, from its manifest to the end of its sources, so it is run
from its beginning to its end by one engine, and what it makes depends on it alone. Compiled code
holds no lock, so threads are enough. What is done is told in `URL/_runs`; a run that was cut short
does only the rest, and rows that are there are passed over.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import date
from typing import Any

from onetape.codecs.block import Header, json_of
from onetape.compiled.bits import mix
from onetape.connect.lake import RUNS, store
from onetape.connect.lake.output_table import OutputTable, RowsWriter
from onetape.connect.lake.runs import DONE, RunsTable, Unit, units_at
from onetape.connect.lake.tape_table import Stream, TapeTable
from onetape.engine.digest import LANE_B, digests_of, state_digest
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.records import IntegrityError, OperatorError
from onetape.runtimes.blocks import check_frames
from onetape.runtimes.inputs import symbols_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.worker import Worker, check_stream

POLL_S = 0.2
OUTPUT_ROWS = 1 << 16
WORD = 1 << 64

Take = Callable[[str, Any, Any, Engine], None]


class CutShort(Exception):
    """Another thread failed, or Ctrl-C: this one stops between two blocks."""


class Rows(Worker):
    """A worker whose rows go to a function as they are, not into blocks."""

    def __init__(self, pipeline: Pipeline, take: Take) -> None:
        super().__init__(pipeline, output_rows=OUTPUT_ROWS)
        self._take = take

    def _feed(self, engine: Engine, header: Header, payload: Any) -> list[bytes]:
        for name, rows, origins in engine.feed(payload, 0, check_frames(header, payload)):
            if self._numbers is not None:
                origins["node"] = self._numbers[origins["node"]]
            self._take(name, rows, origins, engine)
        self.is_over = bool(engine.sources["ended"].all())
        return []


@dataclass
class LakeRun:
    """What is to be done: `units` in order, those of `there` are done already."""

    pipeline: Pipeline
    tape: TapeTable
    streams: dict[tuple[date, int], Stream]
    units: list[Unit]
    there: dict[tuple[date, int], Unit]
    warm: Worker
    out: str | None

    @property
    def days(self) -> list[date]:
        return sorted({unit.day for unit in self.units})


def prepare(
    pipeline: Pipeline,
    tape: TapeTable,
    days: tuple[date, date] | None,
    progress: Progress,
    *,
    name: str = "",
    out: str | None = None,
) -> LakeRun:
    """Look what there is to do; compile; write nothing.

    OperatorError: days that are not complete, or not there, or of other sources, or whose rows in
    `out` are of another pipeline or input.
    """
    if days is not None and days[0] > days[1]:
        raise OperatorError(f"days {days[0]} to {days[1]} end before they begin; turn them round")
    streams = chosen(tape, days)
    first = next(iter(streams.values()))
    manifest = json_of(next(tape.blocks(first)))
    check_stream(pipeline, manifest)
    warm = Worker(pipeline, output_rows=OUTPUT_ROWS)
    with progress.compiling():
        warm.warm(manifest["framing"], manifest["shards"], manifest["by"])
    driver = plan(pipeline).driver  # the same for days in shards and for days in one piece
    units = [
        Unit(day, shard, stream.shards, _word(driver, stream.input), driver, name, stream.input)
        for (day, shard), stream in streams.items()
    ]
    there: dict[tuple[date, int], Unit] = {}
    if out is not None:
        told = units_at(store.place(out, RUNS))
        of_days = {unit.day: unit.run for unit in units}
        for (day, shard), unit in told.items():
            if of_days.get(day, unit.run) != unit.run:
                raise OperatorError(_of_another(out, unit, driver, streams[day, 0].input))
            if day in of_days and unit.state == DONE:
                there[day, shard] = unit
        for day in {unit.day for unit in units if (unit.day, unit.shard) not in there}:
            if streams[day, 0] is not first:
                check_stream(pipeline, json_of(next(tape.blocks(streams[day, 0]))))
    return LakeRun(pipeline, tape, streams, units, there, warm, out)


def chosen(tape: TapeTable, days: tuple[date, date] | None) -> dict[tuple[date, int], Stream]:
    """The streams of the days, first to last; OperatorError where a day is not whole."""
    found = tape.streams()
    if days is not None:
        found = {key: s for key, s in found.items() if days[0] <= key[0] <= days[1]}
    if not found:
        there = sorted({str(day) for day, _ in tape.streams()})
        span = f"days {there[0]} to {there[-1]}" if there else "no days"
        raise OperatorError(f"{tape.url} has {span}, none of those that were asked for")
    for day in {day for day, _ in found}:
        of_day = [stream for (other, _), stream in found.items() if other == day]
        whole = [stream for stream in of_day if stream.is_complete]
        if len(whole) < of_day[0].shards:
            raise OperatorError(
                f"{tape.url}: {day} is not complete: {len(whole)} of {of_day[0].shards} shards "
                "have come to their end; write the rest with the same onetape lake write"
            )
    return found


def run(todo: LakeRun, threads: int, progress: Progress) -> dict[str, Any]:
    """Do what is to be done; the facts that `--json` prints.

    KeyboardInterrupt leaves what is done, and the same call goes on from there.
    """
    left = [unit for unit in todo.units if (unit.day, unit.shard) not in todo.there]
    tables: dict[str, OutputTable] = {}
    runs = RunsTable(todo.out) if todo.out is not None else None
    if todo.out is not None and runs is not None:
        for name, stream in todo.pipeline.outputs.items():
            tables[name] = OutputTable(todo.out, name, stream.of)
        runs.begin(left)
    stop, began_s = threading.Event(), time.perf_counter()
    seen = {(unit.day, unit.shard): (0, 0) for unit in left}  # blocks, events
    total = sum(todo.streams[key].blocks for key in seen)
    with ThreadPoolExecutor(threads, thread_name_prefix="shard") as pool:
        futures = [pool.submit(_unit, todo, unit, tables, runs, stop, seen) for unit in left]
        try:
            waiting: set[Future[Unit]] = set(futures)
            while waiting:
                done, waiting = wait(waiting, POLL_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                blocks, events = (sum(each[i] for each in list(seen.values())) for i in (0, 1))
                progress.update(blocks, total, events, "events")
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            progress.close()
    made = {(unit.day, unit.shard): unit for unit in (future.result() for future in futures)}
    return _facts(todo, todo.there | made, len(made), time.perf_counter() - began_s)


def _unit(
    todo: LakeRun,
    unit: Unit,
    tables: dict[str, OutputTable],
    runs: RunsTable | None,
    stop: threading.Event,
    seen: dict[tuple[date, int], tuple[int, int]],
) -> Unit:
    """Run one shard of one day, in a thread of its own."""
    began_s = time.perf_counter()
    digests = digests_of(todo)
    writers = {n: RowsWriter(t, f"{unit.mark}/{n}", unit.day) for n, t in tables.items()}
    symbols: Any = None

    def take(name: str, rows: Any, origins: Any, engine: Engine) -> None:
        nonlocal symbols
        digests[name].update(rows, origins)
        if writers:
            known = symbols_of(engine)
            symbols = {} if known is None else known
            writers[name].take(rows, symbols)

    worker = Rows(todo.pipeline, take)
    worker.engine = todo.warm.engine  # its driver is taken over, its state is not
    key = unit.day, unit.shard
    for block in _heeding(todo.tape.blocks(todo.streams[key]), stop):
        worker.turn(block)
        assert worker.engine is not None
        seen[key] = worker.next_ordinal, int(worker.engine.run["events"][0])
    if not worker.is_over:
        raise IntegrityError(f"{todo.tape.url}: shard {unit.shard} of {unit.day} has no end")
    for writer in writers.values():
        writer.flush(symbols)
    counts = worker.counts()
    done = unit.done(
        events=counts.events,
        rows=counts.rows,
        digests={name: digest.hexdigest() for name, digest in digests.items()},
        state_digest=state_digest(worker.engine),
        elapsed_s=round(time.perf_counter() - began_s, 6),
    )
    if runs is not None:
        runs.finish(done)
    return done


def _heeding(blocks: Iterator[Any], stop: threading.Event) -> Iterator[Any]:
    for block in blocks:
        if stop.is_set():
            raise CutShort
        yield block


def _facts(
    todo: LakeRun, units: dict[tuple[date, int], Unit], made: int, elapsed_s: float
) -> dict[str, Any]:
    days = {}
    for day in todo.days:
        of_day = [unit for (other, _), unit in sorted(units.items()) if other == day]
        days[str(day)] = {
            "shards": len(of_day),
            "events": sum(unit.events for unit in of_day),
            "rows": {n: sum(u.rows[n] for u in of_day) for n in todo.pipeline.outputs},
            "digests": {n: joined_digest(of_day, n) for n in todo.pipeline.outputs},
            "state_digests": [unit.state_digest for unit in of_day],
        }
    events = sum(unit.events for key, unit in units.items() if key not in todo.there)
    return {
        "days": days,
        "shards_done": made,
        "shards_there": len(todo.there),
        "events": events,
        "elapsed_s": round(elapsed_s, 6),
        "events_per_s": round(events / elapsed_s) if elapsed_s > 0 else 0,
        "out": todo.out,
        "driver": todo.units[0].driver,
    }


def joined_digest(units: list[Unit], name: str) -> str:
    """The digest of an output of a day, of those of its shards: chains of keys add up."""
    rows = [unit.rows[name] for unit in units]
    lanes = []
    for lane, salt in ((slice(0, 16), 0), (slice(16, 32), LANE_B)):
        own = [int(unit.digests[name][lane], 16) for unit in units]
        parts = sum(each - int(mix(n ^ salt)) for each, n in zip(own, rows, strict=True))
        lanes.append((int(mix(sum(rows) ^ salt)) + parts) % WORD)
    return "".join(f"{lane:016x}" for lane in lanes)


def _word(driver: str, input: str) -> str:
    """What names the rows that this driver makes of that input."""
    return hashlib.sha256(f"{driver} {input}".encode()).hexdigest()[:16]


def _of_another(out: str, unit: Unit, driver: str, input: str) -> str:
    what = "the pipeline" if unit.driver != driver else "the input"
    was, now = (unit.driver, driver) if unit.driver != driver else (unit.input, input)
    return (
        f"{out} has rows of {unit.day} already, and {what} was another ({was}, now {now}); "
        "onetape backfill computes them anew beside, shows the differences and swaps; or give "
        "another --out"
    )


def default_threads() -> int:
    """One for each processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
