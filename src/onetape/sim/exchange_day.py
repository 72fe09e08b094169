"""The day as one resumable kernel: opening messages, trading, closing messages, end.

A call fills a buffer with whole messages and stops where the next arrival might not fit; all that
must be remembered is in the arrays, so any sizes of buffers give the same bytes.

    09:29:59  S 'O', each instrument's R, each instrument's H, S 'S'
    09:30:00  S 'Q', then the flow and the episodes in the order of time
    end       S 'M', S 'E', S 'C' (a microsecond apart; a real day has hours between)
"""

from onetape.codecs.itch50.write import (
    write_directory,
    write_system_event,
    write_trading_action,
)
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.compiled.timers import next_wake
from onetape.sim.exchange_episodes import episode_message
from onetape.sim.exchange_flow import flow_arrival
from onetape.sim.exchange_send import PREFIX_BYTES, TRACKING, close_message

ARRIVAL_BYTES_MAX = 320  # no arrival writes more: FILLS_MAX executions of 33 bytes

OPENING, TRADING, CLOSING, ENDED = range(4)
OPENING_NS = 1_000_000_000
CLOSING_GAP_NS = 1_000

_OPEN, _SYSTEM, _MARKET = ord("O"), ord("S"), ord("Q")
_CLOSING_CODES = (ord("M"), ord("E"), ord("C"))
_GLOBAL_SELECT, _NORMAL, _TRADING, _LOT = ord("Q"), ord("N"), ord("T"), 100


@kernel
def fill(m, agenda, out, at):
    """Write the messages that come next to out[at:] (u8); returns where they end, `at` at the end.

    A call writes something, unless the day is over, where there is room for ARRIVAL_BYTES_MAX.
    """
    s = row(m.session, 0)
    for _ in range(out.shape[0] // PREFIX_BYTES):
        if at + ARRIVAL_BYTES_MAX > out.shape[0] or s.phase == ENDED:
            break
        at = _step(m, agenda, out, at)
    return at


@kernel
def fill_until(m, agenda, out, at, until_ns):
    """As `fill`, but nothing that trading brings at `until_ns` or later."""
    for _ in range(out.shape[0] // PREFIX_BYTES):
        if at + ARRIVAL_BYTES_MAX > out.shape[0] or is_reached(m, until_ns):
            break
        at = _step(m, agenda, out, at)
    return at


@kernel
def is_reached(m, until_ns):
    """Is the flow's next arrival no earlier than that?"""
    s = row(m.session, 0)
    return s.phase == ENDED or (s.phase == TRADING and s.flow_next_ns >= until_ns)


@kernel
def _step(m, agenda, out, at):
    s = row(m.session, 0)
    if s.phase == TRADING:
        return _trade(m, agenda, out, at)
    if s.phase == OPENING:
        return _open(m, out, at)
    return _close(m, out, at)


@kernel
def _trade(m, agenda, out, at):
    s = row(m.session, 0)
    episode_ns = next_wake(agenda.timers, agenda.heap)
    if episode_ns <= s.flow_next_ns:
        return episode_message(m, agenda, out, at)
    if s.flow_next_ns < s.end_ns:
        return flow_arrival(m, out, at)
    s.phase = CLOSING
    s.cursor = 0
    return at


@kernel
def _open(m, out, at):
    s = row(m.session, 0)
    instruments = m.instruments.shape[0]
    step_ns = OPENING_NS // (2 * instruments + 2)
    k = s.cursor
    s.cursor += 1
    s.now_ns = s.start_ns - OPENING_NS + k * step_ns
    if k == 0:
        return _system_event(m, out, at, _OPEN)
    if k <= instruments:
        return _directory(m, out, at, k - 1)
    if k <= 2 * instruments:
        return _trading_action(m, out, at, k - 1 - instruments)
    if k == 2 * instruments + 1:
        return _system_event(m, out, at, _SYSTEM)
    s.now_ns = s.start_ns
    s.phase = TRADING
    return _system_event(m, out, at, _MARKET)


@kernel
def _close(m, out, at):
    s = row(m.session, 0)
    k = s.cursor
    s.cursor += 1
    s.now_ns = s.end_ns + k * CLOSING_GAP_NS
    if k == 2:
        s.phase = ENDED
    return _system_event(m, out, at, _CLOSING_CODES[k])


@kernel
def _system_event(m, out, at, code):
    ts_ns = row(m.session, 0).now_ns
    return close_message(
        m, out, at, write_system_event(out, at + PREFIX_BYTES, 0, TRACKING, ts_ns, code)
    )


@kernel
def _directory(m, out, at, i):
    ts_ns = row(m.session, 0).now_ns
    stock = row(m.instruments, i).stock_word
    body = at + PREFIX_BYTES
    size = write_directory(out, body, i + 1, TRACKING, ts_ns, stock, _GLOBAL_SELECT, _NORMAL, _LOT)
    return close_message(m, out, at, size)


@kernel
def _trading_action(m, out, at, i):
    ts_ns = row(m.session, 0).now_ns
    stock = row(m.instruments, i).stock_word
    size = write_trading_action(out, at + PREFIX_BYTES, i + 1, TRACKING, ts_ns, stock, _TRADING)
    return close_message(m, out, at, size)
