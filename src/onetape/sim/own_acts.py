"""What own accounts do on the simulated exchange, beside its flow: a wall, a bait, taking, pulling.

A wall is an order behind the touch that is large beside its side's levels (eleven times the largest
of the ten best), or, for one that only looks like it, nine lots. It stands in the place of a
stuffing order, so the flow lets it alone. A bait is a usual order a tick inside the spread, or at
the touch; who takes it takes what stands before it too.
"""

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.sim.exchange_acts import note_cancel, sweep
from onetape.sim.exchange_book import (
    NO_RANK,
    best_rank,
    crosses,
    find_order,
    insert_order,
    remove_order,
)
from onetape.sim.exchange_send import send_add, send_delete
from onetape.sim.exchange_state import EPISODES, NO_ORDER
from onetape.sim.random import draw

WALL, SMALL, BAIT, TAKE, PULL = range(5)
LEVELS = 10
TIMES = 11
SMALL_LOTS = 9
BAIT_LOTS = 100
TURNS = 8  # of taking, eight executions each


@kernel
def act(m, out, at, what, i, side_of, order_ref, now_ns):
    """Do it at `now_ns`; returns (next place in `out`, the order it placed, else NO_ORDER).

    side_of  0: bids, 1: offers. NO_ORDER from WALL, SMALL or BAIT: the side was empty
    """
    row(m.session, 0).now_ns = now_ns
    side = 2 * i + side_of
    if what == TAKE:
        return _take(m, out, at, i, side, order_ref), NO_ORDER
    if what == PULL:
        return _pull(m, out, at, i, side, order_ref), NO_ORDER
    best = best_rank(m, side)
    if best == NO_RANK:
        return at, NO_ORDER
    word = draw(row(m.session, 0).streams, EPISODES)
    rank, qty = best - 2 - (shift_right(word, 32) & 1), SMALL_LOTS
    if what == WALL:
        qty = TIMES * _largest_level(m, side) + 1
    if what == BAIT:
        rank, qty = best if crosses(m, side, best + 1) else best + 1, BAIT_LOTS
    at = send_add(m, out, at, i, side, rank, qty, word)
    order_ref = row(m.session, 0).order_ref
    insert_order(m, side, order_ref, rank, qty)
    if what != BAIT:
        row(m.instruments, i).stuffing_ref = order_ref
    return at, order_ref


@kernel
def _largest_level(m, side):
    """Lots of the largest of the side's ten best levels."""
    half = row(m.sides, side)
    largest, levels, lots, rank = 0, 0, 0, NO_RANK
    for depth in range(half.count):
        order = row(m.orders, half.begin + half.count - 1 - depth)
        if order.rank_ticks != rank:
            levels += 1
            if levels > LEVELS + 3:  # its own level, and those that are taken meanwhile
                break
            rank, lots = order.rank_ticks, 0
        lots += order.qty_shares
        largest = max(largest, lots)
    return largest


@kernel
def _take(m, out, at, i, side, order_ref):
    """Executions until the order is gone, all of it."""
    for _ in range(TURNS):
        place = find_order(m, side, order_ref)
        if place < 0:
            break
        half = row(m.sides, side)
        qty = 0
        for ahead in range(place, half.begin + half.count):
            qty += row(m.orders, ahead).qty_shares
        at = sweep(m, out, at, i, side, NO_RANK, qty)
    return at


@kernel
def _pull(m, out, at, i, side, order_ref):
    place = find_order(m, side, order_ref)
    row(m.instruments, i).stuffing_ref = NO_ORDER
    if place < 0:
        return at
    remove_order(m, side, place)
    note_cancel(m, i, row(m.session, 0).now_ns)
    return send_delete(m, out, at, i, order_ref)
