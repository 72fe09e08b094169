"""Damaged messages and datagrams, many of them, through both framings with every index checked.

    ONETAPE_FUZZ_N=10000000 pytest tests/codecs/test_itch_fuzz.py

Making, damaging and reading all happen in one compiled loop. The packet ends where the buffer
ends, so one byte read too far is an error; every result is accounted for at the end. A failure
names the seed and the number of the packet, from which it can be made again.
"""

import os

import numpy as np
import pytest
from tests.codecs.itch_driver import DAY_NS

from onetape.codecs import FRAMINGS, length_prefixed, moldudp64
from onetape.codecs.feed import (
    BAD_PACKET,
    BAD_SESSION,
    EVENT,
    FAR_SEQUENCE,
    GAP,
    NOTHING,
    REFUSED,
    new_feed,
)
from onetape.codecs.itch50.spec import MESSAGES
from onetape.compiled import kernel, mode
from onetape.compiled.bits import add_wrap, mix, shift_right
from onetape.compiled.memory import copy_bytes, load_u32be, store_i64be, store_u16be
from onetape.compiled.rows import row
from onetape.records import UNSET, empty_block
from onetape.records.market import ASK, BID, NO_SIDE, Gap, MarketEvent

PACKETS = int(os.environ.get("ONETAPE_FUZZ_N", "50000"))
SEEDS = (1, 2)
BUFFER_BYTES = 512
BODY_ROOM = 64
ACTIONS = np.zeros(256, np.int64)
ACTIONS[list(b"ACMFTN")] = 1

# Words of `tally`.
PACKETS_READ, EVENTS, NOTHINGS, REFUSALS, REFUSED_AT_OPEN, GAPS, OTHER_RESULTS = range(7)
FINE, NO_PROGRESS, BAD_EVENT = -1, -2, -3
KINDS = len(MESSAGES)


@kernel
def draw(state, below):
    """A number in [0, below) of a counter-based generator; state[0] is the counter."""
    state[0] = add_wrap(state[0], -7046029254386353131)
    return shift_right(mix(state[0]), 11) % below


@kernel
def build(state, corpus, sizes, buffer, sequence, mold):
    """Put a packet at the end of the buffer; returns where it begins."""
    count = draw(state, 4) + (0 if mold else 1)
    size = 20 if mold else 0
    first = state[0]
    for _ in range(count):
        size += 2 + sizes[draw(state, KINDS)]
    begin = BUFFER_BYTES - size
    at = begin
    if mold:
        store_i64be(buffer, at, 0x5345535349304E31)
        store_u16be(buffer, at + 8, 0x3031)
        store_i64be(buffer, at + 10, max(0, sequence + draw(state, 5) - 2))
        store_u16be(buffer, at + 18, count)
        at += 20
    after = state[0]
    state[0] = first  # the same draws again
    for _ in range(count):
        kind = draw(state, KINDS)
        store_u16be(buffer, at, sizes[kind] if mold or draw_of(after, at) else 0)
        copy_bytes(buffer, at + 2, corpus, kind * BODY_ROOM, sizes[kind])
        at += 2 + sizes[kind]
    state[0] = after
    for _ in range(draw(state, 4)):
        if size > 0:
            buffer[begin + draw(state, size)] = draw(state, 256)
    if draw(state, 4) == 0:  # cut off: what is left is moved to the end of the buffer
        keep = draw(state, size + 1)
        for i in range(keep):
            buffer[BUFFER_BYTES - 1 - i] = buffer[begin + keep - 1 - i]
        return BUFFER_BYTES - keep
    return begin


@kernel
def draw_of(seed, at):
    """1 three times in four: whether the message at `at` has its length in front."""
    return mix(add_wrap(seed, at)) & 3 != 0


@kernel
def is_sound(event):
    """What every later step takes for granted of an event."""
    if event.ts_event_ns < 0 or event.ts_event_ns >= DAY_NS:
        return False
    if event.price_ticks != UNSET and not 0 <= event.price_ticks <= 2_000_000_000:
        return False
    if event.qty_lots != UNSET and event.qty_lots < 0:
        return False
    if event.side != BID and event.side != ASK and event.side != NO_SIDE:
        return False
    return ACTIONS[event.action] == 1 and event.ts_recv_ns == 5 and event.sequence >= 0


@kernel
def at_open(feed):
    return feed.refused[BAD_PACKET] + feed.refused[BAD_SESSION] + feed.refused[FAR_SEQUENCE]


@kernel
def run(feeds, held, state, corpus, sizes, buffer, events, gaps, tally, packets, mold):
    """Read `packets` damaged packets; returns FINE, or what went wrong (tally says where)."""
    feed = row(feeds, 0)
    end = BUFFER_BYTES
    for _ in range(packets):
        tally[PACKETS_READ] += 1
        begin = build(state, corpus, sizes, buffer, feed.next_sequence, mold)
        refused = at_open(feed)
        if mold:
            line = draw(state, 2)
            at = moldudp64.open_packet(feed, held, buffer, begin, end, line, 5)
        else:
            at = length_prefixed.open_packet(feed, held, buffer, begin, end, 0, 5)
        tally[REFUSED_AT_OPEN] += at_open(feed) - refused
        while at < end:
            before = at
            row(events, 0).ts_recv_ns = 0
            if mold:
                at, result = moldudp64.next_message(feed, held, buffer, at, end, 5, events, gaps)
            else:
                at, result = length_prefixed.next_message(
                    feed, held, buffer, at, end, 5, events, gaps
                )
            if at < before or at > end or (at == before and at < end - 1):
                return NO_PROGRESS
            if result == EVENT:
                tally[EVENTS] += 1
                if not is_sound(row(events, 0)):
                    return BAD_EVENT
            elif result == NOTHING:
                tally[NOTHINGS] += 1
            elif result == GAP:
                tally[GAPS] += 1
            elif result == REFUSED:
                tally[REFUSALS] += 1
            else:
                tally[OTHER_RESULTS] += 1
        if at != end:
            return NO_PROGRESS
        if mold and feed.next_sequence > 1 << 40:  # a damaged number: begin again below it
            feed.next_sequence = 1 + load_u32be(buffer, BUFFER_BYTES - 4)
            feed.highest_sequence = feed.next_sequence
    return FINE


def corpus():
    """A sound body of every type, each in BODY_ROOM bytes, and their lengths."""
    bodies = np.zeros((KINDS, BODY_ROOM), np.uint8)
    for body, of in zip(bodies, MESSAGES):
        body[0] = ord(of.letter)
        for field in of.fields:
            if field.name in ("side", "printable"):
                body[field.offset] = ord({"side": "S", "printable": "N"}[field.name])
    return bodies.reshape(-1), np.array([of.size_bytes for of in MESSAGES])


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("framing", ["length_prefixed", "moldudp64"])
def test_damaged_packets_are_read_or_refused_and_all_accounted_for(framing, seed):
    checked = "interpreted" if mode.is_interpreted() else "boundscheck"
    packets = PACKETS // (100 if mode.is_interpreted() else 1) // len(SEEDS)
    feeds, events, tally = new_feed(0, 0), empty_block(MarketEvent, 1), np.zeros(7, np.int64)
    held = np.zeros(FRAMINGS[framing].held_bytes, np.uint8)
    gaps = empty_block(Gap, 1)
    state, buffer = np.array([seed]), np.zeros(BUFFER_BYTES, np.uint8)
    bodies, sizes = corpus()

    with mode.running(checked):
        outcome = run(
            feeds,
            held,
            state,
            bodies,
            sizes,
            buffer,
            events,
            gaps,
            tally,
            packets,
            framing == "moldudp64",
        )

    assert outcome == FINE, f"seed {seed}, packet {tally[PACKETS_READ]}: {outcome}"
    feed = feeds[0]
    assert tally[PACKETS_READ] == packets
    assert tally[OTHER_RESULTS] == 0
    assert feed["refused"].sum() == tally[REFUSALS] + tally[REFUSED_AT_OPEN]
    assert feed["by_type"].sum() == feed["messages"] == tally[EVENTS]
    if framing == "moldudp64":
        assert tally[GAPS] >= feed["gaps"] > 0
        assert feed["duplicates"] <= tally[NOTHINGS]
    else:
        assert feed["duplicates"] == tally[NOTHINGS] == tally[GAPS] == 0
    # The damage is neither too little nor too much to find anything.
    assert tally[EVENTS] > packets // 4
    assert tally[REFUSALS] > packets // 100
    assert np.count_nonzero(feed["by_type"]) == KINDS
