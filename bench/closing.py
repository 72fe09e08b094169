"""Windows of 60 000 keys that end at one moment: how long is the longest turn of the driver?

A turn is what the loop does between two times that rows leave. Each kind of window gets a trade of
every key, then one later trade that ends them all; every key must give one row. `unbounded_us` is
the longest turn where a turn may fire all timers that are due. All in time of the processor: what
else the machine does is no stall of this loop.
"""

import time
from typing import Any

import numpy as np

import onetape as ot
from onetape import c
from onetape.engine import layout, planner
from onetape.engine.engine import Engine
from onetape.engine.frames import frames_of
from onetape.records.market import Trade

SECOND_NS = 10**9
BLOCK = 4096
ROWS = 1 << 16  # of the output ring: it is never full


def run(keys: int = 60_000, rounds: int = 5, seed: int = 1) -> dict[str, Any]:
    """The longest turn while all end, the median of `rounds`; answer_ok: one row a key."""
    rng = np.random.default_rng(seed)
    trades = np.zeros(keys, Trade.dtype)
    trades["ts_event_ns"] = np.sort(rng.integers(0, SECOND_NS // 2, keys))
    trades["instrument_id"] = rng.permutation(keys)
    trades["qty_lots"] = 1
    last = np.zeros(1, Trade.dtype)
    last["ts_event_ns"] = 60 * SECOND_NS
    last["instrument_id"] = 2**31
    blocks = [trades[i : i + BLOCK] for i in range(0, keys, BLOCK)]
    shown = {}
    for name, make in _windows().items():
        bounded, whole = (
            [_close(plan, turn, blocks, last) for _ in range(rounds)]
            for plan, turn in (_driver(make, layout.TIMERS_MAX), _driver(make, 1 << 30))
        )
        longest_us = sorted(one["longest_us"] for one in bounded)
        shown[name] = {
            "answer_ok": all(one["keys"] == list(range(keys)) for one in bounded + whole),
            "turns": bounded[0]["turns"],
            "longest_turn_us": longest_us[rounds // 2],
            "worst_turn_us": longest_us[-1],
            "unbounded_us": sorted(one["longest_us"] for one in whole)[rounds // 2],
            "ns_per_key": round(min(one["all_us"] for one in bounded) * 1000 / keys),
        }
    answer_ok = all([one.pop("answer_ok") for one in shown.values()])
    return {"answer_ok": answer_ok, "keys": keys, "timers_a_turn": layout.TIMERS_MAX, "of": shown}


def _windows() -> dict[str, Any]:
    by, many, half = c.instrument_id, 1 << 16, c.qty_lots.quantile(0.5)
    return {
        "tumbling": lambda t: t.window("1s", by=by, capacity=many).agg(n=ot.count()),
        "session": lambda t: t.session("1s", by=by, capacity=many).agg(n=ot.count()),
        "quantile": lambda t: t.window("1s", by=by, capacity=many).agg(half=half),
    }


def _driver(make: Any, timers_max: int) -> tuple[Any, Any]:
    """(plan, compiled driver) of a window that fires so many timers in one turn."""
    kept, layout.TIMERS_MAX = layout.TIMERS_MAX, timers_max
    try:
        plan = planner.plan(ot.Pipeline(n=make(ot.source(Trade))))
    finally:
        layout.TIMERS_MAX = kept
    return plan, Engine(plan, ROWS).turn


def _close(plan: Any, turn: Any, blocks: list[Any], last: Any) -> dict[str, Any]:
    """Fill a new engine, then end all windows with `last`, turn by turn."""
    engine = Engine(plan, ROWS, turn)
    for buffer, begin, end in frames_of(((None, b.tobytes()) for b in blocks), end=False):
        for _ in engine.feed(buffer, begin, end):
            pass
    [(buffer, begin, end)] = frames_of([(None, last.tobytes())], end=False)
    engine.run["frame_at"] = begin
    arguments, took_ns, keys, status = engine.arguments(buffer, end), [], [], -1
    while status != layout.DONE:
        began_ns = time.thread_time_ns()
        status = turn(*arguments)
        took_ns.append(time.thread_time_ns() - began_ns)
        for _, rows, _ in engine.drain():
            keys += rows["instrument_id"].tolist()
    return {
        "longest_us": max(took_ns) // 1000,
        "all_us": sum(took_ns) // 1000,
        "turns": len(took_ns),
        "keys": sorted(keys),
    }
