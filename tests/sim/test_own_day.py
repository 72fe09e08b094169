"""The simulated day with own orders: one seed one day, both feeds of one exchange, true labels."""

import pytest
from tests.naive import market as naive

from onetape.codecs.fix44.message import decode_message
from onetape.codecs.itch50.message import decode_message as decode_itch
from onetape.sim.own_day import KINDS, OwnDay

MS = 1_000_000


def arrivals(seed, milliseconds):
    day = OwnDay(seed=seed, milliseconds=milliseconds)
    return list(day), day


def bytes_of(found, feed):
    return b"".join(payload for name, _, payload in found if name == feed)


def itch_messages(data):
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        yield decode_itch(data[at + 2 : end])
        at = end


def test_one_seed_is_one_day_and_a_longer_one_begins_alike():
    short, _ = arrivals(3, 1200)
    again, _ = arrivals(3, 1200)
    longer, _ = arrivals(3, 1500)
    other, _ = arrivals(4, 1200)

    assert short == again != other
    assert longer[: len(short)] == short
    assert [a[1] for a in short] == sorted(a[1] for a in short)


@pytest.fixture(scope="module")
def day():
    return arrivals(1, 3500)


def test_every_report_is_of_an_order_that_the_public_feed_shows(day):
    """And says the same of it: price, side, quantities, and the match number of each fill."""
    found, _ = day
    public = {"A": {}, "E": {}, "D": set(), "U": {}}
    for m in itch_messages(bytes_of(found, "itch")):
        letter = m.message_type.decode()
        if letter in "AF":
            public["A"][m.order_reference] = (m.side, m.shares, m.price, m.stock.strip())
        elif letter == "U":
            public["U"][m.new_order_reference] = (m.shares, m.price)
        elif letter in "EC":
            public["E"][m.match_number] = (m.order_reference, m.executed_shares)
        elif letter == "D":
            public["D"].add(m.order_reference)
    kinds = dict.fromkeys(["0", "F", "4", "5"], 0)
    for _, _, payload in (a for a in found if a[0] == "fix"):
        f = dict(decode_message(payload).fields)
        if f[35] != b"8":
            continue
        kind, ref = f[150].decode(), int(f[37])
        kinds[kind] += 1
        if kind == "0":
            side, lots, price, symbol = public["A"][ref]
            assert (side, symbol) == (b"B" if f[54] == b"1" else b"S", f[55])
            assert (lots, price) == (int(f[38]), round(float(f[44]) * 10_000))
        elif kind == "F":
            assert public["E"][int(f[527])] == (ref, int(f[32]))
        elif kind == "4":
            assert ref in public["D"]
            assert f[151] == b"0"
        assert int(f[151]) == (0 if kind == "4" else int(f[38]) - int(f[14]))
    assert min(kinds.values()) > 3


def test_the_public_feed_is_a_sound_day(day):
    """Books never cross, and nothing speaks of an order that is not there."""
    book = naive.Book()
    for e in events_of(bytes_of(day[0], "itch")):
        book.on_event(e)

    assert not +book.counts
    assert len(book.trade) > 50
    for row in book.top:
        assert row[1] < row[2] or naive.UNSET in row[1:3]


def events_of(data):
    from types import SimpleNamespace

    from tests.naive import itch

    at = n = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        n += 1
        yield SimpleNamespace(**itch.decode(data[at + 2 : end], n))
        at = end


def test_episodes_are_what_they_say():
    """By their reports alone: a wall, a fill on the other side, the wall pulled within 2 s."""
    found, day = arrivals(2, 9_000)
    told = {}
    for _, _, payload in (a for a in found if a[0] == "fix"):
        f = dict(decode_message(payload).fields)
        if f[35] == b"8":
            told.setdefault(f[1].decode(), []).append((f[150], int(f[37]), f[54], f[60]))

    over = [e for e in day.episodes if e.pulled_ns]
    assert {e.kind for e in over} == set(KINDS)
    assert sum(e.is_spoof for e in over) >= 5
    for episode in over:
        own = told[episode.account]
        wall = [step for step in own if step[1] == episode.wall_id]
        fills = [step for step in own if step[0] == b"F" and step[2] != wall[0][2]]
        assert [step[0] for step in wall] == [b"0", b"4"]
        if episode.is_spoof:
            assert fills[0][1] == episode.fill_id
            assert wall[0][3] < fills[0][3] < wall[1][3]
        elif episode.kind in ("no fill", "same side", "another's fill"):
            assert fills == []
