"""A pattern with a negation: the price spikes up and comes back, and never was below its start.

`without` is of what is passed over between two steps: a trade below the start is no spike, and ends
that attempt. Prices are ticks of 0.0001.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.sim import write_file

SPIKE_TICKS = 400


@ot.record
class StopHunt:
    ts_event_ns: ot.i64
    base_ticks: ot.i64
    spike_ticks: ot.i64
    up_ns: ot.i64
    down_ns: ot.i64
    instrument_id: ot.u32


hunt = (
    ot.Pattern(by="instrument_id", within="2s", at_most=64, when_full="drop_oldest",
               skip="past_last")
    .begin("base", lambda t: t.qty_lots >= 100)
    .without("lower", lambda t, m: t.price_ticks < m.base.price_ticks)
    .then("spike", lambda t, m: t.price_ticks >= m.base.price_ticks + SPIKE_TICKS)
    .then("back", lambda t, m: t.price_ticks <= m.base.price_ticks + SPIKE_TICKS // 4)
    .emit(lambda m: StopHunt(m.end_ns, m.base.price_ticks, m.spike.price_ticks,
                             m.spike.ts_event_ns - m.start_ns, m.end_ns - m.spike.ts_event_ns,
                             m.base.instrument_id))
)  # fmt: skip
pipeline = ot.Pipeline(hunt=ot.source("itch").trades() >> hunt)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=7, instruments=20, seconds=20.0, episodes=0)
    found = ot.run(pipeline, file=day).hunt.to_dicts()
for row in found[:5]:
    up = f"{row['base_ticks'] / 10_000:.2f} to {row['spike_ticks'] / 10_000:.2f}"
    took = f"{row['up_ns'] / 1e6:,.0f} ms up, {row['down_ns'] / 1e6:,.0f} ms down"
    print(f"{row['symbol']:6s} {up}, {took}")
print(f"{len(found)} spikes came back")
