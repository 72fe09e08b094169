"""What an order of the flow looks like: its price and its size, drawn."""

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.sim.exchange_state import FLOW
from onetape.sim.random import below, draw, exponential


@kernel
def flow_draw(m):
    return draw(row(m.session, 0).streams, FLOW)


@kernel
def flow_below(m, n):
    return below(row(m.session, 0).streams, FLOW, n)


@kernel
def flow_exponential(m, mean):
    s = row(m.session, 0)
    return exponential(s.streams, FLOW, s.exponential, mean)


@kernel
def touch_rank(m, i, side):
    """Rank of a new order at distance 0: half a spread from what the instrument is worth."""
    instrument = row(m.instruments, i)
    if side & 1:
        return 1 - instrument.fair_ticks - instrument.half_spread_ticks
    return instrument.fair_ticks - instrument.half_spread_ticks


@kernel
def draw_rank(m, i, side, bits):
    """Exponential distance from the touch; one order in 16 is much deeper."""
    distance_ticks = row(m.instruments, i).distance_ticks
    depth = min(flow_exponential(m, distance_ticks), 100)
    if bits & 15 == 0:
        depth += 20 + flow_below(m, 60)
    return touch_rank(m, i, side) - depth


@kernel
def draw_qty(m):
    """Shares: mostly 100, some hundreds, odd lots, a few thousands."""
    word = flow_draw(m)
    style = word & 15
    more = shift_right(word, 32)
    if style < 11:
        return 100
    if style < 13:
        return 100 * (2 + (more & 7))
    if style < 15:
        return 1 + ((more * 99) >> 32)
    return 1000 + 100 * (more & 31)
