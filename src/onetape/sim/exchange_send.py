"""What the simulated exchange says: one kernel a message, written, counted and numbered.

Each takes the place in `out` and returns the next one. A message in the file is its length
(2 bytes, big-endian) and its body.
"""

from onetape.codecs.itch50.write import (
    write_add,
    write_add_mpid,
    write_cancel,
    write_delete,
    write_executed,
    write_executed_price,
    write_replace,
    write_trade,
)
from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import store_u16be
from onetape.compiled.rows import row
from onetape.records.market import ASK, BID
from onetape.sim.exchange_book import price_of

PREFIX_BYTES = 2
TRACKING = 0
PRICE_PER_TICK = 100  # ITCH prices have four decimals, our ticks are cents
MPIDS = (0x5A414141, 0x5A424242, 0x5A434343, 0x5A444444)  # 'ZAAA' to 'ZDDD', made up
YES, NO = ord("Y"), ord("N")


@kernel
def close_message(m, out, at, body_bytes):
    """Put the length in front of the body at out[at + 2:], and count it."""
    store_u16be(out, at, body_bytes)
    s = row(m.session, 0)
    s.counts[out[at + PREFIX_BYTES]] += 1
    s.messages += 1
    return at + PREFIX_BYTES + body_bytes


@kernel
def send_add(m, out, at, i, side, rank, qty, word):
    """A new order; gives it its reference. One in 32 names who placed it. `word`: random bits."""
    s = row(m.session, 0)
    order_ref = _next_ref(m, word)
    stock = row(m.instruments, i).stock_word
    price = price_of(side, rank) * PRICE_PER_TICK
    body, letter = at + PREFIX_BYTES, _letter(side)
    if word & 31 == 0:
        mpid = MPIDS[shift_right(word, 5) & 3]
        size = write_add_mpid(
            out, body, i + 1, TRACKING, s.now_ns, order_ref, letter, qty, stock, price, mpid
        )
    else:
        size = write_add(out, body, i + 1, TRACKING, s.now_ns, order_ref, letter, qty, stock, price)
    return close_message(m, out, at, size)


@kernel
def send_delete(m, out, at, i, order_ref):
    s = row(m.session, 0)
    size = write_delete(out, at + PREFIX_BYTES, i + 1, TRACKING, s.now_ns, order_ref)
    return close_message(m, out, at, size)


@kernel
def send_cancel(m, out, at, i, order_ref, qty):
    s = row(m.session, 0)
    size = write_cancel(out, at + PREFIX_BYTES, i + 1, TRACKING, s.now_ns, order_ref, qty)
    return close_message(m, out, at, size)


@kernel
def send_replace(m, out, at, i, side, old_ref, rank, qty, word):
    """A new order in the place of an old one; gives it its reference."""
    s = row(m.session, 0)
    new_ref = _next_ref(m, word)
    price = price_of(side, rank) * PRICE_PER_TICK
    body = at + PREFIX_BYTES
    size = write_replace(out, body, i + 1, TRACKING, s.now_ns, old_ref, new_ref, qty, price)
    return close_message(m, out, at, size)


@kernel
def send_executed(m, out, at, i, order_ref, qty):
    s = row(m.session, 0)
    s.match += 1
    body = at + PREFIX_BYTES
    size = write_executed(out, body, i + 1, TRACKING, s.now_ns, order_ref, qty, s.match)
    return close_message(m, out, at, size)


@kernel
def send_executed_price(m, out, at, i, order_ref, qty, price_ticks, is_printable):
    s = row(m.session, 0)
    s.match += 1
    printable = YES if is_printable else NO
    price = price_ticks * PRICE_PER_TICK
    body = at + PREFIX_BYTES
    size = write_executed_price(
        out, body, i + 1, TRACKING, s.now_ns, order_ref, qty, s.match, printable, price
    )
    return close_message(m, out, at, size)


@kernel
def send_trade(m, out, at, i, qty, price_ticks):
    """An execution against an order that was never shown: reference 0 and 'B', as NASDAQ does."""
    s = row(m.session, 0)
    s.match += 1
    stock = row(m.instruments, i).stock_word
    price = price_ticks * PRICE_PER_TICK
    body = at + PREFIX_BYTES
    size = write_trade(out, body, i + 1, TRACKING, s.now_ns, 0, BID, qty, stock, price, s.match)
    return close_message(m, out, at, size)


@kernel
def _next_ref(m, word):
    """References go up by 1 to 4: dense enough to be real, with gaps as in a real feed."""
    s = row(m.session, 0)
    s.order_ref += 1 + (shift_right(word, 7) & 3)
    return s.order_ref


@kernel
def _letter(side):
    if side & 1:
        return ASK
    return BID
