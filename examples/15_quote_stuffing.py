"""A pattern as a count: six cancels of one instrument within 10 ms, against the planted ones.

`times=6` is six events; `skip="past_last"` tells each cancel in one match at most. Seven cancels
are one match and the beginning of the next: how long a burst is, `burst_cancel` of example 10 says.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape.market import CANCEL, MODIFY
from onetape.sim import write_file


@ot.record
class Stuffing:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    took_ns: ot.i64
    first_sequence: ot.i64
    last_sequence: ot.i64


stuffing = (
    ot.Pattern(by="instrument_id", within="10ms", at_most=16, skip="past_last")
    .begin("cancels", lambda e: e.action == CANCEL or e.action == MODIFY, times=6)
    .emit(lambda m: Stuffing(m.end_ns, m.cancels.first.instrument_id, m.end_ns - m.start_ns,
                             m.cancels.first.sequence, m.cancels.last.sequence))
)  # fmt: skip
pipeline = ot.Pipeline(stuffing=ot.source("itch").events() >> stuffing)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    planted = write_file(day, seed=7, instruments=50, seconds=4.0, episodes=3).labels
    found = ot.run(pipeline, file=day).stuffing.to_dicts()
for row in found[:5]:
    took = f"{row['took_ns'] / 1e6:.1f} ms"
    print(f"{row['symbol']:6s} messages {row['first_sequence']} to {row['last_sequence']}: {took}")

assert {row["symbol"] for row in found} == {episode.symbol for episode in planted}
print(f"{len(found)} times six cancels, all of them in the {len(planted)} planted episodes")
