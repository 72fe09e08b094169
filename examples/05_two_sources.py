"""Two sources of records of one's own into one operator: a fast venue leads, a slow one lags.

Events are taken in the order of their frames, as on the tape. A frame says by a number which
source it is of.
"""

import onetape as ot
from onetape.engine.frames import FramePacker
from onetape.records import block_of
from onetape.runtimes import batch

MS = 1_000_000


@ot.record
class Price:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    price_ticks: ot.i64


@ot.record
class Edge:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    ticks: ot.i64


@ot.operator(key="asset_id")
class LeadLag:
    lead_ticks: ot.i64 = ot.UNSET
    seen_ns: ot.i64 = 0

    def on_lead(self, p: Price) -> None:
        self.lead_ticks, self.seen_ns = p.price_ticks, p.ts_event_ns

    def on_lag(self, p: Price, *, edge: ot.Ticks = 3, max_age: ot.Duration = "5ms") -> Edge | None:
        if self.lead_ticks == ot.UNSET or p.ts_event_ns - self.seen_ns > max_age:
            return None
        away = self.lead_ticks - p.price_ticks
        return Edge(p.ts_event_ns, p.asset_id, away) if abs(away) >= edge else None


lead, lag = ot.source(Price, name="fast"), ot.source(Price, name="slow")
pipeline = ot.Pipeline(edge=LeadLag(lead=lead, lag=lag, edge=4))

if __name__ == "__main__":
    packers = {source.name: FramePacker(n) for n, source in enumerate(pipeline.sources)}
    arrivals = [  # in the order they came in: each a block of one price here
        ("fast", 10 * MS, 100),
        ("slow", 11 * MS, 99),  # 1 tick: too near
        ("fast", 12 * MS, 107),
        ("slow", 13 * MS, 99),  # 8 ticks
        ("slow", 18 * MS, 99),  # the other price is 6 ms old
    ]
    blocks = ((name, block_of(Price, [(ts_ns, 1, ticks)])) for name, ts_ns, ticks in arrivals)
    frames = (packers[name].data(block.tobytes()) for name, block in blocks)
    engine = batch.make_engine(pipeline)
    batch.run(engine, frames, lambda name, rows, _: print(name, rows.tolist()))
