"""An operator of one's own: two inputs, state by key, a setting; and the class in plain Python.

Each trade is compared with the quote before it: how far from the middle did it print?
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape import market as mk
from onetape.sim import write_file


@ot.record
class Away:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    half_ticks: ot.i64  # from the middle of the quote, in halves of a tick: an integer


@ot.operator(key="instrument_id")
class FarTrades:
    """Annotated attributes are the state of one instrument; parameters after * are settings."""

    sequence: ot.i64 = 0  # of the newest quote
    middle_x2: ot.i64 = ot.UNSET  # its bid + ask
    before_x2: ot.i64 = ot.UNSET  # the same of the quote before it

    def on_quote(self, q: mk.TopOfBook) -> None:
        self.sequence, self.before_x2 = q.sequence, self.middle_x2
        one_sided = q.bid_price_ticks == ot.UNSET or q.ask_price_ticks == ot.UNSET
        self.middle_x2 = ot.UNSET if one_sided else q.bid_price_ticks + q.ask_price_ticks

    def on_trade(self, t: mk.Trade, *, at_least: ot.Ticks = 100) -> Away | None:
        # Of one message the book gives the quote first: a trade's own quote is what it left behind.
        middle_x2 = self.before_x2 if self.sequence == t.sequence else self.middle_x2
        if middle_x2 == ot.UNSET or abs(2 * t.price_ticks - middle_x2) < 2 * at_least:
            return None
        return Away(t.ts_event_ns, t.instrument_id, 2 * t.price_ticks - middle_x2)


feed = ot.source("itch")
pipeline = ot.Pipeline(away=FarTrades(quote=feed.top_of_book(), trade=feed.trades(), at_least=500))

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=3, instruments=20, seconds=2.0, episodes=0)
    away = ot.run(pipeline, file=day).away
farthest = sorted(away.to_dicts(), key=lambda row: -abs(row["half_ticks"]))
for row in farthest[:5]:
    print(f"{row['symbol']:6s} {row['half_ticks'] / 20_000:+.4f} from the middle")

state = FarTrades.source()  # the class as written, without the compiler: for tests, debuggers
state.on_quote(mk.TopOfBook(0, 990_000, 1_010_000, 100, 100, 1, 7, 0))
trade = mk.Trade(5, 1_010_000, 100, 1, 2, 2, 7, mk.ASK, 0, ord("E"))
assert state.on_trade(trade, at_least=500) == Away(5, 7, 20_000)
print("plain Python gives the same record")
