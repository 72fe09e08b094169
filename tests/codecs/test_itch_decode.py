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
    mold,
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


# --- MoldUDP64 ------------------------------------------------------------------------------------


@st.composite
def datagrams(draw):
    """Packets of one or two sessions, some repeated, some ahead, some damaged."""
    out, sequence, session = [], 1, b"SESSION001"
    for _ in range(draw(st.integers(1, 6))):
        some = draw(st.lists(st.one_of(bodies, bodies, damaged()), max_size=4))
        jump = draw(st.sampled_from([0, 0, 0, 0, -3, -1, 2, 2**48, 2**63]))
        session = draw(st.sampled_from([session, session, session, b"SESSION002", b"\0" * 10]))
        count = draw(st.sampled_from([None] * 6 + [0, 1, 9, 0xFFFF]))
        at = max(0, sequence + jump) % 2**64
        packet = bytearray(mold(at, some, session, count))
        if draw(st.integers(0, 5)) == 0:
            packet = packet[: draw(st.integers(0, len(packet)))]
        if draw(st.integers(0, 5)) == 0:
            packet += draw(st.binary(max_size=4))
        out.append(bytes(packet))
        if jump in (0, 2):
            sequence = at + len(some)
    return out


@given(datagrams(), st.integers(0, 255))
def test_datagrams_are_read_as_the_twin_does(packets, rubbish):
    twin = naive.Feed(MIDNIGHT)
    reader = Reader("moldudp64", MIDNIGHT, rubbish)

    for i, packet in enumerate(packets):
        twin.moldudp64(packet, i)
        reader.packet(packet, i)

    assert reader.events == twin.events
    assert reader.refused == twin.refused
    for name in (
        "next_sequence",
        "sessions",
        "ended",
        "heartbeats",
        "duplicates",
        "gaps",
        "gap_messages",
    ):
        assert reader.state(name) == getattr(twin, name), name


def test_a_second_line_changes_nothing_and_is_counted():
    packets = [mold(1, [add_order(1), add_order(2)]), mold(3, [add_order(3)])]
    one, both = Reader("moldudp64"), Reader("moldudp64")

    for packet in packets:
        one.packet(packet)
        both.packet(packet).packet(packet)

    assert both.events == one.events
    assert [e["sequence"] for e in one.events] == [1, 2, 3]
    assert both.state("duplicates") == 3
    assert both.counts.tolist() == [3, 3, 0]


def test_a_gap_is_counted_once_and_a_heartbeat_shows_one_too():
    reader = Reader("moldudp64")

    reader.packet(mold(1, [add_order()])).packet(mold(5, [add_order()]))

    assert (reader.state("gaps"), reader.state("gap_messages")) == (1, 3)
    reader.packet(mold(6, []))
    assert (reader.state("gaps"), reader.state("heartbeats")) == (1, 1)
    reader.packet(mold(8, []))
    assert (reader.state("gaps"), reader.state("gap_messages")) == (2, 5)
    reader.packet(mold(8, [], count=0xFFFF))
    assert reader.state("ended") == 1


def test_a_packet_that_overlaps_gives_what_is_new():
    reader = Reader("moldudp64").packet(mold(1, [add_order(1), add_order(2)]))

    reader.packet(mold(2, [add_order(2), add_order(3)]))

    assert [(e["sequence"], e["order_id"]) for e in reader.events] == [(1, 1), (2, 2), (3, 3)]
    assert reader.state("duplicates") == 1


def test_a_message_that_runs_past_the_packet_drops_its_rest_which_then_is_a_gap():
    packet = mold(1, [add_order(1), add_order(2), add_order(3)])
    cut = bytearray(packet[: 20 + 38 + 38 + 10])
    reader = Reader("moldudp64").packet(cut)

    assert len(reader.events) == 2
    assert reader.refused == {"bad packet": 1}
    reader.packet(mold(4, [add_order(4)]))
    assert (reader.state("gaps"), reader.state("gap_messages")) == (1, 1)


def test_a_new_session_is_adopted_with_its_number():
    reader = Reader("moldudp64").packet(mold(1, [add_order()])).packet(mold(2, [], count=0xFFFF))

    reader.packet(mold(100, [add_order()], session=b"SESSION002"))

    assert [e["sequence"] for e in reader.events] == [1, 100]
    assert [reader.state(n) for n in ("sessions", "gaps", "ended")] == [2, 0, 0]
    reader.packet(mold(101, [add_order()], session=b"SESSION\x00\x01\x02"))
    assert reader.refused == {"bad session": 1}
    assert reader.state("next_sequence") == 101


def test_an_empty_datagram_is_a_bad_packet():
    assert Reader("moldudp64").packet(b"").refused == {"bad packet": 1}
