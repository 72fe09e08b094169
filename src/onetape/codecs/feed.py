"""What is known of one feed: where its numbering stands, and how much of everything was seen.

One row a source, changed only by the framing kernels and `decode`, checkpointed with the pipeline.
Nothing is lost without a count here: a message is an event (`messages`, `by_type`), a duplicate,
refused with a reason (`refused`), held, or given up (`gap_messages`).
"""

from typing import Any

from onetape.compiled.kernel import kernel
from onetape.records import Array, empty_block, i64, record

# What reading one message came to.
EVENT, NOTHING, REFUSED, GAP = 1, 0, -1, 2

LINES_MAX = 8  # lines of one feed: A, B, what is asked for again ...
PATIENCE_NS = 1_000_000_000  # how long a gap may stand still before it is given up

# Why a message or a packet was refused: index into FeedState.refused, and its name.
REASONS = (
    "unknown type",
    "wrong length for its type",
    "truncated",
    "zero length",
    "bad packet",  # header incomplete, impossible numbers, or a message that runs past its end
    "bad session",  # not printable ASCII, or another session that nothing else speaks of yet
    "time out of day",
    "bad side",
    "price out of range",
    "quantity out of range",
    "bad printable flag",
    "far sequence",  # further ahead than anything held, and nothing else says so yet
    "old session",  # late packets of a session that was left
    "bad checksum",
    "field missing",
    "bad field",  # a tag that is none, a value of the wrong form, a field twice
)
(
    UNKNOWN_TYPE,
    WRONG_LENGTH,
    TRUNCATED,
    ZERO_LENGTH,
    BAD_PACKET,
    BAD_SESSION,
    TIME_OUT_OF_DAY,
    BAD_SIDE,
    PRICE_OUT_OF_RANGE,
    QTY_OUT_OF_RANGE,
    BAD_PRINTABLE,
    FAR_SEQUENCE,
    OLD_SESSION,
    BAD_CHECKSUM,
    FIELD_MISSING,
    BAD_FIELD,
) = range(len(REASONS))


@record
class FeedState:
    """The state of one feed. Half a megabyte, most of it the symbols by locate code."""

    next_sequence: i64  # the venue sequence expected next
    at_sequence: i64  # of the next message in the packet being read
    remaining: i64  # messages left in the packet being read
    session: Array[i64, 2]  # ten letters of MoldUDP64: the first eight and the last two
    sessions: i64  # number of sessions seen
    ended: i64  # 1 when the venue has said that the session is over
    midnight_ns: i64  # UTC, of midnight in New York on the trading date
    messages: i64  # that became events
    heartbeats: i64
    duplicates: i64  # messages seen before
    after_loss: i64  # messages that came after they had been given up
    gaps: i64  # times that messages were missing
    gap_messages: i64  # messages given up in all gaps
    stale: i64  # 1 from the first message that was given up
    # Arbitration: see codecs/arbitration.py. Times are receive times.
    patience_ns: i64
    highest_sequence: i64  # behind the last number that was seen or announced
    held: i64  # messages that came too early and wait
    held_from: i64  # none of them has a smaller number
    not_held: i64  # messages that came too early and were dropped: no room
    conflicts: i64  # numbers of which two packets said different things
    gap_open: i64  # 1 while messages are missing
    gap_sequence: i64  # the first of them
    gap_until: i64  # behind the last one, where a new session has left them behind
    losses: i64  # times that messages were given up, in this session
    lost_from: Array[i64, 16]  # the last ones: first number, and the one behind the last
    lost_until: Array[i64, 16]
    gap_opened_ns: i64
    progress_ns: i64  # when the message that was expected last came by itself
    refused_sequence: Array[i64, 1024]  # see codecs/agreement.py
    refused_check: Array[i64, 1024]
    refused_line: Array[i64, 1024]
    far_sequence: i64  # a number too far ahead to be believed,
    far_line: i64  # the line that said it last,
    far_count: i64  # and how often it was said
    first_far: i64  # such a number in the very first packet, while nothing else is known; or 0
    last_ts_event_ns: i64  # of the last event
    is_over: i64  # 1 when the source has ended
    line_packets: Array[i64, 8]  # by line
    line_delivered: Array[i64, 8]  # messages that this line was the first to bring
    line: i64  # of the packet being read
    other_session: Array[i64, 16]  # by line: another session's name, and how often in a row
    other_count: Array[i64, 8]
    past_session: Array[i64, 8]  # names of the sessions that were left; see codecs/sessions.py
    past_sequence: Array[i64, 4]  # where each would go on
    pasts: i64
    refused: Array[i64, 16]  # by reason
    by_type: Array[i64, 256]  # events by the letter of their message
    symbols: Array[i64, 65536]  # stock_word by locate code, from the directory


def new_feed(midnight_ns: int = 0, patience_ns: int = PATIENCE_NS) -> Any:
    """A block of one FeedState before its first message."""
    feed = empty_block(FeedState, 1)
    feed["next_sequence"] = feed["highest_sequence"] = 1
    feed["patience_ns"] = patience_ns
    feed["midnight_ns"] = midnight_ns
    return feed


def refusals(feed: Any) -> dict[str, int]:
    """{reason: count} of what the feed in a block of one FeedState refused, without the zeros."""
    counts = feed["refused"][0]
    return {reason: int(n) for reason, n in zip(REASONS, counts) if n}


def symbol_of(stock_word: int) -> str:
    """The text of a symbol word: 'AAPL'. Letters that are not ASCII show as '?'."""
    raw = (stock_word % (1 << 64)).to_bytes(8, "big")
    return raw.decode("ascii", "replace").replace("\ufffd", "?").rstrip(" \0")


def word_of(symbol: str) -> int:
    """The symbol word of a text: eight letters, filled up with spaces. ValueError if not."""
    raw = symbol.encode("ascii").ljust(8)
    if not symbol.strip() or len(raw) > 8:
        raise ValueError(f"a symbol of {len(symbol)} letters")
    return int.from_bytes(raw, "big", signed=True)


@kernel
def refuse(feed, reason):
    """Count the reason; returns REFUSED."""
    feed.refused[reason] += 1
    return REFUSED
