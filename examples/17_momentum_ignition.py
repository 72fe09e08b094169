"""A pattern with a run: trades at ever higher prices, then one at or below where it began.

Repetition in a row is SQL's way: the very next trade must fit, or the run is over. Greedy: the run
is as long as it can be, and `m.run.last` in its own condition is the trade before.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.sim import write_file


@ot.record
class Ignition:
    ts_event_ns: ot.i64
    from_ticks: ot.i64
    top_ticks: ot.i64
    back_ticks: ot.i64
    trades: ot.i64
    instrument_id: ot.u32


ignition = (
    ot.Pattern(by="instrument_id", within="3s", at_most=64, skip="past_last")
    .begin("run", lambda t, m: m.run.count == 0 or t.price_ticks > m.run.last.price_ticks,
           times=(3, None), greedy=True, in_a_row=True)
    .then("back", lambda t, m: t.price_ticks <= m.run.first.price_ticks)
    .emit(lambda m: Ignition(m.end_ns, m.run.first.price_ticks, m.run.last.price_ticks,
                             m.back.price_ticks, m.run.count, m.back.instrument_id))
)  # fmt: skip
pipeline = ot.Pipeline(ignition=ot.source("itch").trades() >> ignition)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=7, instruments=20, seconds=20.0, episodes=0)
    found = ot.run(pipeline, file=day).ignition.to_dicts()
for row in found[:5]:
    begin, top, back = (row[f"{name}_ticks"] / 10_000 for name in ("from", "top", "back"))
    print(f"{row['symbol']:6s} {row['trades']} trades, {begin:.2f} to {top:.2f}, then {back:.2f}")
print(f"{len(found)} runs went up and came back")
