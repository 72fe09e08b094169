"""MoldUDP64 against its naive twin: order, repetition, gaps, damage, sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codecs.itch_driver import Reader, add_order, bodies, damaged, mold
from tests.naive import itch as naive

from onetape.codecs.arbitration import BODY_MAX
from onetape.codecs.itch50.spec import MESSAGES
from onetape.records.market import GAP_FILLED, GAP_LOST, GAP_OPENED

MIDNIGHT = 1_548_824_400 * 10**9


def test_every_message_can_wait_behind_a_gap():
    assert max(of.size_bytes for of in MESSAGES) <= BODY_MAX


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
    for line, packet in draw(st.lists(st.sampled_from(out), max_size=4)):
        out.append((1 - line, packet))
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


def test_a_refused_message_that_comes_again_and_again_does_not_halt_the_feed():
    bad = add_order(2, side=b"?")
    reader = Reader("moldudp64", patience_ns=100).packet(mold(1, [add_order(1)]), 1)

    for now_ns in range(2, 120):  # one line alone: nobody can say that the venue means it
        reader.packet(mold(2, [bad, add_order(3)]), now_ns, line=2)

    assert [e["order_id"] for e in reader.events] == [1, 3]
    assert [(g[-2], g[2], g[3]) for g in reader.gaps] == [(GAP_OPENED, 2, 1), (GAP_LOST, 2, 1)]
    assert reader.state("stale") == 1


@pytest.mark.parametrize("bad", [b"?" + add_order(2)[1:], add_order(2, side=b"?")])
@pytest.mark.parametrize("first", [1, 3], ids=["waits for nothing", "waits behind a gap"])
def test_a_refused_message_that_two_lines_say_alike_is_what_the_venue_sent(bad, first):
    bodies = [add_order(1), bad, add_order(3)]
    reader = Reader("moldudp64", patience_ns=100)
    if first == 3:
        reader.packet(mold(2, bodies[1:]), line=0).packet(mold(2, bodies[1:]), line=1)

    reader.packet(mold(1, bodies), line=0).packet(mold(1, bodies), line=0)
    if first == 1:
        assert [e["order_id"] for e in reader.events] == [1]
        reader.packet(mold(1, bodies), line=1)

    assert [e["order_id"] for e in reader.events] == [1, 3]
    assert (reader.state("stale"), reader.state("gap_open")) == (1, 0)  # as behind it in a file


def test_gaps_are_seen_however_long_some_message_has_been_waiting():
    """The feed is never whole for 70 000 messages: one is always missing, and then comes late."""
    reader, count, some = Reader("moldudp64", patience_ns=10**9), 70_000, 50
    for first in range(1, count, some):
        late = [add_order(first + some - 1)]
        bodies = [add_order(n) for n in range(first, first + some)]
        reader.packet(mold(first + some, [add_order(first + some)]), first)
        reader.packet(mold(first, bodies[:-1]), first).packet(mold(first + some - 1, late), first)
        reader.packet(mold(first + some + 2, [add_order(first + some + 2)]), first)

    assert reader.state("gap_messages") == 0
    assert reader.missing_from(0) == (count + 2, count + 3)


def test_late_packets_of_a_session_that_ended_change_nothing():
    old = [mold(n, [add_order(n)]) for n in range(1, 6)]
    reader = Reader("moldudp64").packet(old[0]).packet(mold(2, [], count=0xFFFF))
    reader.packet(mold(1, [add_order(7)], session=b"SESSION002"))

    for packet in old * 3:
        reader.packet(packet, line=1)

    assert reader.refused == {"old session": 15}
    assert reader.state("sessions") == 2
    reader.packet(mold(2, [add_order(8)], session=b"SESSION002"))
    assert [e["order_id"] for e in reader.events] == [1, 7, 8]


def test_a_session_that_goes_on_after_its_end_has_not_ended():
    reader = Reader("moldudp64").packet(mold(1, [add_order(1)])).packet(mold(2, [], count=0xFFFF))
    reader.packet(mold(2, [add_order(2)]))

    reader.packet(mold(1, [add_order(9)], session=b"STRANGER01")).packet(mold(3, [add_order(3)]))

    assert [e["order_id"] for e in reader.events] == [1, 2, 3]
    assert (reader.state("ended"), reader.state("sessions"), reader.state("stale")) == (0, 1, 0)


def test_an_end_that_lacks_a_message_waits_for_it_before_another_session():
    reader = Reader("moldudp64", patience_ns=100).packet(mold(1, [add_order(1)]))
    reader.packet(mold(3, [add_order(3)])).packet(mold(4, [], count=0xFFFF))

    reader.packet(mold(1, [add_order(7)], session=b"SESSION002"))
    reader.packet(mold(2, [add_order(2)]), line=2)

    assert [e["order_id"] for e in reader.events] == [1, 2, 3]
    reader.packet(mold(1, [add_order(7)], session=b"SESSION002"))
    assert [e["order_id"] for e in reader.events] == [1, 2, 3, 7]


def test_heartbeats_of_a_stranger_change_nothing():
    reader = Reader("moldudp64").packet(mold(1, [add_order(1)]))
    for _ in range(9):
        reader.packet(mold(1, [], session=b"STRANGER01"))

    assert (reader.state("sessions"), reader.refused) == (1, {"bad session": 9})


def test_a_gap_is_given_up_before_what_waits_behind_it_has_no_room():
    reader = Reader("moldudp64", patience_ns=10**9)
    reader.packet(mold(1, [add_order(1)]))
    for first in range(3, 60_003, 100):
        reader.packet(mold(first, [add_order(n) for n in range(first, first + 100)]))

    assert (reader.state("not_held"), reader.state("gap_messages")) == (0, 1)
    assert reader.state("next_sequence") == 60_003


def test_someone_elses_packets_do_not_make_the_day_begin_again():
    mine = [mold(n, [add_order(n)]) for n in range(1, 10)]
    others = [mold(n, [add_order(100 + n)], session=b"STRANGER01") for n in (1, 2, 3)]
    reader = Reader("moldudp64", patience_ns=0)
    for packet in [*mine[:5], *others, *mine[:5], *mine[5:]]:
        reader.packet(packet)

    assert [e["order_id"] for e in reader.events] == [1, 2, 3, 4, 5, 103, 8, 9]
    assert reader.state("stale") == 1


def test_a_far_number_is_not_believed_for_its_own_copy_nor_after_a_good_packet():
    far = mold(1 << 40, [add_order(9)])
    reader = Reader("moldudp64").packet(mold(1, [add_order(1)]))

    reader.packet(far).packet(far).packet(mold(2, [add_order(2)]))
    reader.packet(mold((1 << 40) + 1, [add_order(9)])).packet(mold(3, [add_order(3)]))

    assert [e["order_id"] for e in reader.events] == [1, 2, 3]
    assert reader.refused == {"far sequence": 3}
    reader.packet(far, line=0).packet(far, line=1)
    assert reader.events[-1]["order_id"] == 9


def test_the_end_of_a_session_far_ahead_is_believed_when_it_is_said_three_times():
    reader = Reader("moldudp64").packet(mold(1, [add_order(1)]))
    for _ in range(3):
        assert reader.state("ended") == 0
        reader.packet(mold(1 << 20, [], count=0xFFFF))

    assert reader.state("ended") == 1


def test_a_damaged_number_in_the_first_packet_is_taken_back():
    reader = Reader("moldudp64", patience_ns=10**9).packet(mold(1 << 40, [add_order(9)]))

    for n in (1, 2, 3):
        reader.packet(mold(n, [add_order(n)]), n)

    assert [e["order_id"] for e in reader.events] == [1, 2, 3]
    assert reader.state("gap_messages") == reader.state("stale") == 0


def test_one_who_joins_in_the_middle_starts_there():
    reader = Reader("moldudp64").packet(mold(1 << 30, [add_order(1)]))

    reader.packet(mold((1 << 30) + 1, [add_order(2)]))

    assert [e["order_id"] for e in reader.events] == [1, 2]
    assert reader.state("gap_messages") == (1 << 30) - 1


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
