"""A timer: say when an instrument has gone quiet, and when it speaks again.

`wake_ns` is when `on_timer` is due, in event time: no clock is read, so a replay fires the same.
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape import market as mk
from onetape.sim import write_file


@ot.record
class Quiet:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    began: ot.u8  # 1: nothing for `after`; 0: a quote came again
    since_ns: ot.i64  # of the last quote


@ot.operator(key="instrument_id")
class GoneQuiet:
    wake_ns: ot.i64 = ot.UNSET
    instrument: ot.i64 = 0
    last_ns: ot.i64 = 0
    is_quiet: ot.i64 = 0

    def on_quote(self, q: mk.TopOfBook, *, after: ot.Duration = "1s") -> Quiet | None:
        since_ns, self.last_ns = self.last_ns, q.ts_event_ns
        self.instrument = q.instrument_id
        self.wake_ns = q.ts_event_ns + after  # moves the timer: each key has one
        if self.is_quiet == 0:
            return None
        self.is_quiet = 0
        return Quiet(q.ts_event_ns, q.instrument_id, 0, since_ns)

    def on_timer(self, now_ns: int) -> Quiet | None:
        self.is_quiet = 1
        return Quiet(now_ns, self.instrument, 1, self.last_ns)


pipeline = ot.Pipeline(quiet=GoneQuiet(ot.source("itch").top_of_book(), after="800ms"))

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=2, instruments=8, seconds=5.0, messages_per_s=60, episodes=0)
    table = ot.run(pipeline, file=day).quiet

symbols = table.to_arrow()["symbol"].to_pylist()
for symbol, row in list(zip(symbols, table.rows, strict=True))[:10]:
    silent_ms = (row["ts_event_ns"] - row["since_ns"]) / 1e6
    what = "is quiet" if row["began"] else f"quotes again after {silent_ms:,.0f} ms"
    print(f"{str(row['ts_event_ns'].astype('datetime64[ns]'))[11:23]}  {symbol:5s} {what}")
print(f"{table.rows['began'].sum()} silences of more than 800 ms")
