"""Packing: nothing is lost or changed, numbers go on, a naive packer agrees with each packet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.codecs.itch50.files import is_moldudp64
from onetape.compiled import mode
from onetape.records import OperatorError, PeerError
from onetape.sim import generate, simulate
from onetape.sim.venue.packets import History, pack, pack_all, session_of

SESSION = session_of("TEST")
TINY = {"seed": 3, "instruments": 3, "seconds": 0.4, "messages_per_s": 2000.0, "episodes": 1}


def message(time_ns, size=19):
    return b"D" + bytes(4) + time_ns.to_bytes(6, "big") + bytes(range(size - 11))


def prefixed(bodies):
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


def as_array(data):
    return np.frombuffer(bytes(data), np.uint8)


def naive_packets(bodies, first, pack_ns, packet_bytes):
    """[(first sequence, [bodies])]"""
    packets = []
    for sequence, body in enumerate(bodies, first):
        time_ns = int.from_bytes(body[5:11], "big")
        if packets:
            opened_ns = int.from_bytes(packets[-1][1][0][5:11], "big")
            size = 20 + len(prefixed([*packets[-1][1], body]))
            if time_ns - opened_ns <= pack_ns and size <= packet_bytes:
                packets[-1][1].append(body)
                continue
        packets.append((sequence, [body]))
    return packets


bodies_of_days = st.lists(st.tuples(st.integers(0, 40_000), st.integers(11, 50)), max_size=60).map(
    lambda steps: [
        message(int(time_ns), size)
        for time_ns, (_, size) in zip(np.cumsum([0, *(step for step, _ in steps)]), steps)
    ]
)


@given(bodies_of_days, st.sampled_from([0, 1, 50_000, 10**9]), st.sampled_from([72, 200, 1400]))
def test_packets_are_those_of_a_naive_packer(bodies, pack_ns, packet_bytes):
    data = as_array(prefixed(bodies))

    packets = pack(
        data, session=SESSION, first_sequence=5, pack_ns=pack_ns, packet_bytes=packet_bytes
    )

    expected = naive_packets(bodies, 5, pack_ns, packet_bytes)
    assert [packets.packet(i) for i in range(len(packets))] == [
        SESSION + first.to_bytes(8, "big") + len(its).to_bytes(2, "big") + prefixed(its)
        for first, its in expected
    ]
    assert packets.first_sequence.tolist() == [first for first, _ in expected]
    assert packets.due_ns.tolist() == [int.from_bytes(its[-1][5:11], "big") for _, its in expected]
    assert [packets.message(5 + i) for i in range(packets.messages)] == bodies
    assert packets.sizes.max(initial=0) <= packet_bytes


def test_a_day_in_blocks_is_numbered_through_and_whole():
    day = simulate(**TINY)

    blocks = list(pack_all(generate(**TINY, chunk_bytes=5000), session=SESSION))

    assert len(blocks) > 3
    sent = [block.message(n) for block in blocks for n in _numbers(block)]
    assert prefixed(sent) == day.data.tobytes()
    assert [n for block in blocks for n in _numbers(block)] == list(range(1, day.messages + 1))
    assert all(is_moldudp64(block.packet(i)) for block in blocks for i in range(len(block)))
    assert max(block.counts.max() for block in blocks) > 1


def test_plain_python_makes_the_same_packets():
    data = simulate(**TINY).data[:4000]
    data = data[: 2 + data[1]]
    with mode.running("interpreted"):
        interpreted = pack(data, session=SESSION)
    compiled = pack(data, session=SESSION)

    assert interpreted.buffer.tobytes() == compiled.buffer.tobytes()
    assert interpreted.due_ns.tolist() == compiled.due_ns.tolist()


def test_a_length_of_zero_is_written_out():
    body = message(7)

    packets = pack(as_array(b"\0\0" + body), session=SESSION)

    assert packets.packet(0)[20:] == prefixed([body])


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (prefixed([message(1)]) + b"\0", 21),
        (prefixed([message(1)])[:-1], 0),
        (prefixed([message(1, 60)]), 0),  # does not fit a packet of 72 bytes
        (prefixed([message(1)]) + b"\0\5hello", 21),  # has no time
        (b"\0\0~" + bytes(20), 0),  # as long as a type that nobody knows
    ],
)
def test_what_cannot_be_packed_is_said_where(data, at):
    with pytest.raises(PeerError, match=f"byte {at} of {len(data)}"):
        pack(as_array(data), session=SESSION, packet_bytes=72)


@pytest.mark.parametrize("packet_bytes", [0, 71, 9001])
def test_packets_have_bounds(packet_bytes):
    with pytest.raises(OperatorError, match="packet_bytes was"):
        pack(as_array(b""), session=SESSION, packet_bytes=packet_bytes)


@pytest.mark.parametrize("name", ["", "elevenchars", "\x07", "é"])
def test_a_session_is_printable(name):
    with pytest.raises(OperatorError, match="session was"):
        session_of(name)


def test_history_keeps_the_last_blocks():
    history = History(2)
    blocks = list(
        pack_all([as_array(prefixed([message(i)] * 3)) for i in range(4)], session=SESSION)
    )
    for block in blocks:
        history.add(block)

    found = [history.find(sequence) for sequence in (0, 1, 6, 7, 9, 10, 12, 13)]

    assert [blocks.index(f) if f else None for f in found] == [None, None, None, 2, 2, 3, 3, None]


def _numbers(block):
    return range(int(block.first_sequence[0]), block.next_sequence)
