"""Joins: deals with the quote in force, with a table that changes, with the quotes near in time.

    asof             each deal with the last quote of its instrument
    asof_in_order    the same, both sides put in the order of event time first
    lookup           each deal with what a table says that the quotes change
    interval         each deal with the quotes of the next 1.5 ms

Processor time of one core, so that a machine with other work measures the same. Frames come in
bursts of quotes and of deals, in the order of time, so that all of these are the joins by time that
Polars and DuckDB know; their answers must be the same, row by row. They have the whole day at once,
and columns in memory, where onetape takes one event after the other.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import onetape as ot
from onetape import c
from onetape.engine.frames import FramePacker
from onetape.runtimes import batch

INSTRUMENTS = 1000
QUOTES, DEALS = 64, 16  # of a burst
WITHIN_NS = 1_500_000


@ot.record
class Quote:
    ts_event_ns: ot.i64
    bid_ticks: ot.i64
    ask_ticks: ot.i64
    key: ot.u32


@ot.record
class Deal:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    qty_lots: ot.i64
    key: ot.u32


deals, quotes = ot.source(Deal, name="deals"), ot.source(Quote, name="quotes")
table = ot.table(quotes, by=c.key, deleted=c.bid_ticks < 0)
near = deals.interval_join(quotes, by=c.key, within=(0, WITHIN_NS), at_most=256)
JOINS = {
    "asof": deals.asof_join(quotes, by=c.key),
    "asof_in_order": deals.asof_join(quotes, by=c.key, order="event_time"),
    "lookup": deals.lookup(table),
    "interval": near.with_columns(ts_right_ns=c.ts_left_ns + c.apart_ns),
}
# What is compared of each: which deal, and what it was joined with.
COLUMNS = {name: ("ts_event_ns", "bid_ticks") for name in JOINS}
COLUMNS["interval"] = ("ts_left_ns", "ts_right_ns")


def run(events: int = 2_000_000, rounds: int = 5, seed: int = 1) -> dict[str, Any]:
    """ns an event of both sides, best of `rounds`; answer_ok: the peers' answers are the same."""
    quoted, dealt, runs = _input(events, seed)
    found, ns = {}, {}
    for name, stream in JOINS.items():
        pipeline = ot.Pipeline(row=stream)
        pieces: list[Any] = []
        for _, block, _ in batch.rows_of(batch.make_engine(pipeline), runs):
            pieces.append(block[list(COLUMNS[name])].copy())
        found[name] = _sorted(*(np.concatenate([p[n] for p in pieces]) for n in COLUMNS[name]))
        engines = [batch.make_engine(pipeline) for _ in range(rounds)]
        best_s, _ = _best(lambda: _drained(engines.pop(), runs), rounds)  # noqa: B023
        ns[name] = round(best_s / events * 1e9, 1)
    figures, answers_ok = {"onetape": ns}, [_equal(found["asof"], found["asof_in_order"])]
    for peer, ask in (("polars", _polars), ("duckdb", _duckdb)):
        answers = ask(quoted, dealt, rounds)
        figures[peer] = {name: round(s / events * 1e9, 1) for name, (s, _) in answers.items() if s}
        answers_ok += [_equal(found[name], _sorted(*rows)) for name, (_, rows) in answers.items()]
    return {
        "answer_ok": all(answers_ok),
        "answers_compared": len(answers_ok),
        "ns_per_event": {name: one for name, one in figures.items() if one},
        "rows": {name: len(columns[0]) for name, columns in found.items()},
        "events": events,
        "rounds": rounds,
    }


def _input(events: int, seed: int) -> tuple[Any, Any, list[Any]]:
    """Quotes, deals, and the frames of both in the order of time; no two times are equal."""
    rng = np.random.default_rng(seed)
    bursts = events // (QUOTES + DEALS)
    times = np.cumsum(rng.integers(1, 2000, bursts * (QUOTES + DEALS)))
    times = times.reshape(bursts, QUOTES + DEALS)
    quoted = np.zeros(bursts * QUOTES, Quote.dtype)
    dealt = np.zeros(bursts * DEALS, Deal.dtype)
    quoted["ts_event_ns"], dealt["ts_event_ns"] = (
        times[:, :QUOTES].ravel(),
        times[:, QUOTES:].ravel(),
    )
    for block in (quoted, dealt):
        block["key"] = rng.integers(0, INSTRUMENTS, len(block))
    quoted["bid_ticks"] = rng.integers(-200, 10_000, len(quoted))  # some take the entry away
    quoted["ask_ticks"] = quoted["bid_ticks"] + 1
    dealt["price_ticks"], dealt["qty_lots"] = 5_000, rng.integers(1, 9, len(dealt)) * 100
    packers, runs = (FramePacker(0), FramePacker(1)), []
    for n in range(bursts):
        for packer, block, size in zip((1, 0), (quoted, dealt), (QUOTES, DEALS), strict=True):
            payload = block[n * size : (n + 1) * size].view(np.uint8)
            buffer, begin, end = packers[packer].data(payload)
            runs.append(buffer[begin:end].copy())
    runs += [np.copy(b[begin:end]) for b, begin, end in (packer.end() for packer in packers)]
    whole = np.concatenate(runs)
    return quoted, dealt, [(whole, 0, len(whole))]


def _drained(engine: Any, runs: list[Any]) -> int:
    return sum(len(block) for _, block, _ in batch.rows_of(engine, runs))


def _best(work: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    best_s, answer = float("inf"), None
    for _ in range(rounds):
        began_s = time.process_time()
        answer = work()
        best_s = min(best_s, time.process_time() - began_s)
    return best_s, answer


def _sorted(*columns: Any) -> tuple[Any, ...]:
    order = np.lexsort(columns[::-1])
    return tuple(np.asarray(column)[order] for column in columns)


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _polars(quoted: Any, dealt: Any, rounds: int) -> dict[str, tuple[float, Any]]:
    """On one thread; nothing where it is not installed."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    try:
        import polars as pl
    except ImportError:
        return {}
    left, right = (
        pl.DataFrame({name: np.ascontiguousarray(block[name]) for name in block.dtype.names})
        for block in (dealt, quoted)
    )

    def asof() -> Any:
        made = left.join_asof(right, on="ts_event_ns", by="key", check_sortedness=False)
        return made.filter(pl.col("bid_ticks").is_not_null())

    best_s, made = _best(asof, rounds)
    rows = [made[name].to_numpy() for name in COLUMNS["asof"]]
    kept = rows[1] >= 0
    # A deletion is a version too: left out behind the clock, where ours finds no entry.
    return {"asof": (best_s, rows), "lookup": (0.0, [column[kept] for column in rows])}


def _duckdb(quoted: Any, dealt: Any, rounds: int) -> dict[str, tuple[float, Any]]:
    """On one thread; nothing where it is not installed."""
    try:
        import duckdb
        import pyarrow as pa
    except ImportError:
        return {}
    base = duckdb.connect()
    base.execute("SET threads = 1")
    for name, block in (("quoted", quoted), ("dealt", dealt)):
        columns = {n: np.ascontiguousarray(block[n]) for n in block.dtype.names}
        base.register("given", pa.table(columns))
        base.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
    asof = (
        "SELECT d.ts_event_ns, bid_ticks FROM dealt d ASOF JOIN quoted q "
        "ON d.key = q.key AND d.ts_event_ns >= q.ts_event_ns"
    )
    interval = (
        "SELECT d.ts_event_ns, q.ts_event_ns AS other FROM dealt d JOIN quoted q ON d.key = q.key "
        f"AND q.ts_event_ns BETWEEN d.ts_event_ns AND d.ts_event_ns + {WITHIN_NS}"
    )
    found = {}
    for name, query in (("asof", asof), ("interval", interval)):
        best_s, made = _best(lambda: base.execute(query).fetchnumpy(), min(rounds, 2))  # noqa: B023
        found[name] = (best_s, list(made.values()))
    return found
