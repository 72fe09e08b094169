"""FIX messages back to back, as one side of a session sent them: numbered, each once.

What is read is what the sender of the first ExecutionReport sends to its receiver (a log may hold
the other direction too). Numbering begins there. A number that is left out is lost at once, for
here is nobody to ask: a Gap LOST, and what follows is stale; so it is after a message that cannot
be read. A sequence reset that fills a gap loses nothing. Messages seen before (PossDupFlag, or an
old number) are dropped.
"""

from onetape.codecs.feed import (
    BAD_FIELD,
    BAD_PACKET,
    FIELD_MISSING,
    GAP,
    NOTHING,
    REFUSED,
    UNKNOWN_TYPE,
    refuse,
)
from onetape.codecs.fix44.decode import begin_of, end_of, report
from onetape.codecs.fix44.scan import SPOTS_BYTES, begins, find_begin, measure, note_fields
from onetape.codecs.fix44.spec import (
    GAP_FILL,
    MSG_TYPE,
    NEW_SEQUENCE,
    RESET,
    SENDER,
    SEQUENCE,
    SOH,
    TARGET,
)
from onetape.codecs.fix44.values import number, text_hash
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.records.market import GAP_LOST

HELD_BYTES = SPOTS_BYTES
GAP_MESSAGES_MAX = 1 << 62
NUMBER_MAX = 1 << 53

_REPORT, _LOGON, _SEQUENCE_RESET, _YES, _FOUR = b"8A4Y4"
_TRAILER_BYTES = 7


@kernel
def open_packet(feed, held, buffer, at, end, line, ts_recv_ns):
    """A run of messages has no header of its own."""
    return at


@kernel
def next_message(feed, held, buffer, at, end, ts_recv_ns, orders, gaps):
    """Read the message at buffer[at:end]; see `codecs.framing`. `held` notes where fields stand."""
    if not begins(buffer, at, end):
        at, passed = find_begin(buffer, at, end)
        if passed:
            return at, _lose(feed, BAD_PACKET)
        return at, NOTHING
    body, trailer, reason = measure(buffer, at, end)
    if reason < 0:
        reason = note_fields(buffer, body, trailer, held)
    if reason >= 0:
        following, _ = find_begin(buffer, at + 1, end)
        return following, _lose(feed, reason)
    following = trailer + _TRAILER_BYTES
    kind = begin_of(held, MSG_TYPE)
    if min(kind, begin_of(held, SENDER), begin_of(held, TARGET), begin_of(held, SEQUENCE)) == 0:
        return following, _lose(feed, FIELD_MISSING)
    sequence = number(buffer, begin_of(held, SEQUENCE), end_of(held, SEQUENCE))
    if sequence < 0 or sequence > NUMBER_MAX:
        return following, _lose(feed, BAD_FIELD)
    letter = int(buffer[kind]) if end_of(held, MSG_TYPE) == kind + 1 else 0
    sender = text_hash(buffer, begin_of(held, SENDER), end_of(held, SENDER))
    target = text_hash(buffer, begin_of(held, TARGET), end_of(held, TARGET))
    if feed.sessions == 0:
        if letter != _REPORT:
            return following, NOTHING
        feed.sessions = 1
        feed.session[0], feed.session[1] = sender, target
        feed.next_sequence = sequence
    if sender != feed.session[0] or target != feed.session[1]:
        return following, NOTHING
    if letter == _LOGON and is_yes(buffer, held, RESET):
        feed.next_sequence = sequence  # numbers begin anew, by agreement
    reset_to = 0
    if letter == _SEQUENCE_RESET:
        if begin_of(held, NEW_SEQUENCE) == 0:
            return following, _lose(feed, FIELD_MISSING)
        reset_to = number(buffer, begin_of(held, NEW_SEQUENCE), end_of(held, NEW_SEQUENCE))
        if reset_to <= 0 or reset_to > NUMBER_MAX:
            return following, _lose(feed, BAD_FIELD)
        if not is_yes(buffer, held, GAP_FILL):  # whatever was before is given up
            feed.heartbeats += 1
            if reset_to > feed.next_sequence:
                return following, _lost(feed, gaps, reset_to, ts_recv_ns)
            return following, NOTHING
    if sequence < feed.next_sequence:
        if feed.gap_sequence <= sequence < feed.gap_until:
            feed.after_loss += 1
        else:
            feed.duplicates += 1
        return following, NOTHING
    if sequence > feed.next_sequence:
        return at, _lost(feed, gaps, sequence, ts_recv_ns)
    feed.next_sequence = max(sequence + 1, reset_to)
    feed.highest_sequence = feed.next_sequence
    if letter != _REPORT:
        feed.heartbeats += 1
        return following, NOTHING
    if not _is_44(buffer, at, body):
        return following, _lose(feed, UNKNOWN_TYPE)
    result = report(feed, buffer, held, sequence, ts_recv_ns, orders)
    if result == REFUSED:
        feed.stale = 1
    return following, result


@kernel
def is_yes(buffer, held, slot):
    """Is there this flag, and is it Y?"""
    at = begin_of(held, slot)
    return at != 0 and end_of(held, slot) == at + 1 and buffer[at] == _YES


@kernel
def pass_time(feed, at, is_over):
    """Nothing waits here."""
    return at


@kernel
def peek(buffer, at, stop):
    """Which order comes next cannot be guessed."""
    return 0, stop


@kernel
def _is_44(buffer, at, body):
    """Is it "8=FIX.4.4"?"""
    return (
        body - at > 10
        and buffer[at + 5] == ord(".")
        and buffer[at + 6] == _FOUR
        and buffer[at + 7] == ord(".")
        and buffer[at + 8] == _FOUR
        and buffer[at + 9] == SOH
    )


@kernel
def _lose(feed, reason):
    feed.stale = 1
    return refuse(feed, reason)


@kernel
def _lost(feed, gaps, until, ts_recv_ns):
    """All numbers up to `until` are given up: GAP, with gaps[0] filled."""
    g = row(gaps, 0)
    g.ts_event_ns = feed.last_ts_event_ns
    g.ts_recv_ns = ts_recv_ns
    g.first_sequence = feed.next_sequence
    g.messages_count = until - feed.next_sequence
    g.waited_ns = 0
    g.state = GAP_LOST
    g.flags = 0
    feed.gaps += 1
    feed.gap_messages = min(feed.gap_messages + g.messages_count, GAP_MESSAGES_MAX)
    feed.gap_sequence = feed.next_sequence
    feed.gap_until = until
    feed.next_sequence = until
    feed.highest_sequence = until
    feed.stale = 1
    return GAP
