"""What each message does to an order, and through it to its level.

`book` is the tuple of tables of `Book`. A message that refers to an order the book does not have
(it was sent before the recording began, or was lost) changes nothing and is counted.
"""

import numpy as np

from onetape.compiled.index import find, insert, remove
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.market.levels import change_level
from onetape.market.words import (
    DUPLICATE,
    FREE,
    IMPLAUSIBLE,
    LIVE,
    OVERFILL,
    PRIORITY,
    ROWS,
    UNKNOWN,
    UNPRICED,
)
from onetape.records.market import ASK, BID, HAS_PRICE, LOTS_MAX, NO_SIDE, TRADE, WHOLE
from onetape.records.types import UNSET

ORDER = np.dtype(
    [
        ("order_id", "<i8"),
        ("price_ticks", "<i8"),
        ("qty_lots", "<i8"),  # 0: the row is free, `priority` is then the next free row + 1
        ("priority", "<i8"),
        ("instrument_id", "<u4"),
        ("side", "<u4"),  # 0 bid, 1 ask
    ]
)

# A book takes what its sums can hold: 2**22 orders of the largest size, 2**14 of the
# largest trades.
PRICE_MAX = 1 << 48  # ticks, either sign
QTY_MAX = LOTS_MAX


@kernel
def add_order(book, order_id, instrument, side_letter, price, qty):
    """A new order at the end of its level's queue."""
    if (
        qty <= 0
        or qty > QTY_MAX
        or price > PRICE_MAX
        or price < -PRICE_MAX
        or (side_letter != BID and side_letter != ASK)
    ):
        book.meta[IMPLAUSIBLE] += 1
        return
    if find(book.index, order_id) >= 0:
        book.meta[DUPLICATE] += 1
        return
    side = 0 if side_letter == BID else 1
    slot = _take_row(book.orders, book.meta)
    order = row(book.orders, slot)
    book.meta[PRIORITY] += 1
    order.order_id = order_id
    order.price_ticks = price
    order.qty_lots = qty
    order.priority = book.meta[PRIORITY]
    order.instrument_id = instrument
    order.side = side
    insert(book.index, order_id, slot)
    change_level(book, instrument, side, price, qty, 1)


@kernel
def find_order(book, order_id, instrument):
    """Slot of an order of this instrument, or -1, counted: it has no such order."""
    slot = find(book.index, order_id)
    if slot >= 0 and row(book.orders, slot).instrument_id == instrument:
        return slot
    book.meta[UNKNOWN] += 1
    return -1


@kernel
def cancel_order(book, order_id, instrument, qty, flags):
    """Take `qty` from an order, or all of it."""
    slot = find_order(book, order_id, instrument)
    if slot < 0:
        return
    _reduce(book, slot, row(book.orders, slot).qty_lots if flags & WHOLE else qty)


@kernel
def move_order(book, order_id, instrument, new_id, price, qty):
    """Replace an order: another id, price and size on the same side; priority is lost."""
    slot = find_order(book, order_id, instrument)
    if slot < 0:
        return
    order = row(book.orders, slot)
    side = order.side
    _reduce(book, slot, order.qty_lots)
    add_order(book, new_id, instrument, BID if side == 0 else ASK, price, qty)


@kernel
def execute_order(book, e):
    """An execution: (price, quantity, side letter) of the trade; quantity 0 when there is none."""
    if e.action == TRADE:
        return e.price_ticks, e.qty_lots, e.side
    slot = find_order(book, e.order_id, e.instrument_id)
    if slot < 0:
        if e.flags & HAS_PRICE:
            return e.price_ticks, e.qty_lots, NO_SIDE
        book.meta[UNPRICED] += 1  # an execution whose price only the lost order knew
        return UNSET, 0, NO_SIDE
    order = row(book.orders, slot)
    price = e.price_ticks if e.flags & HAS_PRICE else order.price_ticks
    side = BID if order.side == 0 else ASK
    if e.qty_lots > order.qty_lots:
        book.meta[OVERFILL] += 1
    _reduce(book, slot, e.qty_lots)
    return price, e.qty_lots, side


@kernel
def _reduce(book, slot, qty):
    """Take `qty` (at most all) from an order; an empty order leaves the book."""
    order = row(book.orders, slot)
    taken = min(qty, order.qty_lots)
    if taken <= 0:
        return
    left = order.qty_lots - taken
    order.qty_lots = left
    change_level(
        book, order.instrument_id, order.side, order.price_ticks, -taken, -1 if left == 0 else 0
    )
    if left == 0:
        remove(book.index, order.order_id)
        order.priority = book.meta[FREE]
        book.meta[FREE] = slot + 1
        book.meta[LIVE] -= 1


@kernel
def _take_row(orders, meta):
    """A free order row: the one freed last (it is still in cache), else the next new one."""
    meta[LIVE] += 1
    freed = meta[FREE]
    if freed > 0:
        meta[FREE] = row(orders, freed - 1).priority
        return freed - 1
    meta[ROWS] += 1
    return meta[ROWS] - 1
