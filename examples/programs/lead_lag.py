import onetape as ot                           # Two feeds, keyed state, an operator of one's own
from onetape import market as mk

@ot.record
class Edge:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    ticks: ot.i64

@ot.operator(key="asset_id")                   # annotated attributes are one key's state
class LeadLag:
    mid: ot.i64 = ot.UNSET
    seen_ns: ot.i64 = 0

    def on_lead(self, q: mk.TopOfBook) -> None:
        self.mid, self.seen_ns = (q.bid_price_ticks + q.ask_price_ticks) // 2, q.ts_event_ns

    def on_lag(self, t: mk.Trade, *, edge: ot.Ticks = 3, max_age: ot.Duration = "5ms") -> Edge | None:
        if self.mid == ot.UNSET or t.ts_event_ns - self.seen_ns > max_age:
            return None
        d = self.mid - t.price_ticks
        return Edge(t.ts_event_ns, t.asset_id, d) if abs(d) >= edge else None

a, b = (ot.source(u).on_grid("0.01") for u in ("binance:BTCUSDT", "kraken:BTC/USD"))
pipeline = ot.Pipeline(edge=LeadLag(lead=a.top_of_book(), lag=b.trades(), order="arrival") >> ot.udp("127.0.0.1:9000"))
