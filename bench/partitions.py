"""A pipeline in parts by key, on as many threads: how much faster than in one part?

    books    ITCH to order books, top of book, trades, VWAP, bars and alerts: the standard pipeline
    windows  trade blocks to a window and a pattern a key: so little work a row that reading weighs

`whole` is the batch runtime as it is, without parts. Frames are made beforehand; rows are taken,
put in order and digested. The answer is right if all digests are those of `whole`.
"""

import time
from typing import Any

from bench import itch
from bench.window import BLOCK, WIDTH_NS, WITHIN_NS, Bursts, _trades

import onetape as ot
from onetape.engine.frames import Run, frames_of
from onetape.engine.graph import Pipeline
from onetape.market import vwap
from onetape.records.market import Trade
from onetape.runtimes import batch, partitions, standard
from onetape.runtimes.partitions import Parts

COUNTS = (1, 2)


def run(
    messages: int = 1_000_000, trades: int = 8_000_000, rounds: int = 5, seed: int = 7
) -> dict[str, Any]:
    """Events a second of the whole and of so many parts, best of `rounds`."""
    (buffer, bounds), midnight_ns = itch.load(itch.simulated_file(messages, seed))
    day = [(buffer, begin, end) for begin, end in bounds]
    books = _measured(standard.pipeline, day, rounds, framing=itch.FRAMING, midnight_ns=midnight_ns)
    rows = _trades(trades, seed)
    payloads = ((None, rows[i : i + BLOCK].tobytes()) for i in range(0, trades, BLOCK))
    blocks = [(frame.copy(), begin, end) for frame, begin, end in frames_of(payloads)]
    source = ot.source(Trade)
    pattern = Bursts(source, within=WITHIN_NS)
    windows = _measured(Pipeline(vwap=vwap(source, width=WIDTH_NS), burst=pattern), blocks, rounds)
    answer_ok = books.pop("answer_ok") and windows.pop("answer_ok")
    return {"answer_ok": answer_ok, "work": {"books": books, "windows": windows}}


def _measured(pipeline: Pipeline, runs: list[Run], rounds: int, **about: Any) -> dict[str, Any]:
    best_s: dict[int, float] = {}
    digests, events = [], 0
    for _ in range(rounds):
        for count in (0, *COUNTS):
            parts = Parts(pipeline, count, **about) if count else None
            engine = None if parts else batch.make_engine(pipeline, **about)
            began_s = time.perf_counter()
            result = partitions.run(parts, runs) if parts else batch.run(engine, runs)
            best_s[count] = min(best_s.get(count, 1e9), time.perf_counter() - began_s)
            digests.append(result.digests)
            events = result.counts.events
    figures: dict[str, Any] = {"whole_per_s": round(events / best_s[0])}
    for count in COUNTS:
        figures[f"parts_{count}_per_s"] = round(events / best_s[count])
    figures["speed_up"] = round(best_s[0] / best_s[COUNTS[-1]], 2)
    same = all(each == digests[0] for each in digests)
    return figures | {"answer_ok": same and events > 0}
