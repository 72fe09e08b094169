"""The background flow: who acts when, and what they do. One arrival a call.

Arrivals are clustered: after one the next is often of the same instrument and soon, else some
time passes, and now and then a long time (a mixture of exponentials, so the gaps have a heavy
tail; their mean is what was asked for). What an arrival does is drawn from fixed shares; whether an
order comes or goes depends on how many rest, which keeps that number near the instrument's target.

The flow never stuffs quotes, by construction: an instrument remembers the times of its last five
cancel-like messages (D, X, U), and a sixth within 10 ms is not sent. The arrival then goes to
another instrument, and if that is no help it adds or executes instead. So where an instrument is
asked for more than about 500 messages a second the mix shifts from D towards E.
"""

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.sim.exchange_acts import (
    ADD,
    DELETE,
    EXECUTE,
    PARTIAL,
    PRICED,
    REPLACE,
    TRADE,
    carry_out,
    may_cancel,
    orders_resting,
)
from onetape.sim.exchange_draws import flow_draw, flow_exponential
from onetape.sim.random import LOW_WORD

CHURN = 7  # an order comes or goes: which is decided where it arrives

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


@kernel
def flow_arrival(m, out, at):
    """One arrival at session.flow_next_ns; schedules the next. Returns the next place in `out`.

    Writes one message, or up to FILLS_MAX executions. About 100 ns.
    """
    s = row(m.session, 0)
    s.now_ns = s.flow_next_ns
    word = flow_draw(m)
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
        act = ADD if orders_resting(m, i) < row(m.instruments, i).orders_target else EXECUTE
    _wander(m, i, shift_right(word, 24))
    at = carry_out(m, out, at, i, act, shift_right(word, 40))
    _schedule(m, i)
    return at


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
def _act_at(m, i, kind, lean):
    """What an arrival of that kind does at this instrument: who takes needs something to take."""
    resting = orders_resting(m, i)
    if kind == TRADE:
        return TRADE
    if resting == 0:
        return ADD
    if kind == CHURN:
        target = row(m.instruments, i).orders_target
        comes_of_4096 = 2048 + 2048 * (target - resting) // target
        return ADD if lean < min(max(comes_of_4096, 256), 3840) else DELETE
    return kind


@kernel
def _pick_instrument(m):
    """By activity, in O(1): see alias_table."""
    word = flow_draw(m)
    i = (shift_right(word, 32) * m.instruments.shape[0]) >> 32
    instrument = row(m.instruments, i)
    if word & LOW_WORD >= instrument.alias_share:
        return instrument.alias
    return i


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
    word = flow_draw(m)
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
    s.flow_next_ns += flow_exponential(m, mean_ns)
