"""MoldUDP64: numbered messages in datagrams, each of which stands for itself.

    byte  0  session          10 letters
         10  sequence         u64, of the first message
         18  count            u16, of messages; 0: heartbeat, 0xFFFF: end of session
         20  count times: length u16, and that many bytes

The numbers make one stream of all lines of a feed (`arbitration`). A packet counts as a whole or
not at all: if its lengths do not add up to its size it is refused, as if it had been lost, and so
is a single message that the decoder refuses, until another line says the same (`agreement`). What
was lost in transit can still come by another line. Names and numbers that would do great harm if
they were damaged must be confirmed (`sessions`).

Source: "MoldUDP64 Protocol Specification", version 1.00.
"""

from onetape.codecs.agreement import pass_over, remember
from onetape.codecs.arbitration import (
    BODY_AT,
    arrive,
    cell_length,
    cell_line,
    cell_ts_recv_ns,
    expects_more,
    release,
    settle,
)
from onetape.codecs.feed import (
    BAD_PACKET,
    EVENT,
    GAP,
    NOTHING,
    REFUSED,
    refuse,
)
from onetape.codecs.itch50.decode import decode, misfit
from onetape.codecs.sessions import belongs
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, load_u16be
from onetape.compiled.rows import row

HEADER_BYTES = 20
END_OF_SESSION = 0xFFFF
SEQUENCE_MAX = 1 << 48  # a day has about 2**30 messages; keeps every sum here far from 2**63


@kernel
def open_packet(feed, held, buffer, at, end, line, ts_recv_ns):
    """Read the header of the datagram buffer[at:end], of line `line`.

    Returns where its first message begins. A packet without one to read (heartbeat, end of
    session, refused) gives `end`, or `end - 1` where there is something to settle.
    """
    feed.remaining = 0
    feed.line = line
    feed.line_packets[line] += 1
    reason = _check(feed, held, buffer, at, end, line)
    if reason >= 0:
        refuse(feed, reason)
        return _rest(feed, end)
    sequence = load_i64be(buffer, at + 10)
    count = load_u16be(buffer, at + 18)
    if count == 0:
        feed.heartbeats += 1
    elif count == END_OF_SESSION:
        feed.ended = 1
        count = 0
    elif sequence + count > feed.highest_sequence:
        feed.ended = 0  # it goes on: that was no end
    feed.highest_sequence = max(feed.highest_sequence, sequence + count)
    feed.at_sequence = sequence
    feed.remaining = count
    return at + HEADER_BYTES if count > 0 else _rest(feed, end)


@kernel
def next_message(feed, held, buffer, at, end, ts_recv_ns, events, gaps):
    """Read what comes next of the packet that was opened, at < end.

    Returns (where to go on, result). First the packet's own messages; then, with at == end - 1,
    the held ones that they set free, and what is to be said of gaps.
    """
    if feed.remaining > 0:
        feed.remaining -= 1
        sequence = feed.at_sequence
        feed.at_sequence = sequence + 1
        body, length = at + 2, load_u16be(buffer, at)
        at = body + length
        result = NOTHING
        reason = -1
        if sequence >= feed.next_sequence and (sequence > feed.next_sequence or feed.held > 0):
            reason = misfit(buffer, body, length)
        if reason >= 0:
            result = refuse(feed, reason)
            remember(feed, buffer, body, length, sequence, feed.line)
        elif arrive(feed, held, buffer, body, length, sequence, ts_recv_ns):
            result = decode(feed, buffer, body, length, sequence, ts_recv_ns, events)
            if result == REFUSED:
                _take_back(feed, buffer, body, length, feed.line)
            else:
                _note_time(feed, result, events)
                feed.progress_ns = ts_recv_ns
                feed.line_delivered[feed.line] += 1
        if feed.remaining == 0:
            return _rest(feed, end), result
        return at, result
    cell = release(feed, held)
    if cell >= 0:
        body, length = cell + BODY_AT, cell_length(held, cell)
        came_ns = cell_ts_recv_ns(held, cell)
        result = decode(feed, held, body, length, feed.next_sequence - 1, came_ns, events)
        if result == REFUSED:
            _take_back(feed, held, body, length, cell_line(held, cell))
        else:
            _note_time(feed, result, events)
        return at, result
    if pass_over(feed):
        return at, NOTHING
    if settle(feed, held, ts_recv_ns, feed.is_over != 0, gaps) == GAP:
        return at, GAP
    return end, NOTHING


@kernel
def pass_time(feed, at, is_over):
    """A tick, or (is_over) the end of the source: `at`, or `at - 1` if there is more to say."""
    feed.remaining = 0
    feed.is_over = is_over
    return _rest(feed, at)


@kernel
def _note_time(feed, result, events):
    if result == EVENT:
        feed.last_ts_event_ns = row(events, 0).ts_event_ns


@kernel
def _take_back(feed, buffer, body, length, line):
    """A message that the decoder refuses has not come: it is missing, and may come again."""
    feed.next_sequence -= 1
    remember(feed, buffer, body, length, feed.next_sequence, line)


@kernel
def _rest(feed, end):
    if expects_more(feed):
        return end - 1
    return end


@kernel
def _check(feed, held, buffer, at, end, line):
    """Why the packet is refused, or -1. Adopts the session it names, where that is believed."""
    if end - at < HEADER_BYTES:
        return BAD_PACKET
    sequence = load_i64be(buffer, at + 10)
    if sequence < 0 or sequence > SEQUENCE_MAX or not _adds_up(buffer, at, end):
        return BAD_PACKET
    count = load_u16be(buffer, at + 18)
    return belongs(feed, held, buffer, at, line, sequence, 0 if count == END_OF_SESSION else count)


@kernel
def _adds_up(buffer, at, end):
    """Do the lengths in the packet fill it exactly?"""
    count = load_u16be(buffer, at + 18)
    if count == END_OF_SESSION:
        count = 0
    at += HEADER_BYTES
    for _ in range(count):
        if at + 2 > end:
            return False
        at += 2 + load_u16be(buffer, at)
    return at == end
