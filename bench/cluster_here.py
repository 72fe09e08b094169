"""What one core does, without an engine around it: what every engine starts from.

`batch` is the file through the driver; `blocks` are the same events in blocks of so many, through
`Worker.turn`, as Kafka, Flink, Spark and the lake call it: decompressed, checked, run, and its
rows made into blocks. Processor time of this process, which has one busy thread.
"""

import time
from pathlib import Path
from typing import Any

from onetape.codecs.block import FRAMES, decode, read_header
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import Block, blocks_of
from onetape.runtimes.inputs import Inputs, inputs_of
from onetape.runtimes.standard import market_watch
from onetape.runtimes.worker import Worker
from onetape.sim.exchange import TRADING_DATE


def inputs(path: Path) -> Inputs:
    return inputs_of(market_watch(), path, TRADING_DATE)


def direct(path: Path, rounds: int) -> tuple[dict[str, Any], dict[str, str]]:
    """(figures, digests) of the batch runtime; the best of `rounds`, each with fresh state."""
    given = inputs(path)
    best_s = best_cpu_s = 1e9
    for _ in range(rounds):
        engine = batch.make_engine(market_watch(), given.framing, given.midnight_ns)
        runs = [(buffer[begin:end].copy(), 0, end - begin) for buffer, begin, end in given.runs()]
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        result = batch.run(engine, runs)
        best_s = min(best_s, time.perf_counter() - began_s)
        best_cpu_s = min(best_cpu_s, time.process_time() - began_cpu_s)
    return _rates(result.counts.events, best_s, best_cpu_s), result.digests


def by_blocks(
    path: Path, events: int, rounds: int, codec: str = "lz4"
) -> tuple[dict[str, Any], dict[str, str], Worker]:
    """(figures, digests, a worker with the day's state) over blocks of so many events."""
    began_s = time.process_time()
    stream = [block for _, block in made(path, events, codec=codec)]
    made_s = time.process_time() - began_s
    best_s = best_cpu_s = 1e9
    for _ in range(rounds):
        worker = Worker(market_watch())
        worker.turn(stream[0])
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        out = [one for block in stream[1:] for one in worker.turn(block)]
        best_s = min(best_s, time.perf_counter() - began_s)
        best_cpu_s = min(best_cpu_s, time.process_time() - began_cpu_s)
    answer = Answer(market_watch())
    for block in out:
        answer.take(block)
    if not answer.is_complete:
        return {"answer_ok": False}, {}, worker
    count = answer.events
    frames = [read_header(block) for block in stream if read_header(block).kind == FRAMES]
    figures = _rates(count, best_s, best_cpu_s)
    figures["bytes"] = {
        "divided_events_per_core_s": round(count / made_s),
        "bytes_in_per_event": round(sum(map(len, stream)) / count, 2),
        "raw_bytes_in_per_event": round(sum(one.size_bytes for one in frames) / count, 2),
        "bytes_out_per_event": round(sum(map(len, out)) / count, 2),
        "raw_bytes_out_per_event": round(sum(len(decode(one)[1]) for one in out) / count, 2),
    }
    return figures, answer.digests, worker


def made(path: Path, events: int, *, shards: int = 1, codec: str = "lz4") -> list[Block]:
    """(shard, block) of the day."""
    return list(blocks_of(market_watch(), inputs(path), shards=shards, events=events, codec=codec))


def saved(worker: Worker) -> dict[str, Any]:
    """What a base of the worker's state takes: bytes, and processor time to write and to load."""
    began_s = time.process_time()
    base = worker.save()
    saved_s = time.process_time() - began_s
    again = Worker(market_watch())
    again.warm(worker.manifest["framing"])
    began_s = time.process_time()
    again.restore(base)
    return {
        "base_bytes": sum(map(len, base)),
        "save_ms": round(saved_s * 1e3, 1),
        "restore_ms": round((time.process_time() - began_s) * 1e3, 1),
    }


def _rates(events: int, elapsed_s: float, cpu_s: float) -> dict[str, Any]:
    return {
        "events": events,
        "events_per_s": round(events / elapsed_s),
        "events_per_core_s": round(events / cpu_s),
        "cpu_ns_per_event": round(cpu_s / events * 1e9, 1),
    }
