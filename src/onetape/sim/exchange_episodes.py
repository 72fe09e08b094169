"""Labelled quote stuffing: orders placed and deleted again, fast, with no wish to trade.

An episode is a chain of pairs, an order near the touch and its deletion, on one side of one
instrument. Six deletions in a row never take more than 10 ms (see PACE_MAX_NS), so from the sixth
on every one breaks the rule of more than five cancels in 10 ms. The flow cancels nothing at this
instrument from 10 ms before to 10 ms after, and leaves the episode's order alone, so the label
says exactly what a detector must find.
"""

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.compiled.timers import NEVER, first, set_timer
from onetape.sim.exchange_acts import note_cancel
from onetape.sim.exchange_book import (
    NO_RANK,
    best_rank,
    crosses,
    find_order,
    insert_order,
    remove_order,
)
from onetape.sim.exchange_draws import touch_rank
from onetape.sim.exchange_send import send_add, send_delete
from onetape.sim.exchange_state import CANCELS_QUIET, EPISODES, NEVER_NS, NO_ORDER, WINDOW_NS
from onetape.sim.random import below, draw


@kernel
def episode_message(m, agenda, out, at):
    """The next message of the episode that is due first. Returns the next place in `out`."""
    slot = first(agenda.heap)
    plan = row(agenda.episodes, slot)
    row(m.session, 0).now_ns = plan.next_ns
    if row(m.instruments, plan.instrument).stuffing_ref == NO_ORDER:
        at = _place(m, out, at, plan)
    else:
        at = _pull(m, agenda, out, at, plan)
    set_timer(agenda.timers, agenda.heap, slot, slot, plan.next_ns)
    return at


@kernel
def _place(m, out, at, plan):
    i, side = plan.instrument, 2 * plan.instrument + plan.side
    word = draw(row(m.session, 0).streams, EPISODES)
    rank = best_rank(m, side)
    if rank == NO_RANK:
        rank = touch_rank(m, i, side)
    rank -= shift_right(word, 32) & 3
    if crosses(m, side, rank):
        rank = -best_rank(m, side ^ 1) - 1
    qty = 100 * (1 + (shift_right(word, 34) & 15))
    at = send_add(m, out, at, i, side, rank, qty, word)
    order_ref = row(m.session, 0).order_ref
    insert_order(m, side, order_ref, rank, qty)
    row(m.instruments, i).stuffing_ref = order_ref
    streams = row(m.session, 0).streams
    plan.gap_ns = plan.pace_ns // 2 + below(streams, EPISODES, plan.pace_ns)
    rests_ns = plan.gap_ns // 4 + below(streams, EPISODES, plan.gap_ns // 2)
    plan.next_ns += rests_ns
    plan.gap_ns -= rests_ns
    return at


@kernel
def _pull(m, agenda, out, at, plan):
    i, side = plan.instrument, 2 * plan.instrument + plan.side
    instrument = row(m.instruments, i)
    order_ref = instrument.stuffing_ref
    remove_order(m, side, find_order(m, side, order_ref))
    instrument.stuffing_ref = NO_ORDER
    at = send_delete(m, out, at, i, order_ref)
    note_cancel(m, i, plan.next_ns)
    plan.pairs_done += 1
    if plan.pairs_done == 1:
        plan.first_cancel_ns = plan.next_ns
    if plan.pairs_done == CANCELS_QUIET + 1:
        plan.sixth_cancel_ns = plan.next_ns
    plan.last_ns = plan.next_ns
    plan.next_ns += plan.gap_ns
    if plan.pairs_done == plan.pairs:
        _finish(m, agenda, plan)
    return at


@kernel
def _finish(m, agenda, plan):
    """Let the flow cancel again, until the instrument's next episode is near."""
    instrument = row(m.instruments, plan.instrument)
    instrument.quiet_until_ns = plan.last_ns + WINDOW_NS
    instrument.quiet_from_ns = NEVER_NS
    if plan.following >= 0:
        instrument.quiet_from_ns = row(agenda.episodes, plan.following).start_ns - WINDOW_NS
    plan.next_ns = NEVER
