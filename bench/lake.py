"""A lake: how fast it is written, read, and how fast a pipeline runs over it, on one core.

    write       a simulated ITCH day to blocks to a Delta table in shards
    read        the table's blocks, decompressed and checked: what a run pays beside its work
    batch       the pipeline over the table, a thread, digests taken; no rows written
    memory      the same engine over the blocks, decoded beforehand: what the work allows
    rows        the same with its outputs written as Delta tables

`standard` is the standard pipeline, order books and all; `messages` counts messages per instrument
and 100 ms, and needs no book. The answer is right if all digests of a pipeline are equal to those
of the plain file.

`per_s` is by the clock, `per_core_s` by the processor time of all threads of the process, the
libraries' own among them.
"""

import shutil
import time
from datetime import date
from pathlib import Path
from typing import Any

from bench import itch

import onetape as ot
from onetape import c
from onetape.codecs.block import MANIFEST, decode
from onetape.connect.lake import keep
from onetape.connect.lake.runs import Unit
from onetape.connect.lake.tape_table import TapeTable
from onetape.engine.graph import Pipeline
from onetape.runtimes import batch, standard
from onetape.runtimes.blocks import check_frames
from onetape.runtimes.lake import run as lake_run
from onetape.runtimes.lake import write as lake_write
from onetape.runtimes.progress import Progress
from onetape.sim import exchange

QUIET = Progress(quiet=True)
DAY: date = exchange.TRADING_DATE


def run(
    messages: int = 2_000_000, shards: int = 2, rounds: int = 3, seed: int = 7
) -> dict[str, Any]:
    """Events a second of each, best of `rounds`, and bytes an event in the table."""
    path, url = itch.simulated_file(messages, seed), itch.scratch() / "lake"
    work = {"standard": standard.pipeline, "messages": _messages()}
    best: dict[str, tuple[float, float]] = {}

    def took(name: str, began: tuple[float, float]) -> None:
        spent = [now - then for now, then in zip(_now(), began, strict=True)]
        was = best.get(name, (1e9, 1e9))
        best[name] = min(was[0], spent[0]), min(was[1], spent[1])

    for _ in range(rounds):
        shutil.rmtree(url, ignore_errors=True)
        began = _now()
        how: dict[str, Any] = {"file": path, "day": DAY, "shards": shards, "progress": QUIET}
        told = lake_write.write(standard.pipeline, str(url), **how)
        took("write", began)
    tape = TapeTable(url)
    for _ in range(rounds):
        began = _now()
        blocks = [decode(b) for stream in tape.streams().values() for b in tape.blocks(stream)]
        took("read", began)
    answers = {name: _plain(pipeline, path) for name, pipeline in work.items()}
    answer_ok, events = True, told["events"]
    for name, pipeline in work.items():
        for _ in range(rounds):
            todo = lake_run.prepare(pipeline, tape, None, QUIET)
            began = _now()
            facts = lake_run.run(todo, 1, QUIET)
            took(f"{name}_batch", began)
            answer_ok &= facts["days"][str(DAY)]["digests"] == answers[name]
            digests = _in_memory(todo, blocks, lambda s, n=name: took(f"{n}_memory", s))
            answer_ok &= digests == answers[name]
        rows = url / name
        todo = lake_run.prepare(pipeline, tape, None, QUIET, out=str(rows))
        began = _now()
        answer_ok &= lake_run.run(todo, 1, QUIET)["days"][str(DAY)]["digests"] == answers[name]
        took(f"{name}_rows", began)
    size = keep.extent(tape.url)["size_bytes"]
    rates = {
        name: {"per_s": round(events / clock_s), "per_core_s": round(events / core_s)}
        for name, (clock_s, core_s) in best.items()
    }
    return {
        "answer_ok": bool(answer_ok),
        "events": events,
        "bytes_an_event": round(size / events, 2),
        "work": rates,
    }


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _messages() -> Pipeline:
    events = ot.source("itch").events()
    return Pipeline(count=events.window("100ms", by=c.instrument_id).agg(messages=ot.count()))


def _plain(pipeline: Pipeline, path: Path) -> dict[str, str]:
    (buffer, bounds), midnight_ns = itch.load(path)
    engine = batch.make_engine(pipeline, itch.FRAMING, midnight_ns)
    return batch.run(engine, ((buffer, begin, end) for begin, end in bounds)).digests


def _in_memory(todo: lake_run.LakeRun, blocks: list[Any], took: Any) -> dict[str, str]:
    """The digests of the decoded blocks, shard by shard; `took` is told when the work began."""
    units: list[Unit] = []
    workers = []
    for unit in todo.units:
        worker = lake_run.Rows(todo.pipeline, lambda *_: None)
        worker.engine = todo.warm.engine
        worker.turn(next(todo.tape.blocks(todo.streams[unit.day, unit.shard])))
        workers.append(worker)
    began = _now()
    for unit, worker in zip(todo.units, workers, strict=True):
        digests = lake_run.digests_of(worker.engine.plan)  # type: ignore[union-attr]
        worker._take = lambda name, rows, origins, _, d=digests: d[name].update(rows, origins)
        for header, payload in blocks:
            if header.shard == unit.shard and header.kind != MANIFEST:
                check_frames(header, payload)
                worker._feed(worker.engine, header, payload)  # type: ignore[arg-type]
        hexes = {name: digest.hexdigest() for name, digest in digests.items()}
        units.append(unit.done(rows=worker.counts().rows, digests=hexes))
    took(began)
    return {name: lake_run.joined_digest(units, name) for name in todo.pipeline.outputs}
