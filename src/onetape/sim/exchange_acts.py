"""What an arrival can do to a book: add, execute, cancel, replace, trade unseen.

Each act writes at least one message and leaves a book that is neither crossed nor locked. An
episode's order is not theirs to touch. Whoever calls `carry_out` with an act that cancels has asked
`may_cancel` before: that, and `note_cancel` after each, is all that keeps the flow quiet.
"""

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
from onetape.sim.exchange_draws import (
    draw_qty,
    draw_rank,
    flow_below,
    flow_draw,
    flow_exponential,
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
from onetape.sim.exchange_state import CANCELS_QUIET, NO_ORDER, WINDOW_NS

ADD, EXECUTE, PRICED, TRADE, DELETE, PARTIAL, REPLACE = range(7)  # from DELETE on: cancel-like

NEAR = 8  # orders, from the touch
FILLS_MAX = 8  # orders that one arrival executes


@kernel
def carry_out(m, out, at, i, act, bits):
    """Carry it out. `bits`: 24 random bits."""
    if act == ADD:
        return _add(m, out, at, i, bits)
    if act == EXECUTE:
        return _execute(m, out, at, i, _side_with_orders(m, i, bits), bits >> 1)
    if act == PRICED:
        return _execute_priced(m, out, at, i, _side_with_orders(m, i, bits), bits >> 1)
    if act == TRADE:
        return _trade_unseen(m, out, at, i)
    if act == DELETE:
        return _delete(m, out, at, i, _side_to_cancel(m, i))
    if act == PARTIAL:
        return _cancel_part(m, out, at, i, _side_to_cancel(m, i))
    return _replace(m, out, at, i, _side_to_cancel(m, i), bits)


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
def orders_resting(m, i):
    """Orders of the flow that rest on both sides."""
    orders = row(m.sides, 2 * i).count + row(m.sides, 2 * i + 1).count
    if row(m.instruments, i).stuffing_ref != NO_ORDER:
        orders -= 1
    return orders


@kernel
def _add(m, out, at, i, bits):
    """A new order, or, if its price crosses, executions of what it meets; the rest lapses."""
    side = 2 * i + (bits & 1)
    rank = draw_rank(m, i, side, bits >> 1)
    qty = draw_qty(m)
    if crosses(m, side, rank):
        return sweep(m, out, at, i, side ^ 1, -rank, qty)
    half = row(m.sides, side)
    if half.count >= half.flow_max:
        if may_cancel(m, i, row(m.session, 0).now_ns):
            return _delete(m, out, at, i, side)
        return _execute(m, out, at, i, side, bits >> 1)
    at = send_add(m, out, at, i, side, rank, qty, flow_draw(m))
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
            qty = 1 + flow_below(m, best_qty)
        else:
            qty = best_qty + draw_qty(m)
    return sweep(m, out, at, i, side, NO_RANK, qty)


@kernel
def sweep(m, out, at, i, side, worst_rank, qty):
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
        return _trade_unseen(m, out, at, i)
    return at


@kernel
def _execute_priced(m, out, at, i, side, bits):
    """The best order is executed a tick better than it shows, inside the spread if there is one."""
    half = row(m.sides, side)
    if half.count == 0:
        return _trade_unseen(m, out, at, i)
    order = row(m.orders, half.begin + half.count - 1)
    if order.order_ref == row(m.instruments, i).stuffing_ref:
        return _trade_unseen(m, out, at, i)
    rank = order.rank_ticks
    if not crosses(m, side, rank + 1):
        rank += 1
    fill = min(draw_qty(m), order.qty_shares)
    order_ref = order.order_ref
    order.qty_shares -= fill
    if order.qty_shares == 0:
        half.count -= 1
    return send_executed_price(m, out, at, i, order_ref, fill, price_of(side, rank), bits & 7 != 0)


@kernel
def _trade_unseen(m, out, at, i):
    """A trade at the best bid, the best offer or between; near the fair price if one is missing."""
    low = best_rank(m, 2 * i)
    high = best_rank(m, 2 * i + 1)
    fair_ticks = row(m.instruments, i).fair_ticks
    bid_ticks = fair_ticks if low == NO_RANK else low
    ask_ticks = max(fair_ticks, bid_ticks) if high == NO_RANK else -high
    bid_ticks = min(bid_ticks, ask_ticks)
    price_ticks = bid_ticks + flow_below(m, ask_ticks - bid_ticks + 1)
    return send_trade(m, out, at, i, draw_qty(m), price_ticks)


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
        taken = 100 * (1 + flow_below(m, (qty - 1) // 100))
    else:
        taken = 1 + flow_below(m, qty - 1)
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
        qty = draw_qty(m)
    rank = draw_rank(m, i, side, bits >> 2)
    if crosses(m, side, rank):
        rank = -best_rank(m, side ^ 1) - 1
    at = send_replace(m, out, at, i, side, old_ref, rank, qty, flow_draw(m))
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
    if flow_below(m, orders_resting(m, i)) < bids:
        return 2 * i
    return 2 * i + 1


@kernel
def _place_to_cancel(m, i, side):
    """An order of the flow: half the time the youngest near the touch, else one near or anywhere.

    So one order in ten lives for less than a millisecond, and a few for the day.
    """
    half = row(m.sides, side)
    top = half.begin + half.count - 1
    choice = flow_draw(m) & 3
    if choice == 0:
        place = top - flow_below(m, half.count)
    elif choice == 1:
        place = top - min(flow_exponential(m, 3), half.count - 1)
    else:
        place = _youngest(m, top, min(half.count, NEAR))
    if row(m.orders, place).order_ref == row(m.instruments, i).stuffing_ref:
        return place - 1 if place > half.begin else place + 1
    return place


@kernel
def _youngest(m, top, count):
    """The place of the last order to come among the `count` up to `top`."""
    place = top
    for at in range(top - count + 1, top):
        if row(m.orders, at).order_ref > row(m.orders, place).order_ref:
            place = at
    return place
