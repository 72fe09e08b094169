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
from onetape.records.market import GAP_FILLED, GAP_LOST, GAP_OPENED

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

STATES = {GAP_OPENED: "opened", GAP_FILLED: "filled", GAP_LOST: "lost"}


@st.composite
def datagrams(draw):
    """(line, packet) of one or two sessions: repeated, ahead, behind, damaged, of any order."""
    out, sequence, session = [], 1, b"SESSION001"
    for _ in range(draw(st.integers(1, 12))):
        some = draw(st.lists(st.one_of(bodies, bodies, damaged()), max_size=4))
        jump = draw(st.sampled_from([0] * 6 + [-3, -1, 2, 2, 5, 70_000, 2**48, 2**63]))
        session = draw(st.sampled_from([session] * 6 + [b"SESSION002", b"\0" * 10]))
        count = draw(st.sampled_from([None] * 8 + [0, 1, 9, 0xFFFF]))
        at = max(0, sequence + jump) % 2**64
        packet = bytearray(mold(at, some, session, count))
        if draw(st.integers(0, 7)) == 0:
            packet = packet[: draw(st.integers(0, len(packet)))]
        if draw(st.integers(0, 7)) == 0:
            packet += draw(st.binary(max_size=4))
        out.append((draw(st.integers(0, 1)), bytes(packet)))
        if jump in (0, 2, 70_000):
            sequence = at + len(some)
    if draw(st.booleans()):
        out = draw(st.permutations(out))
    return out


@given(datagrams(), st.integers(0, 255), st.sampled_from([0, 2, 5, 1000]))
def test_datagrams_are_read_as_the_twin_does(packets, rubbish, patience_ns):
    twin = naive.Mold(MIDNIGHT, patience_ns)
    reader = Reader("moldudp64", MIDNIGHT, rubbish, patience_ns)

    for i, (line, packet) in enumerate(packets):
        twin.packet(packet, i, line)
        reader.packet(packet, i, line)
    twin.settle(len(packets), is_over=True)
    reader.end(len(packets))

    assert reader.events == twin.events
    assert reader.refused == twin.refused
    assert [(STATES[g[-2]], g[2], g[3]) for g in reader.gaps] == twin.gaps
    for name in (
        "next_sequence",
        "highest_sequence",
        "sessions",
        "ended",
        "heartbeats",
        "duplicates",
        "after_loss",
        "conflicts",
        "not_held",
        "gap_messages",
        "stale",
    ):
        assert reader.state(name) == getattr(twin, name), name


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
def test_any_order_of_arrival_gives_the_same_events(sizes, random, again):
    packets, sequence = [], 1
    for size in sizes:
        packets.append(mold(sequence, [add_order(sequence + i) for i in range(size)]))
        sequence += size
    plain, shuffled = Reader("moldudp64"), Reader("moldudp64", patience_ns=10**9)

    for packet in packets:
        plain.packet(packet)
    some = packets + random.choices(packets, k=again)
    random.shuffle(some)
    for i, packet in enumerate(some):
        shuffled.packet(packet, i)

    assert shuffled.events == [e | {"ts_recv_ns": o["ts_recv_ns"]} for e, o in
                               zip(plain.events, shuffled.events, strict=True)]  # fmt: skip
    assert shuffled.state("held") == shuffled.state("stale") == shuffled.state("gap_open") == 0
    opened = sum(STATES[g[-2]] == "opened" for g in shuffled.gaps)
    assert opened == sum(STATES[g[-2]] == "filled" for g in shuffled.gaps)


def test_a_second_line_changes_nothing_and_is_counted():
    packets = [mold(1, [add_order(1), add_order(2)]), mold(3, [add_order(3)])]
    one, both = Reader("moldudp64"), Reader("moldudp64")

    for packet in packets:
        one.packet(packet)
        both.packet(packet).packet(packet, line=1)

    assert both.events == one.events
    assert [e["sequence"] for e in one.events] == [1, 2, 3]
    assert both.state("duplicates") == 3
    assert both.feed["line_packets"][0].tolist()[:2] == [2, 2]
    assert both.feed["line_delivered"][0].tolist()[:2] == [3, 0]


def test_a_gap_waits_for_its_patience_then_is_given_up_and_the_feed_is_stale():
    reader = Reader("moldudp64", patience_ns=100)

    reader.packet(mold(1, [add_order(1)]), 10).packet(mold(4, [add_order(4)]), 20)

    assert [e["order_id"] for e in reader.events] == [1]
    assert [(g[-2], g[2], g[3]) for g in reader.gaps] == [(GAP_OPENED, 2, 2)]
    reader.packet(mold(5, [add_order(5)]), 119)
    assert [e["order_id"] for e in reader.events] == [1]
    assert reader.state("stale") == 0
    reader.packet(mold(6, []), 120)
    assert [e["order_id"] for e in reader.events] == [1, 4, 5]
    assert [(g[-2], g[2], g[3], g[4]) for g in reader.gaps[1:]] == [(GAP_LOST, 2, 2, 100)]
    assert (reader.state("gap_messages"), reader.state("stale")) == (2, 1)


def test_many_gaps_are_given_up_one_patience_after_each_was_seen():
    reader = Reader("moldudp64", patience_ns=100)
    for i in range(50):  # every other message is lost
        reader.packet(mold(1 + 2 * i, [add_order(1 + 2 * i)]), 10 * i)

    assert reader.events[-1]["order_id"] == 1 + 2 * (49 - 10)


def test_what_is_missing_comes_by_another_line_and_nothing_is_lost():
    reader = Reader("moldudp64", patience_ns=100)

    reader.packet(mold(1, [add_order(1)]), 10).packet(mold(3, [add_order(3)]), 20)
    reader.packet(mold(2, [add_order(2)]), 50, line=1)

    assert [(e["order_id"], e["ts_recv_ns"]) for e in reader.events] == [(1, 10), (2, 50), (3, 20)]
    assert [(g[-2], g[2], g[3], g[4]) for g in reader.gaps[1:]] == [(GAP_FILLED, 2, 2, 30)]
    assert reader.state("stale") == 0


def test_a_packet_that_does_not_add_up_is_refused_as_a_whole():
    packet = mold(1, [add_order(1), add_order(2), add_order(3)])
    reader = Reader("moldudp64", patience_ns=100)

    reader.packet(packet[: 20 + 38 + 38 + 10])

    assert reader.events == []
    assert reader.refused == {"bad packet": 1}
    reader.packet(packet, 5)
    assert len(reader.events) == 3


def test_a_message_that_the_decoder_refuses_is_missing_and_may_come_again():
    reader = Reader("moldudp64", patience_ns=100)

    reader.packet(mold(1, [add_order(1), add_order(2, side=b"?"), add_order(3)]), 5)

    assert [e["order_id"] for e in reader.events] == [1]
    assert reader.refused == {"bad side": 1}
    reader.packet(mold(2, [add_order(2)]), 6, line=2)
    assert [e["order_id"] for e in reader.events] == [1, 2, 3]
    assert reader.state("stale") == 0


def test_one_packet_far_ahead_is_not_believed_and_two_are():
    reader = Reader("moldudp64").packet(mold(1, [add_order(1)]))

    reader.packet(mold(1 << 40, [add_order(9)])).packet(mold(2, [add_order(2)]))

    assert reader.refused == {"far sequence": 1}
    assert [e["order_id"] for e in reader.events] == [1, 2]
    reader.packet(mold(1 << 30, [add_order(9)])).packet(mold((1 << 30) + 1, [add_order(10)]))
    assert [e["order_id"] for e in reader.events] == [1, 2, 10]
    assert reader.state("gap_messages") == (1 << 30) + 1 - 3


def test_two_packets_that_disagree_are_both_not_believed():
    reader = Reader("moldudp64", patience_ns=100)

    reader.packet(mold(1, [add_order(1)])).packet(mold(3, [add_order(77)]))
    reader.packet(mold(3, [add_order(3)]), line=1)

    assert (reader.state("conflicts"), reader.state("held")) == (1, 0)
    reader.packet(mold(2, [add_order(2), add_order(3)]), line=2)
    assert [e["order_id"] for e in reader.events] == [1, 2, 3]


def test_a_new_session_begins_at_one():
    reader = Reader("moldudp64").packet(mold(1, [add_order()])).packet(mold(2, [], count=0xFFFF))

    reader.packet(mold(1, [add_order(7)], session=b"SESSION002"))

    assert [(e["sequence"], e["order_id"]) for e in reader.events] == [(1, 1), (1, 7)]
    assert [reader.state(n) for n in ("sessions", "gaps", "ended")] == [2, 0, 0]
    reader.packet(mold(2, [add_order()], session=b"SESSION\x00\x01\x02"))
    assert reader.refused == {"bad session": 1}
    assert reader.state("next_sequence") == 2


def test_a_session_that_has_not_ended_is_left_only_when_a_line_says_so_three_times():
    reader = Reader("moldudp64", patience_ns=100).packet(mold(1, [add_order(1)]))

    for sequence in (1, 2):
        reader.packet(mold(sequence, [add_order(sequence)], session=b"SESSION002"))

    assert reader.state("sessions") == 1
    reader.packet(mold(3, [add_order(3)], session=b"SESSION002"))
    assert reader.state("sessions") == 2
    assert reader.refused == {"bad session": 2}
    reader.packet(mold(1, [add_order(1), add_order(2)], session=b"SESSION002"), line=2)
    assert [e["order_id"] for e in reader.events] == [1, 1, 2, 3]


def test_an_empty_datagram_is_a_bad_packet():
    assert Reader("moldudp64").packet(b"").refused == {"bad packet": 1}
