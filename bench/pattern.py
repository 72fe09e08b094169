"""A pattern of three steps over own orders, one core, beside the loop that one writes in Python.

    wall: a large order; fill: an execution on the other side; pull: the wall is withdrawn

Once with a first step that hardly ever fits, once with one that fits every twentieth event, so
that most accounts have partial matches open. `rest` is the same pipeline with a filter in place of
the pattern: what that costs by itself is the difference. Answers must be equal, row by row. Times
are of the thread: what others take from its processor meanwhile is not counted.
"""

import time
from typing import Any

import numpy as np

import onetape as ot
from onetape import c
from onetape.engine.frames import frames_of
from onetape.market import ADD, CANCEL, FILL
from onetape.runtimes import batch

ACCOUNTS = 1_000
BLOCK = 4096
WITHIN_NS = 2_000_000_000


@ot.record
class Order:
    ts_event_ns: ot.i64
    order_id: ot.u64
    qty_lots: ot.i64
    account_id: ot.u32
    action: ot.u8
    side: ot.u8


@ot.record
class Spoof:
    ts_event_ns: ot.i64
    wall_id: ot.u64
    fill_id: ot.u64


orders = ot.source(Order)
spoof = (
    ot.Pattern(by="account_id", within=WITHIN_NS, at_most=64, when_full="drop_oldest")
    .begin("wall", lambda e: e.action == ADD and e.qty_lots > 1_000)
    .then("fill", lambda e, m: e.action == FILL and e.side != m.wall.side)
    .then("pull", lambda e, m: e.action == CANCEL and e.order_id == m.wall.order_id)
    .emit(lambda m: Spoof(m.pull.ts_event_ns, m.wall.order_id, m.fill.order_id))
)


def run(events: int = 2_000_000, rounds: int = 7, seed: int = 1) -> dict[str, Any]:
    """ns an event, best of `rounds`; answer_ok: the matches are those of the loop."""
    found: dict[str, Any] = {"answer_ok": True, "events": events, "rounds": rounds}
    for name, walls in (("rare", 1 / 2_000), ("often", 1 / 20)):
        made = _orders(events, walls, seed)
        payloads = [(None, made[i : i + BLOCK].tobytes()) for i in range(0, events, BLOCK)]
        runs = [(buffer.copy(), begin, end) for buffer, begin, end in frames_of(payloads)]
        large = orders.filter(c.action == ADD, c.qty_lots > 1_000)
        times = {
            "pattern": _measured(ot.Pipeline(found=orders >> spoof), runs, rounds),
            "rest": _measured(ot.Pipeline(found=large), runs, rounds),
        }
        some = made[: events // 10]
        began_s = time.thread_time()
        expected = in_python(some)
        python_s = time.thread_time() - began_s
        matches = times["pattern"][1]
        now = matches[matches["ts_event_ns"] <= some["ts_event_ns"][-1]]
        found["answer_ok"] &= [tuple(row) for row in now.tolist()] == expected
        found |= {
            f"{name}_ns_per_event": round(times["pattern"][0] / events * 1e9, 1),
            f"{name}_rest_ns_per_event": round(times["rest"][0] / events * 1e9, 1),
            f"{name}_python_ns_per_event": round(python_s / len(some) * 1e9),
            f"{name}_matches": len(matches),
        }
    return found


def in_python(made: Any) -> list[Any]:
    """The same, as one writes it: a list of walls for each account."""
    walls: dict[int, list[list[int]]] = {}
    found = []
    rows = zip(*(made[name].tolist() for name in Order._fields), strict=True)  # type: ignore[attr-defined]
    for ts_ns, order_id, qty_lots, account_id, action, side in rows:
        mine = walls.get(account_id)
        if mine:
            kept = []
            for wall in mine:
                wall_ns, wall_id, wall_side, fill_id = wall
                if ts_ns - wall_ns >= WITHIN_NS:
                    continue
                if fill_id < 0:
                    if action == FILL and side != wall_side:
                        wall[3] = order_id
                elif action == CANCEL and order_id == wall_id:
                    found.append((ts_ns, wall_id, fill_id))
                    continue
                kept.append(wall)
            walls[account_id] = kept
        if action == ADD and qty_lots > 1_000:
            walls.setdefault(account_id, []).append([ts_ns, order_id, side, -1])
            walls[account_id] = walls[account_id][-64:]
    return found


def _measured(pipeline: Any, runs: Any, rounds: int) -> tuple[float, Any]:
    best_s, rows = float("inf"), np.zeros(0, Spoof.dtype)  # type: ignore[attr-defined]
    for _ in range(rounds):
        engine = batch.make_engine(pipeline)
        blocks = []
        began_s = time.thread_time()
        for _, block, _ in batch.rows_of(engine, runs):
            blocks.append(block.copy())
        best_s = min(best_s, time.thread_time() - began_s)
        rows = np.concatenate(blocks) if blocks else rows
    return best_s, rows


def _orders(events: int, walls: float, seed: int) -> Any:
    """Orders of accounts, 20 us apart: some are large, and half of these are soon withdrawn."""
    rng = np.random.default_rng(seed)
    made = np.zeros(events, Order.dtype)  # type: ignore[attr-defined]
    made["ts_event_ns"] = np.cumsum(rng.integers(0, 40_000, events))
    made["order_id"] = np.arange(events)
    made["account_id"] = rng.integers(0, ACCOUNTS, events)
    made["action"] = rng.choice([ADD, ADD, CANCEL, FILL], events)
    made["side"] = rng.choice([65, 66], events)
    made["qty_lots"] = rng.integers(1, 1_000, events)
    large = np.flatnonzero(rng.random(events) < walls)
    made["action"][large], made["qty_lots"][large] = ADD, 5_000
    later = large + rng.integers(2_000, 30_000, len(large))
    large, later = large[later < events], later[later < events]
    half = rng.random(len(large)) < 0.5
    for name in ("order_id", "account_id", "side"):
        made[name][later[half]] = made[name][large[half]]
    made["action"][later[half]] = CANCEL
    return made
