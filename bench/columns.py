"""The same three steps said by columns, by classes, and by kernels; one core, interleaved rounds.

    trades joined with the quote in force, those that cross it, what they cost

All three give the same rows from the same nodes, so their digests must be equal. NumPy counts the
rows a fourth way.
"""

import time
from typing import Any

import numpy as np

import onetape as ot
from onetape import c
from onetape.engine.digest import digests_of
from onetape.engine.frames import FramePacker
from onetape.market import TopOfBook, Trade
from onetape.runtimes import batch

INSTRUMENTS = 64
BLOCK = 1024

trades, tops = ot.source(Trade, name="trades"), ot.source(TopOfBook, name="tops")

joined = trades.asof_join(tops, by="instrument_id")
crossing = joined.filter(c.ask_price_ticks.is_set(), c.price_ticks > c.ask_price_ticks)
COLUMNS = crossing.select(
    c.instrument_id,
    over_ticks=c.price_ticks - c.ask_price_ticks,
    notional=c.price_ticks * c.qty_lots,
)
Joined: Any = joined.of
Cost: Any = COLUMNS.of


@ot.operator(key="instrument_id")
class Join:
    bid_price_ticks: ot.i64 = 0
    ask_price_ticks: ot.i64 = 0
    bid_qty_lots: ot.i64 = 0
    ask_qty_lots: ot.i64 = 0
    asset_id: ot.i64 = 0
    seen: ot.i64 = 0

    def on_top(self, q: TopOfBook) -> None:
        self.bid_price_ticks, self.ask_price_ticks = q.bid_price_ticks, q.ask_price_ticks
        self.bid_qty_lots, self.ask_qty_lots = q.bid_qty_lots, q.ask_qty_lots
        self.asset_id, self.seen = q.asset_id, 1

    def on_trade(self, t: Trade) -> Joined | None:
        if self.seen == 0:
            return None
        return Joined(
            t.ts_event_ns,
            t.price_ticks,
            t.qty_lots,
            t.order_id,
            t.match_id,
            t.sequence,
            t.instrument_id,
            t.side,
            t.flags,
            t.kind,
            t.asset_id,
            t.reserved,
            self.bid_price_ticks,
            self.ask_price_ticks,
            self.bid_qty_lots,
            self.ask_qty_lots,
            self.asset_id,
        )


@ot.operator
class Crossing:
    def on_joined(self, j: Joined) -> Joined | None:
        if j.ask_price_ticks == ot.UNSET or j.price_ticks <= j.ask_price_ticks:
            return None
        return j


@ot.operator
class Costs:
    def on_joined(self, j: Joined) -> Cost | None:
        over = j.price_ticks - j.ask_price_ticks
        return Cost(j.ts_event_ns, j.instrument_id, over, j.price_ticks * j.qty_lots, j.flags)


@ot.kernel
def keep_top(state, q):
    state.bid_price_ticks = q.bid_price_ticks
    state.ask_price_ticks = q.ask_price_ticks
    state.bid_qty_lots = q.bid_qty_lots
    state.ask_qty_lots = q.ask_qty_lots
    state.asset_id = q.asset_id
    state.seen = 1


@ot.kernel
def join(state, t, j):
    j.ts_event_ns = t.ts_event_ns
    j.price_ticks = t.price_ticks
    j.qty_lots = t.qty_lots
    j.order_id = t.order_id
    j.match_id = t.match_id
    j.sequence = t.sequence
    j.instrument_id = t.instrument_id
    j.side = t.side
    j.flags = t.flags
    j.kind = t.kind
    j.asset_id = t.asset_id
    j.bid_price_ticks = state.bid_price_ticks
    j.ask_price_ticks = state.ask_price_ticks
    j.bid_qty_lots = state.bid_qty_lots
    j.ask_qty_lots = state.ask_qty_lots
    j.asset_id_right = state.asset_id


@ot.kernel
def cost(j, made):
    made.ts_event_ns = j.ts_event_ns
    made.instrument_id = j.instrument_id
    made.over_ticks = j.price_ticks - j.ask_price_ticks
    made.notional = j.price_ticks * j.qty_lots
    made.flags = j.flags


@ot.operator(key="instrument_id")
class KernelJoin:
    bid_price_ticks: ot.i64 = 0
    ask_price_ticks: ot.i64 = 0
    bid_qty_lots: ot.i64 = 0
    ask_qty_lots: ot.i64 = 0
    asset_id: ot.i64 = 0
    seen: ot.i64 = 0

    def on_top(self, q: TopOfBook) -> None:
        keep_top(self, q)

    def on_trade(self, t: Trade, out: ot.UpTo[1, Joined]) -> None:
        if self.seen != 0:
            join(self, t, out.row())


@ot.operator
class KernelCosts:
    def on_joined(self, j: Joined, out: ot.UpTo[1, Cost]) -> None:
        cost(j, out.row())


FORMS = {
    "columns": ot.Pipeline(cost=COLUMNS),
    "classes": ot.Pipeline(cost=Costs(Crossing(Join(trade=trades, top=tops)))),
    "kernels": ot.Pipeline(cost=KernelCosts(Crossing(KernelJoin(trade=trades, top=tops)))),
}


def run(events: int = 2_000_000, rounds: int = 7, seed: int = 1) -> dict[str, Any]:
    """ns an event of each form, best of `rounds`; answer_ok: equal digests, and NumPy's count."""
    runs, expected = _input(events, seed)
    best_s = dict.fromkeys(FORMS, float("inf"))
    digests, rows = dict[str, str](), dict[str, int]()
    for number in range(rounds + 1):
        for name, pipeline in FORMS.items():
            engine = batch.make_engine(pipeline)
            digest = digests_of(engine.plan)["cost"] if number == 0 else None
            rows[name] = 0
            began_s = time.perf_counter()
            for _, block, origins in batch.rows_of(engine, runs):
                rows[name] += len(block)
                if digest is not None:
                    digest.update(block, origins)
            if digest is not None:  # the first round is not measured
                digests[name] = digest.hexdigest()
            else:
                best_s[name] = min(best_s[name], time.perf_counter() - began_s)
    ns = {f"{name}_ns_per_event": round(s / events * 1e9, 2) for name, s in best_s.items()}
    return {
        "answer_ok": len(set(digests.values())) == 1 and set(rows.values()) == {expected},
        **ns,
        "slowest_to_fastest": round(max(best_s.values()) / min(best_s.values()), 3),
        "rows": expected,
        "events": events,
        "rounds": rounds,
    }


def _input(events: int, seed: int) -> tuple[list[Any], int]:
    """Blocks of quotes and trades in turns, and how many trades cross."""
    rng, half = np.random.default_rng(seed), events // 2
    quotes, deals = np.zeros(half, TopOfBook.dtype), np.zeros(half, Trade.dtype)
    for block in (quotes, deals):
        block["ts_event_ns"] = np.cumsum(rng.integers(0, 2000, half))
        block["instrument_id"] = rng.integers(0, INSTRUMENTS, half)
    quotes["ask_price_ticks"] = 10_000 + rng.integers(-50, 51, half)
    deals["price_ticks"] = 10_000 + rng.integers(-50, 51, half)
    deals["qty_lots"] = rng.integers(1, 9, half) * 100
    packers = FramePacker(0), FramePacker(1)
    asks, expected, runs = np.full(INSTRUMENTS, 2**62), 0, []
    for i in range(0, half, BLOCK):
        quoted, dealt = quotes[i : i + BLOCK], deals[i : i + BLOCK]
        asks[quoted["instrument_id"]] = quoted["ask_price_ticks"]
        expected += int((dealt["price_ticks"] > asks[dealt["instrument_id"]]).sum())
        for packer, block in ((packers[1], quoted), (packers[0], dealt)):
            buffer, begin, end = packer.data(block.tobytes())
            runs.append((buffer.copy(), begin, end))
    return [*runs, *(packer.end() for packer in packers)], expected
