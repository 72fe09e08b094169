"""A pattern with repetition: three large orders on one side, then the first and the last withdrawn.

`times=(3, 6)` takes three to six events; `m.layers.count`, `.first`, `.last` and `.sum` are of all
that were taken. `skip="past_last"`: an order is a layer of one match only, as is SQL's default.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.market import ADD, CANCEL, FILL
from onetape.sim import write_file


@ot.record
class Layering:
    ts_event_ns: ot.i64
    layers: ot.i64
    lots: ot.i64
    lasted_ns: ot.i64
    instrument_id: ot.u32


layering = (
    ot.Pattern(by="instrument_id", within="1s", at_most=64, when_full="drop_oldest",
               skip="past_last")
    .begin("layers", lambda e, m: e.action == ADD and e.qty_lots >= 300
           and (m.layers.count == 0 or e.side == m.layers.first.side), times=(3, 6))
    .then("fill", lambda e: e.action == FILL)
    .then("first", lambda e, m: e.action == CANCEL and e.order_id == m.layers.first.order_id)
    .then("last", lambda e, m: e.action == CANCEL and e.order_id == m.layers.last.order_id)
    .emit(lambda m: Layering(m.end_ns, m.layers.count, m.layers.sum.qty_lots,
                             m.end_ns - m.start_ns, m.layers.first.instrument_id))
)  # fmt: skip
pipeline = ot.Pipeline(layering=ot.source("itch").events() >> layering)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=7, instruments=20, seconds=10.0, episodes=0)
    found = ot.run(pipeline, file=day).layering.to_dicts()
for row in found[:5]:
    lasted = f"{row['lasted_ns'] / 1e6:,.0f} ms"
    print(f"{row['symbol']:6s} {row['layers']} layers of {row['lots']:,} in all, gone in {lasted}")
print(f"{len(found)} times layers were built and taken away around a fill")
