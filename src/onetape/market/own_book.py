"""Orders of one's own with the public book at that moment, from which the own ones are left out.

The two inputs come in the order of their arrival on the tape. The public feed makes a book, as
`book.py` does; ids that the drop copy names are *own*, from its first report on until both the
report of its end and the public book have dropped it, and so is what replaces an own order in the
public feed. Of each price level it is known how many lots are own, so a level's size without them
is one subtraction: the work for an order is bounded by LOOKED_AT levels.
"""

from typing import Any

import numpy as np

from onetape.compiled.index import COUNT, LIMIT, find, insert, new_index, remove
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.engine import Table, operator
from onetape.market.book import TOP, book_headroom, canonical_book, foresee_order
from onetape.market.levels import LEVEL, SIDE
from onetape.market.orders import ORDER, add_order, cancel_order, execute_order, move_order
from onetape.market.view import best
from onetape.market.words import META_WORDS
from onetape.records import UNSET
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    FILL,
    LOTS_MAX,
    MODIFY,
    TRADE,
    MarketEvent,
    OwnOrder,
    OwnOrderInBook,
)

MEDIAN_OF = 10  # levels
LOOKED_AT = 32  # levels: the ten may lie behind some that are all our own
DIRECTORY = ord("R")


@kernel
def own_headroom(book):
    """Events it can surely take: each may bring one order of each kind, one level, one symbol."""
    own = book.own[LIMIT] - book.own[COUNT]
    rest = min(book.symbols[LIMIT] - book.symbols[COUNT], book_headroom(book))
    return min(own, book.own_lots[LIMIT] - book.own_lots[COUNT], rest)


def canonical_own(book: Any) -> list[Any]:
    """The book, and which of its orders are own."""
    return [*canonical_book(book), np.array([book.own[COUNT], book.own_lots[COUNT]])]


@kernel
def level_key(instrument, side, price):
    """A level as one number; ITCH prices have 32 bits, instruments 16."""
    return price << 18 | instrument << 1 | side


@kernel
def own_at(book, instrument, side, price):
    """Own lots at a level."""
    return max(find(book.own_lots, level_key(instrument, side, price)), 0)


@kernel
def change_own(book, instrument, side, price, lots):
    """Add lots (negative: take away) to what is own at a level."""
    if lots == 0:
        return
    key = level_key(instrument, side, price)
    left = max(remove(book.own_lots, key), 0) + lots
    if left > 0:
        insert(book.own_lots, key, left)


@kernel
def count_own(book, order_id, sign):
    """Add (sign 1) or take away (-1) the lots of an own order that is in the book; was it one?"""
    if find(book.own, order_id) < 0:
        return False
    slot = find(book.index, order_id)
    if slot < 0:
        return False
    o = row(book.orders, slot)
    change_own(book, o.instrument_id, o.side, o.price_ticks, sign * o.qty_lots)
    return True


@kernel
def note_own(book, order_id):
    """The order is own from now on; what of it is in the book already counts as such."""
    if find(book.own, order_id) < 0:
        insert(book.own, order_id, 0)
        count_own(book, order_id, 1)


@kernel
def follow(book, e):
    """What a public event does to the book, and to what of it is own."""
    row(book.tops, e.instrument_id).changed_rank = 0  # nobody reads it here
    was_own = count_own(book, e.order_id, -1)
    moves = e.action == MODIFY and e.other_id != e.order_id
    if moves:
        count_own(book, e.other_id, -1)
    if e.action == ADD:
        add_order(book, e.order_id, e.instrument_id, e.side, e.price_ticks, e.qty_lots)
    elif e.action == CANCEL:
        cancel_order(book, e.order_id, e.instrument_id, e.qty_lots, e.flags)
    elif e.action == MODIFY:
        move_order(book, e.order_id, e.instrument_id, e.other_id, e.price_ticks, e.qty_lots)
    else:
        execute_order(book, e)
    is_gone = was_own and find(book.index, e.order_id) < 0
    if is_gone:
        remove(book.own, e.order_id)
        if moves and find(book.own, e.other_id) < 0:
            insert(book.own, e.other_id, 0)
    count_own(book, e.order_id, 1)
    if moves:
        count_own(book, e.other_id, 1)


@kernel
def look(book, instrument, side, price):
    """(median lots of the best levels, lots ahead) without own orders."""
    s = row(book.sides, 2 * instrument + side)
    sign = 1 - 2 * side
    sizes = book.sizes
    count, ahead = 0, 0
    for i in range(min(s.count, LOOKED_AT)):
        level = row(book.levels, s.start + s.count - 1 - i)
        lots = level.qty_lots - own_at(book, instrument, side, level.price_ticks)
        if price != UNSET and sign * level.price_ticks > sign * price:
            ahead += lots
        if lots > 0 and count < MEDIAN_OF:
            at = count
            while at > 0 and sizes[at - 1] > lots:
                sizes[at] = sizes[at - 1]
                at -= 1
            sizes[at] = lots
            count += 1
    return sizes[max(count - 1, 0) // 2] if count > 0 else LOTS_MAX, ahead


@operator
class WithBook:
    """Own orders and the events of a public feed in, own orders in their book out."""

    capacity = {  # noqa: RUF012
        "orders": 1 << 22,
        "instruments": 1 << 16,
        "levels": 1 << 22,
        "own": 1 << 18,
    }
    orders = Table(lambda size: np.zeros(size["orders"], ORDER))
    index = Table(lambda size: new_index(size["orders"]))
    sides = Table(lambda size: np.zeros(2 * size["instruments"], SIDE))
    levels = Table(lambda size: np.zeros(size["levels"], LEVEL))
    tops = Table(lambda size: np.zeros(size["instruments"], TOP))
    meta = Table(lambda size: np.zeros(META_WORDS, np.int64))
    own = Table(lambda size: new_index(size["own"]))  # ids of own orders
    own_lots = Table(lambda size: new_index(size["own"]))  # lots by level, in place of a slot
    symbols = Table(lambda size: new_index(2 * size["instruments"]))  # instruments by symbol
    sizes = Table(lambda size: np.zeros(MEDIAN_OF + 1, np.int64))
    headroom = own_headroom
    foresee = foresee_order
    canonical = canonical_own

    def on_events(self, e: MarketEvent) -> None:
        if e.instrument_id >= self.tops.shape[0]:
            raise OverflowError("an instrument_id beyond the capacity of the book's instruments")
        if e.kind == DIRECTORY:
            remove(self.symbols, e.other_id)
            insert(self.symbols, e.other_id, e.instrument_id)
        elif (
            e.action == ADD
            or e.action == CANCEL
            or e.action == MODIFY
            or e.action == FILL
            or e.action == TRADE
        ):
            follow(self, e)

    def on_orders(self, o: OwnOrder) -> OwnOrderInBook | None:
        if o.leaves_lots > 0:
            note_own(self, o.order_id)
        elif find(self.index, o.order_id) < 0:
            remove(self.own, o.order_id)
        instrument = find(self.symbols, o.symbol_word)
        median, ahead = LOTS_MAX, 0
        bid_price, bid_qty, ask_price, ask_qty = UNSET, 0, UNSET, 0
        if instrument >= 0:
            bid_price, bid_qty = best(self, instrument, 0)
            ask_price, ask_qty = best(self, instrument, 1)
            if o.side == BID or o.side == ASK:
                side = 0 if o.side == BID else 1
                median, ahead = look(self, instrument, side, o.price_ticks)
        return OwnOrderInBook(
            o.ts_event_ns,
            o.ts_recv_ns,
            o.order_id,
            o.account_id,
            o.match_id,
            o.symbol_word,
            o.price_ticks,
            o.qty_lots,
            o.leaves_lots,
            o.sequence,
            median,
            ahead,
            bid_price,
            ask_price,
            bid_qty,
            ask_qty,
            max(instrument, 0),
            o.action,
            o.side,
            o.flags,
            o.kind,
        )
