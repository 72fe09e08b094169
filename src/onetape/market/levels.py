"""Price levels of a side: a sorted array in a pool, the best level last.

Bids are kept in rising, asks in falling price order; with `sign` (+1, -1) both are rising in
`sign * price`. Most changes are near the touch, so the search starts at the end and turns to
halving after a few steps. Chunks come in sizes FIRST_LEVELS * 2**class; a full one moves to the
next size and its place goes to that class's free list (linked through `price_ticks`).
"""

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.compiled.rows import copy_row, row
from onetape.market.words import FREE_CHUNKS, LARGEST, USED

LEVEL = np.dtype([("price_ticks", "<i8"), ("qty_lots", "<i8"), ("orders_count", "<i8")])
SIDE = np.dtype([("start", "<i8"), ("count", "<i4"), ("chunk", "<i4")])  # chunk: class + 1; 0 none

FIRST_LEVELS = 16
CLASSES = 14  # the largest chunk holds 131 072 levels of one side
_NEAR = 8


@kernel
def levels_headroom(levels, meta):
    """Messages that surely find room for a level: each may move one side to the next class.

    Two classes above the largest covers a side that outgrows its class meanwhile, since that
    takes as many messages as it then takes levels.
    """
    return (levels.shape[0] - meta[USED]) // (FIRST_LEVELS << (meta[LARGEST] + 2))


@kernel
def change_level(book, instrument, side, price, qty, orders):
    """Add `qty` and `orders` (negative to take away) to a level; make or remove it as needed."""
    s = row(book.sides, 2 * instrument + side)
    sign = 1 - 2 * side
    at = find_level(book.levels, s.start, s.count, sign, price)
    rank = s.count - 1 - at  # 0 is the best
    if at >= 0 and row(book.levels, s.start + at).price_ticks == price:
        level = row(book.levels, s.start + at)
        level.qty_lots += qty
        level.orders_count += orders
        if level.orders_count == 0:
            for i in range(s.start + at, s.start + s.count - 1):
                copy_row(book.levels, i, book.levels, i + 1)
            s.count -= 1
    elif qty > 0:
        if s.chunk == 0 or s.count == FIRST_LEVELS << (s.chunk - 1):
            _grow(book.levels, book.meta, s)
        at += 1
        rank = s.count - at
        for i in range(s.start + s.count, s.start + at, -1):
            copy_row(book.levels, i, book.levels, i - 1)
        level = row(book.levels, s.start + at)
        level.price_ticks = price
        level.qty_lots = qty
        level.orders_count = orders
        s.count += 1
    top = row(book.tops, instrument)
    top.changed_rank = min(top.changed_rank, rank)


@kernel
def find_level(levels, start, count, sign, price):
    """Index of the last level not better than `price`, or -1."""
    at = count - 1
    near = max(count - _NEAR, 0)
    target = sign * price
    while at >= near:
        if sign * row(levels, start + at).price_ticks <= target:
            return at
        at -= 1
    low, high = 0, near  # levels[low - 1] <= target < levels[high]
    while low < high:
        middle = (low + high) // 2
        if sign * row(levels, start + middle).price_ticks <= target:
            low = middle + 1
        else:
            high = middle
    return low - 1


@kernel
def _grow(levels, meta, s):
    """Give a side a chunk of the next size. The room was reserved before the message."""
    size_class = s.chunk  # of the new chunk: the field holds the old class + 1
    meta[LARGEST] = max(meta[LARGEST], size_class)
    if size_class >= CLASSES:
        raise OverflowError("a side of a book has more than 131072 price levels")
    free = meta[FREE_CHUNKS + size_class]
    if free > 0:
        start = free - 1
        meta[FREE_CHUNKS + size_class] = row(levels, start).price_ticks
    else:
        start = meta[USED]
        meta[USED] += FIRST_LEVELS << size_class
    for i in range(s.count):
        copy_row(levels, start + i, levels, s.start + i)
    if s.chunk > 0:
        row(levels, s.start).price_ticks = meta[FREE_CHUNKS + size_class - 1]
        meta[FREE_CHUNKS + size_class - 1] = s.start + 1
    s.start = start
    s.chunk = size_class + 1
