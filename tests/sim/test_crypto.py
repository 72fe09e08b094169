"""The twin of crypto venues: bytes from a seed, in order, and one venue after the other."""

import hashlib
from itertools import islice, pairwise

import numpy as np
import pytest

from onetape.market.instruments import Channel, Instrument, instrument_of
from onetape.records import OperatorError
from onetape.records.market import TopOfBook, Trade
from onetape.sim.crypto import HABITS, MS, messages

PINNED = "4f771b6fa61447238bc7ed1a4f95a725e03a1ae1a42bd1623c43373e76d59ac5"
BINANCE, KRAKEN = instrument_of("binance:BTCUSDT"), instrument_of("kraken:BTC/USD")
ALL = [Channel(i, of) for i in (BINANCE, KRAKEN) for of in (TopOfBook, Trade)]


def rows_of(sent, channels, number):
    of = channels[number].of
    return np.concatenate([m.datagram for m in sent if m.channel == number]).view(of.dtype)


def test_the_bytes_of_two_seconds_are_pinned():
    """Another value on some platform, or after a change: tapes cannot be made again."""
    sent = messages(ALL, seed=1, milliseconds=2000)
    digest = hashlib.sha256()
    for m in sent:
        digest.update(b"%d %d " % (m.channel, m.ts_recv_ns) + m.datagram.tobytes())

    assert digest.hexdigest() == PINNED


def test_a_longer_run_begins_as_a_shorter_one():
    short = [(m.channel, m.datagram.tobytes()) for m in messages(ALL, seed=2, milliseconds=1234)]
    endless = messages(ALL, seed=2, milliseconds=None)

    assert len(short) > 500
    assert [(m.channel, m.datagram.tobytes()) for m in islice(endless, len(short))] == short


def test_a_channel_sends_the_same_whatever_else_is_listened_to():
    alone = list(messages(ALL[:1], seed=3, milliseconds=1000))
    among = list(messages(ALL[::-1], seed=3, milliseconds=1000))

    mine, theirs = rows_of(alone, ALL, 0), rows_of(among, ALL[::-1], 3)
    least = min(len(mine), len(theirs))  # what is still under way at the end may differ
    assert least > 300
    assert mine[:least].tobytes() == theirs[:least].tobytes()


def test_messages_come_in_order_and_after_they_were_sent():
    sent = list(messages(ALL, seed=4, milliseconds=2000))

    assert all(a.ts_recv_ns <= b.ts_recv_ns for a, b in pairwise(sent))
    for number in range(4):
        rows = rows_of(sent, ALL, number)
        arrived = np.array([m.ts_recv_ns for m in sent if m.channel == number])
        assert (np.diff(rows["ts_event_ns"]) > 0).all()
        assert (np.diff(rows["sequence"]) == 1).all()
        assert (arrived - rows["ts_event_ns"] >= MS).all()
        assert set(rows["asset_id"].tolist()) == {BINANCE.asset_id}


def test_kraken_quotes_what_binance_quoted_four_milliseconds_before():
    sent = list(messages(ALL, seed=5, milliseconds=3000))
    lead, lag = rows_of(sent, ALL, 0), rows_of(sent, ALL, 2)
    dime, lag_ms = 10**7, HABITS["kraken"].lag_ms

    for quote in lag[1:]:
        ms_then = quote["ts_event_ns"] // MS - lag_ms
        (which,) = np.nonzero(lead["ts_event_ns"] // MS == ms_then)
        assert lead["bid_price_ticks"][which[0]] // dime * dime == quote["bid_price_ticks"]


def test_trades_meet_the_quote_of_their_venue():
    sent = list(messages(ALL, seed=6, milliseconds=3000))
    for quotes, trades in ((0, 1), (2, 3)):
        tops, prints = rows_of(sent, ALL, quotes), rows_of(sent, ALL, trades)
        at = np.searchsorted(tops["ts_event_ns"], prints["ts_event_ns"]) - 1
        known = at >= 0
        bids = np.where(prints["side"] == ord("B"), tops["bid_price_ticks"][at], 0)
        asks = np.where(prints["side"] == ord("A"), tops["ask_price_ticks"][at], 0)
        assert (prints["price_ticks"] == bids + asks)[known].all()
        assert len(prints) > 100


def test_a_price_stays_a_price():
    sent = messages(
        [Channel(instrument_of("kraken:DOGE/USD"), TopOfBook)], seed=1, milliseconds=10**5
    )
    assert all(m.datagram.view(TopOfBook.dtype)["bid_price_ticks"][0] > 0 for m in sent)


def test_a_venue_without_a_twin_is_named():
    other = Channel(Instrument("elsewhere", "A/B", "A/B"), Trade)
    with pytest.raises(OperatorError, match="elsewhere has no simulated twin; there is one of"):
        next(messages([other], seed=1, milliseconds=1))
