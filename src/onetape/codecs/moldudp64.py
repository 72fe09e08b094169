"""MoldUDP64: numbered messages in datagrams, each of which stands for itself.

    byte  0  session          10 letters
         10  sequence         u64, of the first message
         18  count            u16, of messages; 0: heartbeat, 0xFFFF: end of session
         20  count times: length u16, and that many bytes

Loss shows in the numbers: a packet (or a heartbeat) that begins after the sequence expected is a
gap, counted with the number of messages it lacks, and reading goes on from there. Messages below
the sequence expected are duplicates, which is how the second line of a feed is folded in. A new
session starts its numbers anew: it and its first sequence are adopted and counted.

Source: "MoldUDP64 Protocol Specification", version 1.00.
"""

from onetape.codecs.feed import BAD_PACKET, BAD_SESSION, NOTHING, refuse
from onetape.codecs.itch50.decode import decode
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, load_u16be

HEADER_BYTES = 20
END_OF_SESSION = 0xFFFF
SEQUENCE_MAX = 1 << 48  # a day has about 2**30 messages; keeps every sum here far from 2**63
GAP_MESSAGES_MAX = 1 << 62


@kernel
def open_packet(feed, buffer, at, end):
    """Read the header of the datagram buffer[at:end].

    Returns where its first message begins, or `end` when there is none to read: heartbeat, end of
    session, or a packet that is refused (BAD_PACKET, BAD_SESSION) here, as a whole.
    """
    feed.remaining = 0
    if end - at < HEADER_BYTES:
        refuse(feed, BAD_PACKET)
        return end
    sequence = load_i64be(buffer, at + 10)
    if sequence < 0 or sequence > SEQUENCE_MAX:
        refuse(feed, BAD_PACKET)
        return end
    first = load_i64be(buffer, at)
    last = load_u16be(buffer, at + 8)
    if feed.sessions == 0 or first != feed.session[0] or last != feed.session[1]:
        if not _is_printable(buffer, at):
            refuse(feed, BAD_SESSION)
            return end
        if feed.sessions > 0:
            feed.next_sequence = sequence
            feed.ended = 0
        feed.session[0] = first
        feed.session[1] = last
        feed.sessions += 1
    if sequence > feed.next_sequence:
        feed.gaps += 1
        missing = sequence - feed.next_sequence
        feed.gap_messages = min(feed.gap_messages + missing, GAP_MESSAGES_MAX)
        feed.next_sequence = sequence
    count = load_u16be(buffer, at + 18)
    if count == 0:
        feed.heartbeats += 1
        return end
    if count == END_OF_SESSION:
        feed.ended = 1
        return end
    feed.at_sequence = sequence
    feed.remaining = count
    return at + HEADER_BYTES


@kernel
def next_message(feed, buffer, at, end, ts_recv_ns, events):
    """Read the message at buffer[at:], at < end. Returns (where the next one begins, result).

    A message that runs past `end`, or bytes after the last one announced, are one BAD_PACKET and
    the rest of the packet is dropped: next is `end`. What it should have held then shows as a gap.
    """
    body = at + 2
    if feed.remaining <= 0 or body > end:
        return end, refuse(feed, BAD_PACKET)
    length = load_u16be(buffer, at)
    if body + length > end:
        return end, refuse(feed, BAD_PACKET)
    sequence = feed.at_sequence
    feed.at_sequence = sequence + 1
    feed.remaining -= 1
    if sequence < feed.next_sequence:
        feed.duplicates += 1
        return body + length, NOTHING
    feed.next_sequence = sequence + 1
    return body + length, decode(feed, buffer, body, length, sequence, ts_recv_ns, events)


@kernel
def _is_printable(buffer, at):
    """Are the ten bytes ASCII letters, digits, spaces or signs?"""
    for i in range(10):
        if buffer[at + i] < 32 or buffer[at + i] > 126:
            return False
    return True
