"""What the simulated exchange remembers: instruments, both sides of each book, resting orders.

All of it is laid out before the first message, so memory is bounded by construction. A side of a
book is a stretch of `orders`, sorted: the worst order first, the next to be executed last. Orders
are compared by *rank*: the price for a bid, minus the price for an offer, so that for either side
a higher rank is a better price. Inside one rank the older order stands further to the end.

    orders  |  bids of 1 (worst ... best) free |  offers of 1 (worst ... best) free |  bids of 2 ...

An instrument's share of the flow decides how many orders rest: `orders_target` on both sides
together, each side holding at most `side_orders_max(target)` and one order of an episode.
"""

from typing import Any, NamedTuple

import numpy as np

from onetape.records import Array, empty_block, i32, i64, record

FLOW, EPISODES, SETUP = range(3)  # streams of random numbers
STREAMS = 3

CANCELS_QUIET = 5  # of one instrument, in any window of ...
WINDOW_NS = 10_000_000  # ... this length, both ends included: more is quote stuffing

NEVER_NS = 2**63 - 1
NO_ORDER = 0  # order references begin above


@record
class Instrument:
    """One instrument, as the flow sees it. Its locate code is its row number plus 1."""

    stock_word: i64
    fair_ticks: i64  # what the flow thinks it is worth, in cents; wanders around the anchor
    anchor_ticks: i64
    half_spread_ticks: i64
    distance_ticks: i64  # mean distance of new orders from the touch
    orders_target: i64
    stuffing_ref: i64  # the order an episode has in the book now, or NO_ORDER
    quiet_until_ns: i64  # the flow cancels nothing up to here ...
    quiet_from_ns: i64  # ... and from here on: an episode is near
    cancel_next: i64  # where the oldest of the last cancels stands
    cancel_ts_ns: Array[i64, 5]  # CANCELS_QUIET
    alias_share: i64  # drawing by activity, see alias_table: how much of 2**32 stays here ...
    alias: i64  # ... and the row that has the rest


@record
class Side:
    """Half a book: orders[begin : begin + count]. Bids of row i are side 2i, its offers 2i + 1."""

    begin: i64
    count: i64
    flow_max: i64  # the flow adds nothing beyond; there is room for one order more


@record
class RestingOrder:
    order_ref: i64
    rank_ticks: i32
    qty_shares: i32


@record
class EpisodePlan:
    """A burst of quote stuffing: what was planned, and what came of it."""

    instrument: i64  # row
    side: i64  # 0 bids, 1 offers
    pairs: i64  # of an order and its deletion
    pace_ns: i64  # mean time between two orders
    following: i64  # the next episode of the same instrument, or -1
    start_ns: i64
    pairs_done: i64
    gap_ns: i64  # from the present order to the next
    next_ns: i64
    first_cancel_ns: i64
    sixth_cancel_ns: i64
    last_ns: i64


@record
class Session:
    """Where the day stands; one row."""

    phase: i64
    cursor: i64  # messages of this phase sent
    start_ns: i64  # since midnight, as all times here
    end_ns: i64
    gap_mean_ns: i64
    flow_next_ns: i64  # when the flow's next arrival is due ...
    flow_instrument: i64  # ... and where, or -1: draw one
    now_ns: i64
    order_ref: i64  # the last one given out
    match: i64
    messages: i64
    streams: Array[i64, 3]  # STREAMS, see sim/random.py
    exponential: Array[i64, 256]  # see exponential_table
    counts: Array[i64, 256]  # messages by type letter


class Market(NamedTuple):
    """The arrays that the flow and the books need."""

    session: Any  # Session[1]
    instruments: Any  # Instrument[n]
    sides: Any  # Side[2n]
    orders: Any  # RestingOrder[]


class Agenda(NamedTuple):
    """The episodes, and which is due first. One row where there are none, with no timer set."""

    episodes: Any  # EpisodePlan[e]
    timers: Any  # one an episode, see compiled/timers.py
    heap: Any  # int64[e + 1]


class Exchange(NamedTuple):
    """The whole state of a run."""

    market: Market
    agenda: Agenda


def side_orders_max(orders_target: int) -> int:
    """How many orders of the flow one side of a book holds at most."""
    return orders_target


def lay_out_sides(targets: list[int]) -> tuple[Any, Any]:
    """(sides, orders) for instruments with these targets; all empty."""
    sides = empty_block(Side, 2 * len(targets))
    flow_max = np.repeat([side_orders_max(target) for target in targets], 2)
    sides["flow_max"] = flow_max
    sides["begin"][1:] = np.cumsum(flow_max + 1)[:-1]
    return sides, empty_block(RestingOrder, int(np.sum(flow_max + 1)))
