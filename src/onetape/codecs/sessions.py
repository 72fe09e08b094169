"""Which session a packet of MoldUDP64 belongs to, and whether its number can be believed.

Two things in a header would do great harm if they were damaged, so they are believed only when
others say them too:

    another session    CONFIRM packets in a row on one line must name it, with messages in them,
                       unless the present one has ended and lacks none. Its numbers start at 1.
    a far number       further ahead than all that can be held: the same line must go on from there,
                       another line must say it too, or CONFIRM packets in all. The very first
                       packet is believed, for one may join in the middle, until the next one
                       is far behind it.

Of the last sessions it is known how far they went, because packets come late and lines lag: what
was sent before we left is never a reason to go back. A session that had not ended when it was left
(someone else's packets on the group looked like a new one) is taken up where it was left, once
CONFIRM packets bring new messages of it; one that had ended stays over.
"""

from onetape.codecs.arbitration import HELD_MESSAGES, change_session, forget_all
from onetape.codecs.feed import BAD_SESSION, FAR_SEQUENCE, OLD_SESSION
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, load_u16be

CONFIRM = 3
PAST = 4  # sessions that are remembered
IS_OVER = -1  # in place of the number that a past session would go on with


@kernel
def belongs(feed, held, buffer, at, line, sequence, count):
    """Why a packet of `count` messages from `sequence` on is refused, or -1.

    buffer[at:] is its header. The session it names is adopted, where that is believed.
    """
    first = load_i64be(buffer, at)
    last = load_u16be(buffer, at + 8)
    if feed.sessions > 0 and first == feed.session[0] and last == feed.session[1]:
        feed.other_count[line] = 0
        if feed.first_far > 0:
            _check_first(feed, held, sequence)
        return _check_distance(feed, line, sequence)
    if not _is_printable(buffer, at):
        return BAD_SESSION
    if feed.sessions == 0:
        feed.first_far = sequence if sequence > HELD_MESSAGES else 0
    else:
        goes_on = 1
        past = _find_past(feed, first, last)
        if past >= 0:
            goes_on = feed.past_sequence[past]
            if goes_on == IS_OVER or count == 0 or sequence < goes_on:
                return OLD_SESSION
        if count == 0:
            return BAD_SESSION
        is_whole = feed.highest_sequence == feed.next_sequence
        if not (feed.ended != 0 and is_whole) and not _is_confirmed(feed, line, first, last):
            return BAD_SESSION
        _leave(feed, held, past, goes_on)
    feed.session[0] = first
    feed.session[1] = last
    feed.sessions += 1
    feed.ended = 0
    feed.far_count = 0
    return -1 if feed.first_far > 0 else _check_distance(feed, line, sequence)


@kernel
def _leave(feed, held, past, goes_on):
    """Remember how far the present session went; the next goes on at `goes_on`.

    `past` is where the next one was remembered, or -1.
    """
    if past < 0:
        past = feed.pasts % PAST
        feed.pasts += 1
    feed.past_session[2 * past] = feed.session[0]
    feed.past_session[2 * past + 1] = feed.session[1]
    feed.first_far = 0
    feed.past_sequence[past] = IS_OVER if feed.ended != 0 else feed.highest_sequence
    for line in range(len(feed.other_count)):
        feed.other_count[line] = 0
    change_session(feed, held, goes_on)


@kernel
def _find_past(feed, first, last):
    for past in range(min(feed.pasts, PAST)):
        if feed.past_session[2 * past] == first and feed.past_session[2 * past + 1] == last:
            return past
    return -1


@kernel
def _check_first(feed, held, sequence):
    """The second packet says whether the number of the first was a true one."""
    if sequence < feed.first_far - HELD_MESSAGES:
        forget_all(feed, held)
        feed.next_sequence = 1
        feed.highest_sequence = 1
    if sequence != feed.first_far:  # a copy of it proves nothing
        feed.first_far = 0


@kernel
def _check_distance(feed, line, sequence):
    """FAR_SEQUENCE for a number that is beyond all others and that nothing has confirmed, or -1."""
    if sequence < feed.highest_sequence + HELD_MESSAGES:
        if line == feed.far_line:
            feed.far_count = 0
        return -1
    ahead = sequence - feed.far_sequence
    if feed.far_count == 0 or not -HELD_MESSAGES < ahead < HELD_MESSAGES:
        feed.far_count = 0
    elif line != feed.far_line or ahead > 0 or feed.far_count >= CONFIRM - 1:
        feed.far_count = 0
        return -1
    feed.far_sequence = sequence
    feed.far_line = line
    feed.far_count += 1
    return FAR_SEQUENCE


@kernel
def _is_confirmed(feed, line, first, last):
    """Has this line named the same other session CONFIRM times in a row?"""
    if first != feed.other_session[2 * line] or last != feed.other_session[2 * line + 1]:
        feed.other_session[2 * line] = first
        feed.other_session[2 * line + 1] = last
        feed.other_count[line] = 0
    feed.other_count[line] += 1
    return feed.other_count[line] >= CONFIRM


@kernel
def _is_printable(buffer, at):
    """Are the ten bytes ASCII letters, digits, spaces or signs?"""
    for i in range(10):
        if buffer[at + i] < 32 or buffer[at + i] > 126:
            return False
    return True
