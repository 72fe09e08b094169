import onetape as ot                           # A pattern over own orders and the public book
from onetape.market import ADD, FILL, CANCEL

@ot.record
class Spoof:
    ts_event_ns: ot.i64
    wall_id: ot.u64
    fill_id: ot.u64

mine = ot.source("fix://dropcopy:9880").orders().with_book(ot.source("itch+udp://239.192.0.1:5000"))
spoof = (ot.Pattern(by="account_id", within="2s", at_most=64, when_full="drop_oldest")
         .begin("wall", lambda e: e.action == ADD and e.qty_lots > 10 * e.level_median_lots)
         .then("fill", lambda e, m: e.action == FILL and e.side != m.wall.side)
         .then("pull", lambda e, m: e.action == CANCEL and e.order_id == m.wall.order_id)
         .emit(lambda m: Spoof(m.pull.ts_event_ns, m.wall.order_id, m.fill.order_id)))
pipeline = ot.Pipeline(spoof=mine >> spoof >> ot.cases("desk-a", evidence="±5s"))
