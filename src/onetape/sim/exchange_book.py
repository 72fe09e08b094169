"""The books of the simulated exchange: sorted sides, the best order last (see exchange_state).

Executions take the last order, so they cost nothing; an insertion or removal moves the orders that
are better, which are few, because most of the flow is near the touch. No key index is needed:
whoever acts on an order names its place.
"""

from onetape.compiled.kernel import kernel
from onetape.compiled.rows import copy_row, row

NO_RANK = -(2**31)  # below every rank


@kernel
def best_rank(m, side):
    """Rank of the side's best order, NO_RANK where there is none."""
    half = row(m.sides, side)
    if half.count == 0:
        return NO_RANK
    return row(m.orders, half.begin + half.count - 1).rank_ticks


@kernel
def crosses(m, side, rank):
    """Would an order of that rank meet the other side? Equal prices do: books never lock either.

    A price p has rank p among bids and -p among offers.
    """
    opposite = best_rank(m, side ^ 1)
    return opposite != NO_RANK and rank >= -opposite


@kernel
def insert_order(m, side, order_ref, rank, qty):
    """Put an order behind all of its rank or better. The side has room."""
    half = row(m.sides, side)
    place = half.begin + half.count
    for _ in range(half.count):
        if row(m.orders, place - 1).rank_ticks < rank:
            break
        copy_row(m.orders, place, m.orders, place - 1)
        place -= 1
    order = row(m.orders, place)
    order.order_ref = order_ref
    order.rank_ticks = rank
    order.qty_shares = qty
    half.count += 1


@kernel
def remove_order(m, side, place):
    """Take the order at m.orders[place] out of its side."""
    half = row(m.sides, side)
    for at in range(place, half.begin + half.count - 1):
        copy_row(m.orders, at, m.orders, at + 1)
    half.count -= 1


@kernel
def find_order(m, side, order_ref):
    """Place of an order that is on the side, searched from the touch; -1 if it is not there."""
    half = row(m.sides, side)
    for depth in range(half.count):
        place = half.begin + half.count - 1 - depth
        if row(m.orders, place).order_ref == order_ref:
            return place
    return -1


@kernel
def price_of(side, rank):
    """The price in ticks (cents) of a rank."""
    if side & 1:
        return -rank
    return rank
