"""Testing an operator: rows in, time on, rows out; then everything that must hold, in one call.

`testing.check` cuts the input anywhere, runs it twice, compiled and as plain Python, and looks for
overflow. With Hypothesis the rows are those nobody thought of.
"""

from hypothesis import given, settings

import onetape as ot
from onetape import market as mk
from onetape import testing
from onetape.testing import strategies as ots


@ot.record
class Volume:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    qty_lots: ot.i32  # a day of a busy instrument has more than 2**31 of them


@ot.operator(key="instrument_id")
class Volumes:
    qty_lots: ot.i64 = 0

    def on_trade(self, t: mk.Trade, *, every: ot.Lots = 100) -> Volume | None:
        before, self.qty_lots = self.qty_lots, self.qty_lots + t.qty_lots
        if before // every == self.qty_lots // every:
            return None
        return Volume(t.ts_event_ns, t.instrument_id, self.qty_lots)


pipeline = ot.Pipeline(volume=Volumes(ot.source(mk.Trade), every=100))


def trade(ts_ns: int, qty_lots: int) -> mk.Trade:
    return testing.row(mk.Trade, ts_event_ns=ts_ns, instrument_id=7, qty_lots=qty_lots)


t = testing.Run(pipeline).feed([trade(1, 60), trade(2, 60), trade(3, 60)])
assert t.rows("volume") == [Volume(2, 7, 120)]
print("rows in, rows out: as expected")


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(ots.trades(keys=[1, 2]))
def test_volume_only_grows(rows: list[mk.Trade]) -> None:
    found = testing.Run(pipeline).feed(rows).rows("volume")
    for key in (1, 2):
        lots = [row.qty_lots for row in found if row.instrument_id == key]
        assert lots == sorted(lots)


test_volume_only_grows()
print("Hypothesis: holds for ten streams that it made up")
try:
    testing.check(pipeline, trade=[trade(1, 2**30), trade(2, 2**30)])
except testing.CheckFailed as error:
    print(f"check: {str(error).splitlines()[0]}")
