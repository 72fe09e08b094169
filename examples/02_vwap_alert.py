"""An alert in twelve lines: a trade that prints far from the VWAP of the last second.

Columns only, no operator to write. Numbers are integers: prices ticks, quantities lots.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape import c
from onetape import market as mk
from onetape.sim import write_file

trades = ot.source("itch").trades()
vwap = trades.window("1s", every="100ms", by=c.instrument_id).agg(
    vwap=mk.vwap(), lots=c.qty_lots.sum()
)
far = trades.asof_join(vwap, by=c.instrument_id, max_age="200ms").filter(
    c.lots > 1_000, (c.price_ticks - c.vwap).abs() * 10_000 > 20 * c.vwap
)
alert = far.alert("20 bp from VWAP", severity="warn", once_per="1s")
pipeline = ot.Pipeline(far=far, alert=alert)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=5, instruments=20, seconds=4.0, messages_per_s=4_000, episodes=0)
    results = ot.run(pipeline, file=day)

rows = results.far.to_dicts()
for row in rows[:6]:
    away = (row["price_ticks"] - row["vwap"]) * 10_000 / row["vwap"]
    print(f"{row['symbol']:5s} printed {away:+6.1f} bp from the VWAP of {row['lots']:,} lots")
assert all(abs(r["price_ticks"] - r["vwap"]) * 10_000 > 20 * r["vwap"] for r in rows)
print(f"{len(rows)} trades were so far away; {len(results.alert)} alerts, one a second each")
