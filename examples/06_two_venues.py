"""Two venues' tables into one operator: a CSV and a frame, each with its own names and units.

A fast venue leads, a slow one lags: say so when the slow one still trades at the old price.
"""

import tempfile
from pathlib import Path

import pyarrow as pa

import onetape as ot
from onetape import market as mk

FAST = """\
time,sym,px,size
2026-01-05T09:30:00.010,ACME,10.00,200
2026-01-05T09:30:00.012,ACME,10.07,100
"""
SLOW = pa.table(  # a Polars or pandas frame, or a Parquet file, would do as well
    {
        "exchange_ms": [1767623400011, 1767623400013, 1767623400018],
        "ticker": ["ACME", "ACME", "ACME"],
        "price": [9.99, 9.99, 9.99],
    }
)


@ot.record
class Edge:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ticks: ot.i64


@ot.operator(key="instrument_id")
class LeadLag:
    lead_ticks: ot.i64 = ot.UNSET
    seen_ns: ot.i64 = 0

    def on_lead(self, t: mk.Trade) -> None:
        self.lead_ticks, self.seen_ns = t.price_ticks, t.ts_event_ns

    def on_lag(self, t: mk.Trade, *, edge: ot.Ticks = 3, age: ot.Duration = "5ms") -> Edge | None:
        if self.lead_ticks == ot.UNSET or t.ts_event_ns - self.seen_ns > age:
            return None
        away = self.lead_ticks - t.price_ticks
        return Edge(t.ts_event_ns, t.instrument_id, away) if abs(away) >= edge else None


names = {"ts_event_ns": "time", "price_ticks": "px", "qty_lots": "size", "instrument_id": "sym"}
theirs = {"ts_event_ns": "exchange_ms", "price_ticks": "price", "instrument_id": "ticker"}
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "fast.csv"
    file.write_text(FAST)
    fast = ot.read(file, mk.Trade, columns=names, tick="0.01", tz="America/New_York", name="fast")
    slow = ot.read(SLOW, mk.Trade, columns=theirs | {"qty_lots": None}, tick="0.01", time_unit="ms")
    results = ot.run(ot.Pipeline(edge=LeadLag(lead=fast, lag=slow, edge=4)))
print(results.edge)  # 1 tick at first: too near; 8 ticks; and then the other price is 6 ms old
assert results.edge.to_arrow()["ticks"].to_pylist() == [8]
