"""The background flow: who acts when, and what they do. One arrival a call.

Arrivals are clustered: after one the next is often of the same instrument and soon, else some
time passes, and now and then a long time (a mixture of exponentials, so the gaps have a heavy
tail; their mean is what was asked for). What an arrival does is drawn from fixed shares; whether an
order comes or goes depends on how many rest, which keeps that number near the instrument's target.

The flow never stuffs quotes, by construction: an instrument remembers the times of its last five
cancel-like messages (D, X, U), and a sixth within 10 ms is not sent. The arrival then goes to
another instrument, and if that is no help it adds or executes instead. So where an instrument is
asked for more than about 1 000 messages a second the mix shifts from D towards A and E.
"""

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.sim.exchange_book import (
    NO_RANK,
    best_rank,
    crosses,
    find_order,
    insert_order,
    price_of,
    remove_order,
)
from onetape.sim.exchange_send import (
    send_add,
    send_cancel,
    send_delete,
    send_executed,
    send_executed_price,
    send_replace,
    send_trade,
)
from onetape.sim.exchange_state import CANCELS_QUIET, FLOW, NO_ORDER, WINDOW_NS
from onetape.sim.random import LOW_WORD, below, draw, exponential

ADD, EXECUTE, PRICED, TRADE, DELETE, PARTIAL, REPLACE = range(7)  # from DELETE on: cancel-like
CHURN = 7  # an order comes or goes

# Shares of 4096 of what an arrival does, added up.
CHURN_TO = 3464
REPLACE_TO = CHURN_TO + 300
EXECUTE_TO = REPLACE_TO + 170
PARTIAL_TO = EXECUTE_TO + 66
PRICED_TO = PARTIAL_TO + 24  # the rest trades against orders that are not shown

AGAIN_OF_16 = 9  # how often the next arrival is of the same instrument
SHORT_PART = 8  # its mean gap is the overall mean divided by this
LONG_OF_16 = 1  # of the other gaps this many are long: mean 16, else 6/5 (together: mean 1)
LONG_TIMES = 16

TRIES = 4  # instruments asked whether they may cancel
FILLS_MAX = 8  # orders that one arrival executes


@kernel
def flow_arrival(m, out, at):
    """One arrival at session.flow_next_ns; schedules the next. Returns the next place in `out`.

    Writes one message, or up to FILLS_MAX executions. About 100 ns.
    """
    s = row(m.session, 0)
    s.now_ns = s.flow_next_ns
    word = _draw(m)
    kind = _kind(word & 4095)
    lean = shift_right(word, 12) & 4095
    i = s.flow_instrument if s.flow_instrument >= 0 else _pick_instrument(m)
    act = _act_at(m, i, kind, lean)
    for _ in range(TRIES - 1):
        if act < DELETE or may_cancel(m, i, s.now_ns):
            break
        i = _pick_instrument(m)
        act = _act_at(m, i, kind, lean)
    if act >= DELETE and not may_cancel(m, i, s.now_ns):
        act = ADD if _resting(m, i) < row(m.instruments, i).orders_target else EXECUTE
    _wander(m, i, shift_right(word, 24))
    at = _do(m, out, at, i, act, shift_right(word, 40))
    _schedule(m, i)
    return at


@kernel
def may_cancel(m, i, ts_ns):
    """Would one more cancel-like message of the flow be quiet, and away from any episode?"""
    instrument = row(m.instruments, i)
    if ts_ns <= instrument.quiet_until_ns or ts_ns >= instrument.quiet_from_ns:
        return False
    return instrument.cancel_ts_ns[instrument.cancel_next] < ts_ns - WINDOW_NS


@kernel
def note_cancel(m, i, ts_ns):
    """Remember a cancel-like message; the oldest of five is forgotten."""
    instrument = row(m.instruments, i)
    times = instrument.cancel_ts_ns
    times[instrument.cancel_next] = ts_ns
    instrument.cancel_next = (instrument.cancel_next + 1) % CANCELS_QUIET


@kernel
def touch_rank(m, i, side):
    """Rank of a new order at distance 0: half a spread from what the instrument is worth."""
    instrument = row(m.instruments, i)
    if side & 1:
        return 1 - instrument.fair_ticks - instrument.half_spread_ticks
    return instrument.fair_ticks - instrument.half_spread_ticks


@kernel
def _draw(m):
    return draw(row(m.session, 0).streams, FLOW)


@kernel
def _below(m, n):
    return below(row(m.session, 0).streams, FLOW, n)


@kernel
def _exponential(m, mean):
    s = row(m.session, 0)
    return exponential(s.streams, FLOW, s.exponential, mean)


@kernel
def _kind(share):
    if share < CHURN_TO:
        return CHURN
    if share < REPLACE_TO:
        return REPLACE
    if share < EXECUTE_TO:
        return EXECUTE
    if share < PARTIAL_TO:
        return PARTIAL
    if share < PRICED_TO:
        return PRICED
    return TRADE


@kernel
def _pick_instrument(m):
    """By activity, in O(1): see alias_table."""
    word = _draw(m)
    i = (shift_right(word, 32) * m.instruments.shape[0]) >> 32
    instrument = row(m.instruments, i)
    if word & LOW_WORD >= instrument.alias_share:
        return instrument.alias
    return i


@kernel
def _resting(m, i):
    """Orders of the flow that rest on both sides."""
    orders = row(m.sides, 2 * i).count + row(m.sides, 2 * i + 1).count
    if row(m.instruments, i).stuffing_ref != NO_ORDER:
        orders -= 1
    return orders


@kernel
def _act_at(m, i, kind, lean):
    """What an arrival of that kind does at this instrument: who takes needs something to take."""
    resting = _resting(m, i)
    if kind == CHURN:
        target = row(m.instruments, i).orders_target
        comes_of_4096 = 2048 + 2048 * (target - resting) // target
        return ADD if lean < min(max(comes_of_4096, 256), 3840) else DELETE
    if resting == 0 and kind != TRADE:
        return ADD
    return kind


@kernel
def _do(m, out, at, i, act, bits):
    """Carry it out. `bits`: 24 random bits."""
    if act == ADD:
        return _add(m, out, at, i, bits)
    if act == EXECUTE:
        return _execute(m, out, at, i, _side_with_orders(m, i, bits), bits >> 1)
    if act == PRICED:
        return _execute_priced(m, out, at, i, _side_with_orders(m, i, bits), bits >> 1)
    if act == TRADE:
        return _trade_unseen(m, out, at, i, bits)
    if act == DELETE:
        return _delete(m, out, at, i, _side_to_cancel(m, i))
    if act == PARTIAL:
        return _cancel_part(m, out, at, i, _side_to_cancel(m, i))
    return _replace(m, out, at, i, _side_to_cancel(m, i), bits)


@kernel
def _add(m, out, at, i, bits):
    """A new order, or, if its price crosses, executions of what it meets; the rest lapses."""
    side = 2 * i + (bits & 1)
    rank = _draw_rank(m, i, side, bits >> 1)
    qty = _draw_qty(m)
    if crosses(m, side, rank):
        return _sweep(m, out, at, i, side ^ 1, -rank, qty)
    half = row(m.sides, side)
    if half.count >= half.flow_max:
        if may_cancel(m, i, row(m.session, 0).now_ns):
            return _delete(m, out, at, i, side)
        return _execute(m, out, at, i, side, bits >> 1)
    at = send_add(m, out, at, i, side, rank, qty, _draw(m))
    insert_order(m, side, row(m.session, 0).order_ref, rank, qty)
    return at


@kernel
def _execute(m, out, at, i, side, bits):
    """A marketable arrival takes from the side's best orders: one of them, a part, or several."""
    half = row(m.sides, side)
    qty = 100
    if half.count > 0:
        best_qty = row(m.orders, half.begin + half.count - 1).qty_shares
        style = bits & 7
        if style < 4:
            qty = best_qty
        elif style < 7:
            qty = 1 + _below(m, best_qty)
        else:
            qty = best_qty + _draw_qty(m)
    return _sweep(m, out, at, i, side, NO_RANK, qty)


@kernel
def _sweep(m, out, at, i, side, worst_rank, qty):
    """Execute best orders of the side, oldest first, down to `worst_rank`, until qty is used up.

    An episode's order is let alone (its deletion is planned): what would meet it trades unseen.
    """
    half = row(m.sides, side)
    stuffing_ref = row(m.instruments, i).stuffing_ref
    before = at
    for _ in range(FILLS_MAX):
        if qty == 0 or half.count == 0:
            break
        order = row(m.orders, half.begin + half.count - 1)
        if order.rank_ticks < worst_rank or order.order_ref == stuffing_ref:
            break
        fill = min(qty, order.qty_shares)
        at = send_executed(m, out, at, i, order.order_ref, fill)
        qty -= fill
        order.qty_shares -= fill
        if order.qty_shares == 0:
            half.count -= 1
    if at == before:
        return _trade_unseen(m, out, at, i, qty)
    return at


@kernel
def _execute_priced(m, out, at, i, side, bits):
    """The best order is executed a tick better than it shows, inside the spread if there is one."""
    half = row(m.sides, side)
    if half.count == 0:
        return _trade_unseen(m, out, at, i, bits)
    order = row(m.orders, half.begin + half.count - 1)
    if order.order_ref == row(m.instruments, i).stuffing_ref:
        return _trade_unseen(m, out, at, i, bits)
    rank = order.rank_ticks
    if not crosses(m, side, rank + 1):
        rank += 1
    fill = min(_draw_qty(m), order.qty_shares)
    order_ref = order.order_ref
    order.qty_shares -= fill
    if order.qty_shares == 0:
        half.count -= 1
    return send_executed_price(m, out, at, i, order_ref, fill, price_of(side, rank), bits & 7 != 0)


@kernel
def _trade_unseen(m, out, at, i, bits):
    """A trade at the best bid, the best offer or between; near the fair price if one is missing."""
    low = best_rank(m, 2 * i)
    high = best_rank(m, 2 * i + 1)
    fair_ticks = row(m.instruments, i).fair_ticks
    bid_ticks = fair_ticks if low == NO_RANK else low
    ask_ticks = max(fair_ticks, bid_ticks) if high == NO_RANK else -high
    bid_ticks = min(bid_ticks, ask_ticks)
    price_ticks = bid_ticks + _below(m, ask_ticks - bid_ticks + 1)
    return send_trade(m, out, at, i, _draw_qty(m), price_ticks)


@kernel
def _delete(m, out, at, i, side):
    place = _place_to_cancel(m, i, side)
    order_ref = row(m.orders, place).order_ref
    remove_order(m, side, place)
    note_cancel(m, i, row(m.session, 0).now_ns)
    return send_delete(m, out, at, i, order_ref)


@kernel
def _cancel_part(m, out, at, i, side):
    """Take some shares off an order; where it has just one, all of it."""
    order = row(m.orders, _place_to_cancel(m, i, side))
    qty = order.qty_shares
    if qty == 1:
        return _delete(m, out, at, i, side)
    if qty > 100:
        taken = 100 * (1 + _below(m, (qty - 1) // 100))
    else:
        taken = 1 + _below(m, qty - 1)
    order.qty_shares = qty - taken
    note_cancel(m, i, row(m.session, 0).now_ns)
    return send_cancel(m, out, at, i, order.order_ref, taken)


@kernel
def _replace(m, out, at, i, side, bits):
    """Move an order to a new price, one tick off the other side if it would cross."""
    place = _place_to_cancel(m, i, side)
    order = row(m.orders, place)
    old_ref = order.order_ref
    qty = order.qty_shares
    if bits & 3 == 0:
        qty = _draw_qty(m)
    rank = _draw_rank(m, i, side, bits >> 2)
    if crosses(m, side, rank):
        rank = -best_rank(m, side ^ 1) - 1
    at = send_replace(m, out, at, i, side, old_ref, rank, qty, _draw(m))
    remove_order(m, side, place)
    insert_order(m, side, row(m.session, 0).order_ref, rank, qty)
    note_cancel(m, i, row(m.session, 0).now_ns)
    return at


@kernel
def _side_with_orders(m, i, bits):
    """Either side, but not an empty one if the other has orders."""
    side = 2 * i + (bits & 1)
    if row(m.sides, side).count == 0:
        return side ^ 1
    return side


@kernel
def _side_to_cancel(m, i):
    """A side, by the number of its orders of the flow; there is one at least."""
    bids = row(m.sides, 2 * i).count
    stuffing_ref = row(m.instruments, i).stuffing_ref
    if stuffing_ref != NO_ORDER and find_order(m, 2 * i, stuffing_ref) >= 0:
        bids -= 1
    if _below(m, _resting(m, i)) < bids:
        return 2 * i
    return 2 * i + 1


@kernel
def _place_to_cancel(m, i, side):
    """An order of the flow: three times of four near the touch, else anywhere on the side."""
    half = row(m.sides, side)
    if _draw(m) & 3 != 0:
        depth = min(_exponential(m, 3), half.count - 1)
    else:
        depth = _below(m, half.count)
    place = half.begin + half.count - 1 - depth
    if row(m.orders, place).order_ref == row(m.instruments, i).stuffing_ref:
        return place - 1 if depth + 1 < half.count else place + 1
    return place


@kernel
def _draw_rank(m, i, side, bits):
    """Exponential distance from the touch; one order in 16 is much deeper."""
    distance_ticks = row(m.instruments, i).distance_ticks
    depth = min(_exponential(m, distance_ticks), 100)
    if bits & 15 == 0:
        depth += 20 + _below(m, 60)
    return touch_rank(m, i, side) - depth


@kernel
def _draw_qty(m):
    """Shares: mostly 100, some hundreds, odd lots, a few thousands."""
    word = _draw(m)
    style = word & 15
    more = shift_right(word, 32)
    if style < 11:
        return 100
    if style < 13:
        return 100 * (2 + (more & 7))
    if style < 15:
        return 1 + ((more * 99) >> 32)
    return 1000 + 100 * (more & 31)


@kernel
def _wander(m, i, bits):
    """At one arrival in 64 the fair price moves a tick, more often towards the anchor than away."""
    if bits & 63 != 0:
        return
    instrument = row(m.instruments, i)
    away_ticks = instrument.fair_ticks - instrument.anchor_ticks
    up_of_512 = 256 - 2048 * away_ticks // instrument.anchor_ticks
    if (bits >> 6) & 511 < up_of_512:
        instrument.fair_ticks += 1
    else:
        instrument.fair_ticks -= 1


@kernel
def _schedule(m, i):
    """Draw when the next arrival comes, and whether it is of instrument i again."""
    s = row(m.session, 0)
    word = _draw(m)
    mean_ns = s.gap_mean_ns
    if word & 15 < AGAIN_OF_16:
        s.flow_instrument = i
        mean_ns = mean_ns // SHORT_PART
    else:
        s.flow_instrument = -1
        if (word >> 4) & 15 < LONG_OF_16:
            mean_ns = mean_ns * LONG_TIMES
        else:
            mean_ns = mean_ns * 6 // 5
    s.flow_next_ns += _exponential(m, mean_ns)
