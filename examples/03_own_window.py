"""A window of one's own: who was the aggressor, over one second, moved every quarter.

An aggregate has fields, `add` for an event, `merge` for two parts of a window, and `result`.
"""

import onetape as ot
from onetape import market as mk
from onetape.engine.frames import frames_of
from onetape.runtimes import batch
from onetape.sim import simulate


@ot.record
class Pressure:
    ts_event_ns: ot.i64  # the end of the window
    instrument_id: ot.u32
    bought_lots: ot.i64  # executions against resting asks
    sold_lots: ot.i64


@ot.aggregate
class PressureSum:
    bought_lots: ot.i64 = 0
    sold_lots: ot.i64 = 0

    def add(self, t: mk.Trade) -> None:
        if t.side == mk.ASK:
            self.bought_lots += t.qty_lots
        elif t.side == mk.BID:
            self.sold_lots += t.qty_lots

    def merge(self, later: "PressureSum") -> None:
        self.bought_lots += later.bought_lots
        self.sold_lots += later.sold_lots

    def result(self, key: int, start_ns: int, end_ns: int) -> Pressure | None:
        if self.bought_lots + self.sold_lots < 1_000:
            return None
        return Pressure(end_ns, key, self.bought_lots, self.sold_lots)


trades = ot.source("itch").trades()
pipeline = ot.Pipeline(
    pressure=ot.window(trades, PressureSum, width="1s", every="250ms", key="instrument_id")
)

if __name__ == "__main__":
    day = simulate(seed=5, instruments=10, seconds=3.0, messages_per_s=3_000, episodes=0)
    kept: list[tuple[int, int, int, int]] = []
    engine = batch.make_engine(pipeline)
    frames = frames_of([(None, day.data)])
    batch.run(engine, frames, lambda _, rows, origins: kept.extend(rows.tolist()))
    busiest = max(kept, key=lambda row: row[2] + row[3])[1]
    print(f"instrument {busiest}, seconds after 09:30 and lots")
    for end_ns, instrument, bought, sold in kept:
        if instrument == busiest:
            at_s = end_ns / 1e9 - 34_200  # midnight was left at 0
            bar = "+" * (bought // 400) + "-" * (sold // 400)
            print(f"{at_s:6.2f}  bought {bought:>6,}  sold {sold:>6,}  {bar}")
