"""Framing of ITCH files: each message after its length, two bytes, big-endian.

A length of zero means "as long as its type": one public file has nothing but zeros there. The
file has no numbers, so a message's sequence is its ordinal, from 1; a refused message has one too,
so that the numbers of the rest do not depend on what is refused.
"""

from onetape.codecs.feed import REFUSED, TRUNCATED, UNKNOWN_TYPE, refuse
from onetape.codecs.itch50.decode import decode
from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_u16be

PREFIX_BYTES = 2


@kernel
def open_packet(feed, held, buffer, at, end, line, ts_recv_ns):
    """A run of messages has no header of its own."""
    return at


@kernel
def next_message(feed, held, buffer, at, end, ts_recv_ns, events, gaps):
    """Read the message at buffer[at:], at < end. Returns (where the next one begins, result).

    After a message that is cut off at `end`, or of which nobody knows the length, the rest of the
    run is dropped: next is `end`. A message that is refused is lost, and the feed stale from then.
    """
    sequence = feed.next_sequence
    feed.next_sequence = sequence + 1
    body = at + PREFIX_BYTES
    if body >= end:
        return end, _lose(feed, TRUNCATED)
    length = load_u16be(buffer, at)
    if length == 0:
        length = BODY_BYTES[buffer[body]]
        if length == 0:
            return end, _lose(feed, UNKNOWN_TYPE)
    if body + length > end:
        return end, _lose(feed, TRUNCATED)
    result = decode(feed, buffer, body, length, sequence, ts_recv_ns, events)
    if result == REFUSED:
        feed.stale = 1
    return body + length, result


@kernel
def pass_time(feed, at, is_over):
    """A file has nothing that waits."""
    return at


@kernel
def _lose(feed, reason):
    feed.stale = 1
    return refuse(feed, reason)
