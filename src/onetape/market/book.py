"""Order books of all instruments at full depth, order by order, from the venue's own messages.

    orders   one row an order, found by its id through the index
    sides    one row a side of an instrument: where its levels are
    levels   sorted arrays, the best level last, so that what changes most is shifted least

A side's levels live in a chunk of a shared pool; a chunk that is full moves to one twice its size.
Nothing is dropped at a fixed depth. Time priority is the order's `priority`, a running number
(a replaced order gets a new one), so a queue can be rebuilt without keeping links.

Output `top` has one record each time the best price or its size changes on either side, after the
message that changed it; `trade` one for each printable execution; `depth`, where anyone reads it,
the ten best levels each time one of them changes.
"""

from typing import Any

import numpy as np

from onetape.compiled.index import COUNT, LIMIT, find, foresee, new_index
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import prefetch
from onetape.compiled.rows import row
from onetape.engine import Table, UpTo, operator
from onetape.market.levels import LEVEL, SIDE, levels_headroom
from onetape.market.orders import (
    ORDER,
    PRICE_MAX,
    QTY_MAX,
    add_order,
    cancel_order,
    execute_order,
    move_order,
)
from onetape.market.view import best, fill_depth
from onetape.market.words import COUNTERS, IMPLAUSIBLE, LIVE, META_WORDS, ROWS
from onetape.records.market import (
    ADD,
    CANCEL,
    CROSS,
    FILL,
    MODIFY,
    NOT_PRINTABLE,
    TRADE,
    Depth,
    MarketEvent,
    TopOfBook,
    Trade,
)

TOP = np.dtype(
    [
        ("bid_price_ticks", "<i8"),
        ("ask_price_ticks", "<i8"),
        ("bid_qty_lots", "<i8"),
        ("ask_qty_lots", "<i8"),
        ("changed_rank", "<i8"),
    ]
)
NOTIONAL_MAX = 1 << 48  # ticklots of one trade; 28 billion dollars at a tick of 1e-4
DEPTH_LEVELS = 10


@kernel
def is_plausible(price, qty):
    """Do sums over such trades stay within int64? An unset price does not pass."""
    if price > PRICE_MAX or price < -PRICE_MAX or qty > QTY_MAX:
        return False
    return price == 0 or qty <= NOTIONAL_MAX // abs(price)


@kernel
def book_headroom(book):
    """Messages the book can surely take: each may bring one order and one chunk."""
    return min(book.index[LIMIT] - book.index[COUNT], levels_headroom(book.levels, book.meta))


@kernel
def foresee_order(book, order_id, later_id):
    """The next message speaks of `order_id`, the one behind it of `later_id` (0: of none).

    An order is two steps away: its entry in the index, then its row. So the entry is asked for two
    messages before it is needed, and the row, which the entry names, one message before.
    """
    if later_id != 0:
        foresee(book.index, later_id)
    slot = find(book.index, order_id) if order_id != 0 else -1
    if slot >= 0:
        prefetch(book.orders, slot)


def canonical_book(book: Any) -> list[Any]:
    """All orders, by id, and the counters: what two equal books have in common."""
    handed_out = book.orders[: int(book.meta[ROWS])]
    live = handed_out[handed_out["qty_lots"] > 0]
    live = np.sort(live, order="order_id")
    fields = ("order_id", "price_ticks", "qty_lots", "priority", "instrument_id", "side")
    counters = book.meta[[LIVE, *COUNTERS.values()]]
    return [*(np.ascontiguousarray(live[name]) for name in fields), counters]


@operator
class Book:
    """Market events in, top of book, trades and depth out."""

    apart_by = "instrument_id"  # no two instruments share anything in its tables

    capacity = {"orders": 1 << 22, "instruments": 1 << 16, "levels": 1 << 22}  # noqa: RUF012
    orders = Table(lambda size: np.zeros(size["orders"], ORDER))
    index = Table(lambda size: new_index(size["orders"]))
    sides = Table(lambda size: np.zeros(2 * size["instruments"], SIDE))
    levels = Table(lambda size: np.zeros(size["levels"], LEVEL))
    tops = Table(lambda size: np.zeros(size["instruments"], TOP))
    meta = Table(lambda size: np.zeros(META_WORDS, np.int64))
    headroom = book_headroom
    foresee = foresee_order
    canonical = canonical_book

    def on_event(
        self,
        e: MarketEvent,
        top: UpTo[1, TopOfBook],
        trade: UpTo[1, Trade],
        depth: UpTo[1, Depth],
        *,
        with_depth: int = 0,
    ) -> None:
        instrument = e.instrument_id
        if instrument >= self.tops.shape[0]:
            raise OverflowError("an instrument_id beyond the capacity of the book's instruments")
        was = row(self.tops, instrument)
        was.changed_rank = DEPTH_LEVELS
        if e.action == ADD:
            add_order(self, e.order_id, instrument, e.side, e.price_ticks, e.qty_lots)
        elif e.action == CANCEL:
            cancel_order(self, e.order_id, instrument, e.qty_lots, e.flags)
        elif e.action == MODIFY:
            move_order(self, e.order_id, instrument, e.other_id, e.price_ticks, e.qty_lots)
        elif e.action == FILL or e.action == TRADE:
            price, qty, side = execute_order(self, e)
            if qty > 0 and e.flags & (NOT_PRINTABLE | CROSS) == 0:
                if not is_plausible(price, qty):
                    self.meta[IMPLAUSIBLE] += 1
                else:
                    t = trade.row()
                    t.ts_event_ns = e.ts_event_ns
                    t.price_ticks = price
                    t.qty_lots = qty
                    t.order_id = e.order_id
                    t.match_id = e.other_id
                    t.sequence = e.sequence
                    t.instrument_id = instrument
                    t.asset_id = instrument
                    t.side = side
                    t.flags = e.flags
                    t.kind = e.kind
        if was.changed_rank == 0:
            bid_price, bid_qty = best(self, instrument, 0)
            ask_price, ask_qty = best(self, instrument, 1)
            if (
                bid_price != was.bid_price_ticks
                or bid_qty != was.bid_qty_lots
                or ask_price != was.ask_price_ticks
                or ask_qty != was.ask_qty_lots
            ):
                was.bid_price_ticks = bid_price
                was.bid_qty_lots = bid_qty
                was.ask_price_ticks = ask_price
                was.ask_qty_lots = ask_qty
                b = top.row()
                b.ts_event_ns = e.ts_event_ns
                b.bid_price_ticks = bid_price
                b.ask_price_ticks = ask_price
                b.bid_qty_lots = bid_qty
                b.ask_qty_lots = ask_qty
                b.sequence = e.sequence
                b.instrument_id = instrument
                b.asset_id = instrument
        if with_depth != 0 and was.changed_rank < DEPTH_LEVELS:
            d = depth.row()
            d.ts_event_ns = e.ts_event_ns
            d.sequence = e.sequence
            d.instrument_id = instrument
            fill_depth(self, instrument, d)
