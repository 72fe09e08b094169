"""The hot decoder and both framings against their naive twins."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.codecs.itch_driver import (
    DAY_NS,
    Reader,
    add_order,
    bodies,
    damaged,
    messages,
    prefixed,
)
from tests.naive import itch as naive

from onetape.codecs.feed import REASONS, symbol_of
from onetape.codecs.itch50.message import encode_message
from onetape.codecs.itch50.spec import BY_LETTER
from onetape.codecs.itch50.write import stock_word

MIDNIGHT = 1_548_824_400 * 10**9


@pytest.mark.parametrize("letter", BY_LETTER)
@given(data=st.data())
def test_each_type_becomes_what_the_twin_says(letter, data):
    body = encode_message(data.draw(messages(letter)))
    twin = naive.Feed(MIDNIGHT)
    twin.message(body, 1, 77)

    reader = Reader("length_prefixed", MIDNIGHT).packet(prefixed([body]), 77)

    assert reader.events == twin.events
    assert reader.refused == twin.refused
    by_type = reader.feed["by_type"][0]
    assert by_type.sum() == by_type[body[0]] == reader.state("messages") == len(twin.events)


@given(st.lists(st.one_of(damaged(), bodies), max_size=12), st.integers(0, 255))
def test_damaged_messages_are_refused_as_the_twin_does(some, rubbish):
    twin = naive.Feed()
    twin.length_prefixed(prefixed(some), 5)

    reader = Reader("length_prefixed", rubbish=rubbish).packet(prefixed(some), 5)

    assert reader.events == twin.events
    assert reader.refused == twin.refused
    assert reader.counts.tolist() == [len(twin.events), 0, sum(twin.refused.values())]
    assert reader.state("next_sequence") == twin.next_sequence


@given(st.binary(max_size=80))
@example(b"\0\0D" + bytes(18))
@example(b"\0\0D" + bytes(17))
@example(b"\0\0?" + bytes(30))
@example(b"\0\0")
@example(b"\0\1")
@example(b"\0\1?\0")
def test_any_bytes_in_a_file_are_read_as_the_twin_does(data):
    twin = naive.Feed()
    twin.length_prefixed(data)

    reader = Reader("length_prefixed").packet(data)

    assert reader.events == twin.events
    assert reader.refused == twin.refused


@given(st.lists(bodies, max_size=10), st.data())
def test_any_cut_between_messages_gives_the_same_events(some, data):
    whole = Reader("length_prefixed").packet(prefixed(some))
    pieces = Reader("length_prefixed")
    rest = some
    while rest:
        n = data.draw(st.integers(1, len(rest)))
        pieces.packet(prefixed(rest[:n]))
        rest = rest[n:]

    assert pieces.events == whole.events
    assert pieces.feed.tobytes() == whole.feed.tobytes()


def test_the_limits_of_the_specification_are_inside():
    good = [
        add_order(price=0),
        add_order(price=2_000_000_000, shares=0, order=0),
        add_order(ts_ns=DAY_NS - 1, side=b"S", order=2**64 - 1, shares=2**32 - 1),
    ]
    bad = [add_order(price=2_000_000_001), add_order(ts_ns=DAY_NS), add_order(side=b"A")]

    reader = Reader("length_prefixed").packet(prefixed(good + bad))

    assert [e["price_ticks"] for e in reader.events] == [0, 2_000_000_000, 10_000]
    assert reader.events[2]["order_id"] == 2**64 - 1
    assert reader.refused == {"price out of range": 1, "time out of day": 1, "bad side": 1}
    assert set(reader.refused) <= set(REASONS)


def test_the_directory_leaves_its_symbol():
    body = b"R" + bytes([0x12, 0x34]) + bytes(8) + b"AAPL    " + bytes(20)

    reader = Reader("length_prefixed").packet(prefixed([body]))

    assert reader.events[0]["instrument_id"] == 0x1234
    assert reader.feed["symbols"][0][0x1234] == stock_word("AAPL")
    assert symbol_of(stock_word("AAPL")) == "AAPL"
    assert symbol_of(-1) == "????????"
