"""Damaged messages and datagrams through codec, books, windows and rules with every index checked.

    ONETAPE_FUZZ_N=10000000 pytest tests/engine/test_fuzz_engine.py

A simulated day is cut into packets, bytes are changed at random, packets are cut short, dropped and
repeated; each goes through the whole standard pipeline compiled with bounds checks. Nothing may
raise, and everything read must be accounted for: an event, a duplicate, or refused with a reason.
"""

import os
import struct

import numpy as np
import pytest

from onetape.codecs.feed import refusals
from onetape.codecs.itch50 import files
from onetape.compiled import mode
from onetape.engine.frames import frames_of
from onetape.runtimes import batch
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import simulate

MESSAGES = int(os.environ.get("ONETAPE_FUZZ_N", "60000"))
PACKET_BYTES = 700
pytestmark = pytest.mark.fuzz


def packets(day, rng, mold):
    """(None, payload) pairs with at least MESSAGES messages in them, most of them damaged."""
    sequence, seen = 1, 0
    while seen < MESSAGES:
        for chunk in files.chunks([day], PACKET_BYTES):
            count = count_messages(chunk)
            seen += count
            data = np.array(chunk)
            if mold:
                head = b"FUZZ000001" + struct.pack(">QH", sequence, count)
                data = np.concatenate([np.frombuffer(head, np.uint8), data])
                sequence += count
            yield from damaged(data, rng)


def damaged(data, rng):
    for _ in range(int(rng.integers(0, 5))):
        data[rng.integers(0, len(data))] = rng.integers(0, 256)
    fate = rng.random()
    if fate < 0.05:
        yield None, data[: rng.integers(0, len(data))]
    elif fate < 0.10:
        yield None, data
        yield None, data
    elif fate < 0.95:
        yield None, data


def count_messages(chunk):
    at, count = 0, 0
    while at < len(chunk):
        at += 2 + int(chunk[at]) * 256 + int(chunk[at + 1])
        count += 1
    return count


@pytest.mark.parametrize("framing", ["length_prefixed", "moldudp64"])
def test_damage_is_refused_with_a_reason_and_harms_nothing(framing):
    day = simulate(seed=3, instruments=40, seconds=4.0, episodes=2).data
    rng = np.random.default_rng(11)
    rows = 0
    with mode.running("boundscheck"):
        engine = batch.make_engine(market_watch(), {"itch": framing})
        runs = frames_of(packets(day, rng, framing == "moldudp64"))
        for _, block, _ in batch.rows_of(engine, runs):
            rows += len(block)

    feed = engine.arrays["n0_feed"]
    state = feed[0]
    assert rows > 0
    assert engine.counts().events == state["messages"]
    assert refusals(feed) != {}
    if framing == "length_prefixed":
        assert state["messages"] + state["refused"].sum() == state["next_sequence"] - 1
    else:
        assert state["gaps"] > 0
        assert state["duplicates"] > 0
