import onetape as ot                           # VWAP alert: columns only, no operator to write
from onetape import c, market as mk            # c.x is a column, checked against the record as you write it

trades = ot.source("itch+udp://239.192.0.1:5000").only("AAPL", "MSFT").trades()
vwap = trades.window("1s", every="100ms", by=c.instrument_id).agg(vwap=mk.vwap(), lots=c.qty_lots.sum())
far = (trades.asof_join(vwap, by=c.instrument_id, max_age="200ms")
       .filter(c.lots > 1_000, (c.price_ticks - c.vwap).abs() * 10_000 > 50 * c.vwap)
       .alert("50 bp from VWAP", severity="warn", once_per="5s"))
pipeline = ot.Pipeline(vwap=vwap >> ot.parquet("out/"), far=far >> ot.webhook("env:DESK_URL"))
