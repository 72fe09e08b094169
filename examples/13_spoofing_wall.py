"""A pattern: a wall in the book, a fill on the other side, and the wall is pulled.

Three steps of one instrument within two seconds. A condition sees the event and, of the match so
far, the steps before it; what comes between does not matter (`then`).
"""

import tempfile
from pathlib import Path

import onetape as ot
from onetape import market as mk
from onetape.market import ADD, CANCEL, FILL
from onetape.sim import write_file


@ot.record
class Spoof:
    ts_event_ns: ot.i64
    wall_id: ot.u64
    wall_lots: ot.i64
    filled_lots: ot.i64
    instrument_id: ot.u32


@ot.operator
class Sided:
    """Events, but executions as the trades they are: these know the side that rested."""

    def on_event(self, e: mk.MarketEvent, out: ot.UpTo[1, mk.MarketEvent]) -> None:
        if e.action != FILL:
            out.append(e)

    def on_trade(self, t: mk.Trade, out: ot.UpTo[1, mk.MarketEvent]) -> None:
        made = out.row()
        made.ts_event_ns, made.order_id, made.qty_lots = t.ts_event_ns, t.order_id, t.qty_lots
        made.instrument_id, made.action, made.side = t.instrument_id, FILL, t.side


feed = ot.source("itch")
spoof = (
    ot.Pattern(by="instrument_id", within="2s", at_most=64, when_full="drop_oldest")
    .begin("wall", lambda e: e.action == ADD and e.qty_lots >= 3_000)
    .then("fill", lambda e, m: e.action == FILL and e.side != m.wall.side)
    .then("pull", lambda e, m: e.action == CANCEL and e.order_id == m.wall.order_id)
    .emit(lambda m: Spoof(m.pull.ts_event_ns, m.wall.order_id, m.wall.qty_lots,
                          m.fill.qty_lots, m.wall.instrument_id))
)  # fmt: skip
pipeline = ot.Pipeline(spoof=Sided(event=feed.events(), trade=feed.trades()) >> spoof)

with tempfile.TemporaryDirectory() as folder:
    day = Path(folder) / "day.itch"
    write_file(day, seed=7, instruments=20, seconds=10.0, episodes=0)
    found = ot.run(pipeline, file=day).spoof.to_dicts()
for row in found[:5]:
    print(f"{row['symbol']:6s} a wall of {row['wall_lots']:,} pulled, {row['filled_lots']} filled")
print(f"{len(found)} walls were pulled after a fill on the other side")
