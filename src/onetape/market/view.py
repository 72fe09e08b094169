"""Reading a book: its best prices, ten levels, all levels, one order's place in the queue."""

from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.market.words import ROWS
from onetape.records.types import UNSET


@kernel
def best(book, instrument, side):
    """(price, quantity) of the best level; (UNSET, 0) for an empty side."""
    s = row(book.sides, 2 * instrument + side)
    if s.count == 0:
        return UNSET, 0
    level = row(book.levels, s.start + s.count - 1)
    return level.price_ticks, level.qty_lots


@kernel
def fill_depth(book, instrument, d):
    """The ten best levels of both sides into a Depth row."""
    bids = row(book.sides, 2 * instrument)
    asks = row(book.sides, 2 * instrument + 1)
    for i in range(10):
        d.bid_price_ticks[i] = UNSET
        d.ask_price_ticks[i] = UNSET
        if i < bids.count:
            level = row(book.levels, bids.start + bids.count - 1 - i)
            d.bid_price_ticks[i] = level.price_ticks
            d.bid_qty_lots[i] = level.qty_lots
        if i < asks.count:
            level = row(book.levels, asks.start + asks.count - 1 - i)
            d.ask_price_ticks[i] = level.price_ticks
            d.ask_qty_lots[i] = level.qty_lots


def all_levels(book: Any, instrument: int, side: int) -> list[tuple[int, int, int]]:
    """L2 at full depth: (price_ticks, qty_lots, orders_count) of a side (0 bid), best first."""
    s = book.sides[2 * instrument + side]
    levels = book.levels[int(s["start"]) : int(s["start"]) + int(s["count"])][::-1]
    return [(int(v["price_ticks"]), int(v["qty_lots"]), int(v["orders_count"])) for v in levels]


def queue(book: Any, instrument: int, side: int, price_ticks: int) -> list[tuple[int, int]]:
    """L3: (order_id, qty_lots) of all orders at a price, first in time first. O(orders)."""
    orders = book.orders[: int(book.meta[ROWS])]
    at = (
        (orders["qty_lots"] > 0)
        & (orders["instrument_id"] == instrument)
        & (orders["side"] == side)
        & (orders["price_ticks"] == price_ticks)
    )
    found = np.sort(orders[at], order="priority")
    return [(int(o["order_id"]), int(o["qty_lots"])) for o in found]
