"""A feed divided by instrument: each message to the shard that owns its instrument, numbered.

A shard's bytes are in the framing `numbered`, so what is made of them names the same causes as if
the whole feed had been read. That holds where nothing is missing, refused or out of time order;
the whole feed in one shard may have refused messages too.
"""

from typing import Any

import numpy as np

from onetape.codecs.feed import REFUSED
from onetape.codecs.itch50.decode import decode
from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.codecs.numbered import BASE_BYTES, PREFIX_BYTES
from onetape.compiled.bits import mix, shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_u16be, store_i64be, store_u16be, store_u32be
from onetape.compiled.rows import row
from onetape.records import UNSET, PeerError

# Why a split stopped.
AT_END, FULL, DAMAGED, IS_REFUSED, BACK_IN_TIME = 0, 1, 2, 3, 4
WHY = {
    DAMAGED: "is cut off, or of unknown length",
    IS_REFUSED: "is refused by the decoder",
    BACK_IN_TIME: "is older than one before it",
}
AHEAD_MAX = 1 << 31

# What is in a shard's buffer: one row a shard, and one behind them for the feed.
FILL = np.dtype(
    [
        ("size_bytes", "<i8"),
        ("count", "<i8"),
        ("first_sequence", "<i8"),
        ("last_sequence", "<i8"),
        ("min_ts_event_ns", "<i8"),
        ("max_ts_event_ns", "<i8"),
    ]
)


@kernel
def owner(key, shards):
    """Which shard a key belongs to. Neighbouring keys go to different shards."""
    return shift_right(mix(key), 1) % shards


@kernel
def split(feeds, events, buffer, at, end, out, fill, most):
    """Divide the length-prefixed messages of buffer[at:end] among the rows of `out`.

    feeds   one FeedState, of the whole feed          events  room for one event
    out     u8[shards, room]                          fill    FILL[shards + 1], the last of the feed
    most    events of a shard at which it counts as full

    Returns (at, shard, why): FULL before a message that `shard` has no room for; AT_END; or the
    message at `at` cannot be divided. O(bytes).
    """
    shards = out.shape[0]
    feed, whole = row(feeds, 0), row(fill, shards)
    while at < end:
        body = at + 2
        length = load_u16be(buffer, at) if body < end else 0
        if length == 0 and body < end:
            length = BODY_BYTES[buffer[body]]
        if length == 0 or body + length > end:
            return at, 0, DAMAGED
        sequence = feed.next_sequence
        result = decode(feed, buffer, body, length, sequence, UNSET, events)
        event = row(events, 0)
        shard = 0
        if result == REFUSED:
            if shards > 1:
                return at, 0, IS_REFUSED
        else:
            if shards > 1 and event.ts_event_ns < whole.max_ts_event_ns:
                return at, 0, BACK_IN_TIME
            shard = owner(event.instrument_id, shards)
        mine = row(fill, shard)
        size = mine.size_bytes
        is_far = mine.count > 0 and sequence - mine.first_sequence >= AHEAD_MAX
        if mine.count >= most or size + PREFIX_BYTES + length > out.shape[1] or is_far:
            return at, shard, FULL
        feed.next_sequence = sequence + 1
        if mine.count == 0:
            store_i64be(out[shard], 0, sequence)
            size = BASE_BYTES
            mine.first_sequence = sequence
            mine.min_ts_event_ns = UNSET
            mine.max_ts_event_ns = UNSET
        store_u16be(out[shard], size, length)
        store_u32be(out[shard], size + 2, sequence - mine.first_sequence)
        size += PREFIX_BYTES
        for i in range(length):
            out[shard, size + i] = buffer[body + i]
        mine.size_bytes = size + length
        mine.count += 1
        mine.last_sequence = sequence
        if result != REFUSED:
            if mine.min_ts_event_ns == UNSET or event.ts_event_ns < mine.min_ts_event_ns:
                mine.min_ts_event_ns = event.ts_event_ns
            mine.max_ts_event_ns = max(mine.max_ts_event_ns, event.ts_event_ns)
            whole.max_ts_event_ns = max(whole.max_ts_event_ns, event.ts_event_ns)
        at = body + length
    return at, 0, AT_END


def undivided(why: int, sequence: int) -> PeerError:
    """The error for a feed that cannot be divided at the message of that number."""
    return PeerError(
        f"message {sequence} of the feed {WHY[why]}; such a feed is not divided by instrument: "
        "use one shard" + (", from a tape of it" if why == DAMAGED else "")
    )


def new_fill(shards: int) -> Any:
    return np.zeros(shards + 1, FILL)
