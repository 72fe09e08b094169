"""A window of one's own: who was the aggressor, over one second, moved every quarter.

An aggregate has fields, `add` for an event, `merge` for two parts of a window, and `result`.
"""

import tempfile
from pathlib import Path

import numpy as np

import onetape as ot
from onetape import market as mk
from onetape.sim import write_file


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

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=5, instruments=10, seconds=3.0, messages_per_s=3_000, episodes=0)
    rows = ot.run(pipeline, file=day).pressure.rows  # a NumPy array, fields by name

busiest = np.argmax(rows["bought_lots"] + rows["sold_lots"])
for row in rows[rows["instrument_id"] == rows["instrument_id"][busiest]]:
    bar = "+" * (row["bought_lots"] // 400) + "-" * (row["sold_lots"] // 400)
    at = str(row["ts_event_ns"].astype("datetime64[ns]"))[11:23]
    print(f"{at}  bought {row['bought_lots']:>6,}  sold {row['sold_lots']:>6,}  {bar}")
