"""A pattern with what did not happen: a large order, withdrawn at once, and nothing of it filled.

Then the same the other way round: an order that nobody has touched in all that time. There the
`without` is the end, so it is told by the timer, when `within` has passed and not one event sooner.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.market import ADD, CANCEL
from onetape.sim import write_file


@ot.record
class Large:
    ts_event_ns: ot.i64
    order_id: ot.u64
    qty_lots: ot.i64
    rested_ns: ot.i64
    instrument_id: ot.u32


def is_large(e):
    return e.action == ADD and e.qty_lots >= 3_000


events = ot.source("itch").events()
flash = (
    ot.Pattern(by="instrument_id", within="50ms", at_most=16)
    .begin("order", is_large)
    .without("fill", lambda e, m: e.order_id == m.order.order_id and e.action != CANCEL)
    .then("gone", lambda e, m: e.order_id == m.order.order_id and e.action == CANCEL)
    .emit(lambda m: Large(m.end_ns, m.order.order_id, m.order.qty_lots, m.end_ns - m.start_ns,
                          m.order.instrument_id))
)  # fmt: skip
stays = (
    ot.Pattern(by="instrument_id", within="5s", at_most=64)
    .begin("order", is_large)
    .without("touch", lambda e, m: e.order_id == m.order.order_id)
    .emit(lambda m: Large(m.end_ns, m.order.order_id, m.order.qty_lots, m.end_ns - m.start_ns,
                          m.order.instrument_id))
)  # fmt: skip

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=7, instruments=20, seconds=10.0, episodes=0)
    results = ot.run(ot.Pipeline(flash=events >> flash, stays=events >> stays), file=day)
for row in results.flash.to_dicts()[:5]:
    print(f"{row['symbol']:6s} {row['qty_lots']:,} lots were there for {row['rested_ns']:,} ns")
print(f"{len(results.flash.rows)} large orders went within 50 ms, {len(results.stays.rows)} stayed")
