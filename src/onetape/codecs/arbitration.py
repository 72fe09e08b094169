"""One numbered stream out of many lines: A and B, and what was asked for again.

Messages leave in the order of the venue's numbers, each once. A message that comes too early is
*held*, in a ring of cells by number, until those before it have come, on whatever line. While any
is missing there is a *gap*. Three things can be said of it, each a `Gap` record:

    OPENED  messages are missing, and later ones (or a heartbeat) are here
    FILLED  all of them have come after all: nothing was lost, nothing is out of order
    LOST    `patience_ns` have passed since the first message behind them came, or since one of
            them did, or the ring is three quarters full: they are given up, the stream goes on
            behind them, and `feed.stale` is set for good, because nobody knows what they would
            have said

Time here is the receive time on the tape, so a replay gives up where the live run did. A message
whose cell is taken (by one 65 536 numbers away) is dropped: it is missing then, and will be asked
for when its turn comes.

Damage that a codec cannot see (a wrong number in a well-formed packet) shows where two packets
disagree on one number: neither is believed, the message is missing again (`feed.conflicts`).
"""

from onetape.codecs.agreement import TWO_LINES, forget_refused
from onetape.codecs.feed import GAP, NOTHING
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import (
    copy_bytes,
    load_i64le,
    load_u16le,
    store_i64le,
    store_u16le,
)
from onetape.compiled.rows import row
from onetape.records.market import GAP_FILLED, GAP_LOST, GAP_OPENED

HELD_MESSAGES = 1 << 16  # cells of the ring
HELD_MOST = 3 << 14  # when so many wait, waiting longer would lose good ones: the gap is given up
CELL_BYTES = 80
BODY_AT = 20
BODY_MAX = CELL_BYTES - BODY_AT  # the longest ITCH message has 50 bytes
GAP_MESSAGES_MAX = 1 << 62
LOSSES_KEPT = 16
ABANDONED = 2  # of feed.gap_open: the loss of an old session's messages is still to be said


@kernel
def expects_more(feed):
    """Is there anything to settle: a gap, or messages behind one?"""
    return feed.highest_sequence > feed.next_sequence or feed.gap_open != 0


@kernel
def arrive(feed, held, buffer, body, length, sequence, ts_recv_ns):
    """A message has come. True if it is the one expected; else it is held, or seen before.

    After True the caller reads the message; it counts as delivered, and once it has been read
    well, as progress.
    """
    if sequence == feed.next_sequence:
        if feed.held == 0 or load_i64le(held, _cell(sequence)) != sequence:
            feed.next_sequence = sequence + 1
            return True
    if sequence < feed.next_sequence:
        if _was_lost(feed, sequence):
            feed.after_loss += 1
        else:
            feed.duplicates += 1
        return False
    cell = _cell(sequence)
    there = load_i64le(held, cell)
    if there == sequence:
        if _is_same(held, cell, buffer, body, length):
            feed.duplicates += 1
            if load_u16le(held, cell + 18) != feed.line:
                store_u16le(held, cell + 18, TWO_LINES)
        else:
            feed.conflicts += 1
            _forget(feed, held, cell)
        return False
    if there != 0 or length > BODY_MAX:
        feed.not_held += 1
        return False
    store_i64le(held, cell, sequence)
    store_i64le(held, cell + 8, ts_recv_ns)
    store_u16le(held, cell + 16, length)
    store_u16le(held, cell + 18, feed.line)
    copy_bytes(held, cell + BODY_AT, buffer, body, length)
    if feed.held == 0 or sequence < feed.held_from:
        feed.held_from = sequence
    feed.held += 1
    return False


@kernel
def release(feed, held):
    """Take the held message that is expected now: where its cell is, or -1 if it is not there.

    Its body is held[cell + BODY_AT:], its length and receive time are in the cell. It counts as
    delivered and is forgotten; its bytes stay until another message needs the cell.
    """
    if feed.held == 0:
        return -1
    cell = _cell(feed.next_sequence)
    if load_i64le(held, cell) != feed.next_sequence:
        return -1
    feed.next_sequence += 1
    _forget(feed, held, cell)
    return cell


@kernel
def cell_length(held, cell):
    return load_u16le(held, cell + 16)


@kernel
def cell_line(held, cell):
    """The line that brought it, or TWO_LINES."""
    return load_u16le(held, cell + 18)


@kernel
def cell_ts_recv_ns(held, cell):
    return load_i64le(held, cell + 8)


@kernel
def settle(feed, held, ts_recv_ns, is_over, gaps):
    """What is to be said of gaps now that nothing can be released: GAP, with gaps[0] filled, or
    NOTHING. To be called until NOTHING, releasing in between: after LOST there may be more.

    is_over  the source has ended: nothing will come any more
    """
    if feed.gap_open == ABANDONED:
        feed.gap_open = 0
        return _say(feed, gaps, GAP_LOST, feed.gap_until, ts_recv_ns)
    missing = feed.highest_sequence > feed.next_sequence
    if feed.gap_open == 0:
        if not missing:
            return NOTHING
        feed.gap_open = 1
        feed.gap_sequence = feed.next_sequence
        goes_on = _first_held(feed, held)
        feed.gap_opened_ns = ts_recv_ns
        if goes_on != feed.highest_sequence:
            feed.gap_opened_ns = cell_ts_recv_ns(held, _cell(goes_on))
        feed.gaps += 1
        return _say(feed, gaps, GAP_OPENED, goes_on, ts_recv_ns)
    if not missing:
        feed.gap_open = 0
        return _say(feed, gaps, GAP_FILLED, feed.next_sequence, ts_recv_ns)
    since_ns = max(feed.gap_opened_ns, feed.progress_ns)
    if is_over or feed.held >= HELD_MOST or _since(ts_recv_ns, since_ns) >= feed.patience_ns:
        goes_on = _first_held(feed, held)
        if goes_on == feed.highest_sequence:
            forget_all(feed, held)
        feed.gap_open = 0
        feed.gap_sequence = feed.next_sequence
        count = goes_on - feed.next_sequence
        feed.gap_messages = min(feed.gap_messages + count, GAP_MESSAGES_MAX)
        feed.lost_from[feed.losses % LOSSES_KEPT] = feed.next_sequence
        feed.lost_until[feed.losses % LOSSES_KEPT] = goes_on
        feed.losses += 1
        feed.next_sequence = goes_on
        feed.stale = 1
        return _say(feed, gaps, GAP_LOST, goes_on, ts_recv_ns)
    return NOTHING


@kernel
def change_session(feed, held, goes_on):
    """A new session, at number `goes_on`. What was missing or held of the old one is lost.

    Nobody knows what became of the orders that the old session left in the books, or whether its
    last messages were seen: what follows is stale.
    """
    forget_all(feed, held)
    if feed.next_sequence > 1:
        feed.stale = 1
    missing = feed.highest_sequence - feed.next_sequence
    if missing > 0:
        feed.gap_messages = min(feed.gap_messages + missing, GAP_MESSAGES_MAX)
        feed.gap_sequence = feed.next_sequence
        feed.gap_until = feed.highest_sequence
        feed.stale = 1
        feed.gap_open = ABANDONED
    feed.next_sequence = goes_on
    feed.highest_sequence = goes_on
    feed.losses = 0
    forget_refused(feed)


@kernel
def forget_all(feed, held):
    if feed.held > 0:
        for sequence in range(HELD_MESSAGES):
            store_i64le(held, _cell(sequence), 0)
    feed.held = 0


@kernel
def next_missing(feed, held, sequence):
    """The first run of missing messages from `sequence` on: (its first, the one behind its last).

    The two are equal where nothing is missing. Looks at HELD_MESSAGES numbers, at most.
    """
    end = feed.highest_sequence
    sequence = max(sequence, feed.next_sequence)
    if feed.held == 0 or sequence >= end:
        return sequence, max(sequence, end)
    if sequence < feed.held_from:
        return sequence, feed.held_from
    end = min(end, sequence + HELD_MESSAGES)
    while sequence < end and load_i64le(held, _cell(sequence)) == sequence:
        sequence += 1
    first = sequence
    while sequence < end and load_i64le(held, _cell(sequence)) != sequence:
        sequence += 1
    return first, sequence


@kernel
def _say(feed, gaps, state, until, ts_recv_ns):
    g = row(gaps, 0)
    g.ts_event_ns = feed.last_ts_event_ns
    g.ts_recv_ns = ts_recv_ns
    g.first_sequence = feed.gap_sequence
    g.messages_count = until - feed.gap_sequence
    g.waited_ns = _since(ts_recv_ns, feed.gap_opened_ns)
    g.state = state
    g.flags = 0
    return GAP


@kernel
def _was_lost(feed, sequence):
    """Was this number given up? Of the last LOSSES_KEPT losses one knows."""
    losses = feed.losses
    if losses == 0 or sequence >= feed.lost_until[(losses - 1) % LOSSES_KEPT]:
        return False
    for i in range(min(losses, LOSSES_KEPT)):
        if feed.lost_from[i] <= sequence < feed.lost_until[i]:
            return True
    return False


@kernel
def _since(ts_recv_ns, before_ns):
    """Ns from one receive time to another; 0 where either is unknown."""
    return ts_recv_ns - before_ns if 0 <= before_ns < ts_recv_ns else 0


@kernel
def _first_held(feed, held):
    """Where the stream goes on if all that is missing now is given up."""
    if feed.held == 0:
        return feed.highest_sequence
    found = max(feed.held_from, feed.next_sequence)
    end = found + HELD_MESSAGES
    while found < end and load_i64le(held, _cell(found)) != found:
        found += 1
    if found == end:  # all that is held is further away
        found = feed.highest_sequence
        for n in range(HELD_MESSAGES):
            there = load_i64le(held, _cell(n))
            if there != 0:
                found = min(found, there)
    feed.held_from = found
    return found


@kernel
def _cell(sequence):
    return (sequence & (HELD_MESSAGES - 1)) * CELL_BYTES


@kernel
def _forget(feed, held, cell):
    store_i64le(held, cell, 0)
    feed.held -= 1


@kernel
def _is_same(held, cell, buffer, body, length):
    if load_u16le(held, cell + 16) != length:
        return False
    for i in range(length):
        if held[cell + BODY_AT + i] != buffer[body + i]:
            return False
    return True
