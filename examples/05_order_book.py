"""The order book: ten levels at every change, its imbalance, and the price that it leans to.

Every order is kept, at full depth; `feed.depth()` is the best ten levels of each side. The
microprice weighs bid and ask by the size on the other side.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape import market as mk
from onetape.sim import write_file

LEVELS = 10


@ot.record
class Lean:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    imbalance_permille: ot.i64  # of ten levels: +1000 all bids, -1000 all asks
    micro_ticks_x100: ot.i64  # the microprice, in hundredths of a tick


@ot.operator
def lean(d: mk.Depth) -> Lean | None:
    bids = asks = 0
    for i in range(LEVELS):
        bids += d.bid_qty_lots[i]
        asks += d.ask_qty_lots[i]
    bid_lots, ask_lots = d.bid_qty_lots[0], d.ask_qty_lots[0]
    if bid_lots == 0 or ask_lots == 0:
        return None
    weighed = d.bid_price_ticks[0] * ask_lots + d.ask_price_ticks[0] * bid_lots
    micro = 100 * weighed // (bid_lots + ask_lots)
    return Lean(d.ts_event_ns, d.instrument_id, 1000 * (bids - asks) // (bids + asks), micro)


depth = ot.source("itch").depth()
pipeline = ot.Pipeline(depth=depth, lean=lean(depth))

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=11, instruments=5, seconds=10.0, messages_per_s=1_000, episodes=0)
    results = ot.run(pipeline, file=day)

book, leans = results.depth.to_dicts()[-1], results.lean.rows[-1]
print(f"{book['symbol']}: {len(results.depth):,} changes of the ten best levels; the last one")
for i in range(5):
    print(
        f"{book['bid_qty_lots'][i]:>7} {book['bid_price_ticks'][i] / 10_000:>10.4f} | "
        f"{book['ask_price_ticks'][i] / 10_000:<10.4f} {book['ask_qty_lots'][i]:<7}"
    )
micro = leans["micro_ticks_x100"] / 100
assert book["bid_price_ticks"][0] <= micro <= book["ask_price_ticks"][0]
print(f"imbalance {leans['imbalance_permille'] / 10:+.1f} %, microprice {micro / 10_000:.5f}")
