"""A pattern over trades: the same size and price twice, once a buy and once a sale, at once.

Nobody's name is on the public tape, so this is a list to look at, not a verdict. `then_any` gives
every pair, not only the next that fits.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.sim import write_file


@ot.record
class Wash:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    qty_lots: ot.i64
    first_match: ot.u64
    second_match: ot.u64
    apart_ns: ot.i64
    instrument_id: ot.u32


wash = (
    ot.Pattern(by="instrument_id", within="500ms", at_most=32, when_full="drop_oldest")
    .begin("one", lambda t: t.qty_lots >= 100)
    .then_any("other", lambda t, m: t.side != m.one.side and t.qty_lots == m.one.qty_lots
              and t.price_ticks == m.one.price_ticks)
    .emit(lambda m: Wash(m.end_ns, m.one.price_ticks, m.one.qty_lots, m.one.match_id,
                         m.other.match_id, m.end_ns - m.start_ns, m.one.instrument_id))
)  # fmt: skip
pipeline = ot.Pipeline(wash=ot.source("itch").trades() >> wash)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=7, instruments=20, seconds=10.0, episodes=0)
    found = ot.run(pipeline, file=day).wash.to_dicts()
for row in found[:5]:
    at = f"{row['qty_lots']} at {row['price_ticks'] / 10_000:.2f}"
    print(f"{row['symbol']:6s} {at}, back {row['apart_ns'] / 1e6:,.0f} ms later")
print(f"{len(found)} pairs of trades cancel each other out")
