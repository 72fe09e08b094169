"""Framing of a feed that was divided: each message after its length and its number.

    byte  0  base        u64, big-endian: a sequence number
          8  per message: length u16, ahead u32 (its number is base + ahead), and that many bytes

A part of a feed has some of its messages, so their numbers leave others out: no gap is seen in
that. Made from a feed in which nothing was missing (`sharding`), and carried by something that
loses nothing.
"""

from onetape.codecs.feed import NOTHING, REFUSED, TRUNCATED, refuse
from onetape.codecs.itch50.decode import decode
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, load_u16be, load_u32be

BASE_BYTES = 8
PREFIX_BYTES = 6


@kernel
def open_packet(feed, held, buffer, at, end, line, ts_recv_ns):
    """Read the base; returns where the first message begins."""
    if at + BASE_BYTES > end:
        feed.stale = 1
        refuse(feed, TRUNCATED)
        return end
    feed.at_sequence = load_i64be(buffer, at)
    return at + BASE_BYTES


@kernel
def next_message(feed, held, buffer, at, end, ts_recv_ns, events, gaps):
    """Read the message at buffer[at:], at < end. Returns (where the next one begins, result)."""
    body = at + PREFIX_BYTES
    length = load_u16be(buffer, at) if body < end else 0
    if length == 0 or body + length > end:
        feed.at_sequence = 0
        feed.stale = 1
        return end, refuse(feed, TRUNCATED)
    sequence = feed.at_sequence + load_u32be(buffer, at + 2)
    if body + length == end:
        feed.at_sequence = 0  # a packet leaves nothing behind: state does not tell how it was cut
    if sequence < feed.next_sequence:
        feed.duplicates += 1
        return body + length, NOTHING
    feed.next_sequence = sequence + 1
    result = decode(feed, buffer, body, length, sequence, ts_recv_ns, events)
    if result == REFUSED:
        feed.stale = 1
    return body + length, result


@kernel
def peek(buffer, at, stop):
    """A guess at (order id, next at): of which order the message at buffer[at:] speaks."""
    if at + PREFIX_BYTES + 19 > stop:
        return 0, stop
    return load_i64be(buffer, at + PREFIX_BYTES + 11), at + PREFIX_BYTES + load_u16be(buffer, at)


@kernel
def pass_time(feed, at, is_over):
    """Nothing waits."""
    return at
