"""Damaged FIX messages, many of them, with every index checked.

    ONETAPE_FUZZ_N=10000000 pytest tests/codecs/test_fix_fuzz.py

Making, damaging and reading happen in one compiled loop. The run ends where the buffer ends, so a
byte read too far is an error; half of the damaged messages get a true CheckSum again, so that the
damage is met field by field. A failure names the seed and the run, from which it can be made again.
"""

import os

import numpy as np
import pytest
from tests.codecs.fix_driver import admin, report

from onetape.codecs.feed import BAD_CHECKSUM, EVENT, GAP, NOTHING, REFUSED, new_feed
from onetape.codecs.fix44 import framing
from onetape.compiled import kernel, mode
from onetape.compiled.bits import add_wrap, mix, shift_right
from onetape.compiled.memory import copy_bytes
from onetape.compiled.rows import row
from onetape.records import UNSET, empty_block
from onetape.records.market import ASK, BID, LOTS_MAX, NO_SIDE, Gap, OwnOrder

RUNS = int(os.environ.get("ONETAPE_FUZZ_N", "50000"))
SEEDS = (1, 2)
BUFFER_BYTES = 2048
ROOM = 512  # of a message of the corpus
NUMBER = b"34=00000000"
ACTIONS = np.zeros(256, np.int64)
ACTIONS[list(b"AFCMJN")] = 1

# Words of `tally`.
RUNS_READ, EVENTS, NOTHINGS, REFUSALS, GAPS = range(5)
FINE, NO_PROGRESS, BAD_ORDER = -1, -2, -3


@kernel
def draw(state, below):
    """A number in [0, below) of a counter-based generator; state[0] is the counter."""
    state[0] = add_wrap(state[0], -7046029254386353131)
    return shift_right(mix(state[0]), 11) % below


@kernel
def sign(buffer, at, size):
    """Give a message its CheckSum."""
    check = 0
    for i in range(at, at + size - 7):
        check += int(buffer[i])
    check &= 255
    for place, unit in ((4, 100), (3, 10), (2, 1)):
        buffer[at + size - place] = 48 + check // unit % 10


@kernel
def build(state, corpus, sizes, numbers, buffer, sequence):
    """Put one to three messages at the end of the buffer, some damaged; where they begin."""
    count = 1 + draw(state, 3)
    end = BUFFER_BYTES
    for n in range(count):
        kind = draw(state, len(sizes))
        size = sizes[kind]
        at = end - size
        copy_bytes(buffer, at, corpus, kind * ROOM, size)
        value = max(
            sequence + count - 1 - n + (draw(state, 3) - 1 if draw(state, 8) == 0 else 0), 0
        )
        for i in range(8):
            buffer[at + numbers[kind] + 7 - i] = 48 + value % 10
            value //= 10
        for _ in range(max(draw(state, 5) - 2, 0)):
            buffer[at + draw(state, size)] = (
                draw(state, 256) if draw(state, 2) else 48 + draw(state, 12)
            )
        if draw(state, 2) == 0:
            buffer[at + size - 1] = 1
            sign(buffer, at, size)
        elif draw(state, 3) > 0:
            sign(buffer, at, size)
        end = at
    if draw(state, 8) == 0:  # cut off: what is left is moved to the end of the buffer
        keep = draw(state, BUFFER_BYTES - end + 1)
        for i in range(keep):
            buffer[BUFFER_BYTES - 1 - i] = buffer[end + keep - 1 - i]
        return BUFFER_BYTES - keep
    return end


@kernel
def is_sound(o):
    """What every later step takes for granted of a report."""
    if o.ts_event_ns < 0 or o.ts_event_ns >= 1 << 62 or ACTIONS[o.action] != 1:
        return False
    if o.side != BID and o.side != ASK and o.side != NO_SIDE:
        return False
    if o.qty_lots != UNSET and not 0 <= o.qty_lots <= LOTS_MAX:
        return False
    if o.price_ticks != UNSET and not -(1 << 48) <= o.price_ticks <= 1 << 48:
        return False
    return 0 <= o.leaves_lots <= LOTS_MAX and o.ts_recv_ns == 5 and o.sequence >= 0


@kernel
def run(feeds, held, state, corpus, sizes, numbers, buffer, orders, gaps, tally, runs):
    """Read `runs` damaged runs of messages; FINE, or what went wrong (tally says where)."""
    feed = row(feeds, 0)
    end = BUFFER_BYTES
    for _ in range(runs):
        tally[RUNS_READ] += 1
        at = build(state, corpus, sizes, numbers, buffer, feed.next_sequence)
        while at < end:
            before = at
            row(orders, 0).ts_recv_ns = 0
            at, result = framing.next_message(feed, held, buffer, at, end, 5, orders, gaps)
            if at < before or at > end or (at == before and result != GAP):
                return NO_PROGRESS
            if result == EVENT:
                tally[EVENTS] += 1
                if not is_sound(row(orders, 0)):
                    return BAD_ORDER
            elif result == NOTHING:
                tally[NOTHINGS] += 1
            elif result == GAP:
                tally[GAPS] += 1
            else:
                tally[REFUSALS] += result == REFUSED
        if feed.next_sequence > 90_000_000:  # a damaged number: begin again below it
            feed.next_sequence = 1
    return FINE


def corpus():
    """Sound messages, each in ROOM bytes; their lengths, and where their numbers stand."""
    raw = [(95, b"12"), (96, b"8=FIX.4.4\x019="), (58, b"text"), (527, b"77")]
    made = [report(1, kind, head=raw) for kind in (b"0", b"F", b"4", b"5", b"8", b"6")]
    made += [report(1, b"F", t1=b"A-LONG-ACCOUNT", t37=b"ORDER-7", t44=None)]
    made += [admin(1, b"0"), admin(1, b"4", t123=b"Y", t36=b"5"), admin(1, b"A", t141=b"N")]
    made = [wide(message) for message in made]
    block = np.zeros((len(made), ROOM), np.uint8)
    for target, message in zip(block, made):
        target[: len(message)] = np.frombuffer(message, np.uint8)
    numbers = [message.index(NUMBER) + 3 for message in made]
    return block.reshape(-1), np.array([len(m) for m in made]), np.array(numbers)


def wide(message):
    """The same message with a number of eight digits."""
    from onetape.codecs.fix44.message import decode_message, encode_message

    found = decode_message(message)
    fields = tuple((t, b"0" * 8 if t == 34 else value) for t, value in found.fields)
    return encode_message(found._replace(fields=fields))


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_messages_are_read_or_refused_and_all_accounted_for(seed):
    checked = "interpreted" if mode.is_interpreted() else "boundscheck"
    runs = RUNS // (200 if mode.is_interpreted() else 1) // len(SEEDS)
    feeds, tally = new_feed(), np.zeros(5, np.int64)
    held, buffer = np.zeros(framing.HELD_BYTES, np.uint8), np.zeros(BUFFER_BYTES, np.uint8)
    orders, gaps = empty_block(OwnOrder, 1), empty_block(Gap, 1)
    messages, sizes, numbers = corpus()

    with mode.running(checked):
        around = (buffer, orders, gaps, tally)
        outcome = run(feeds, held, np.array([seed]), messages, sizes, numbers, *around, runs)

    assert outcome == FINE, f"seed {seed}, run {tally[RUNS_READ]}: {outcome}"
    feed = feeds[0]
    assert tally[RUNS_READ] == runs
    assert feed["refused"].sum() == tally[REFUSALS]
    assert feed["by_type"].sum() == feed["messages"] == tally[EVENTS]
    assert feed["gaps"] == tally[GAPS] > 0
    # The damage is neither too little nor too much to find anything.
    assert tally[EVENTS] > runs // 4
    assert tally[REFUSALS] - feed["refused"][BAD_CHECKSUM] > runs // 20
    assert np.count_nonzero(feed["refused"]) > 6
