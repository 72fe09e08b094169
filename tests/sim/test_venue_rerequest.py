"""Asking again: what was sent comes back, and nothing else does, whatever is asked."""

import socket
import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.compiled import mode
from onetape.connect.udp import open_receiver, parse_address
from onetape.sim import generate
from onetape.sim.venue.packets import History, pack_all, session_of
from onetape.sim.venue.rerequest import RerequestServer

SESSION = session_of("TEST")
PACKET_BYTES = 400
DEADLINE_S = 20.0
BLOCKS = list(
    pack_all(
        generate(
            seed=3,
            instruments=3,
            seconds=0.3,
            messages_per_s=1000.0,
            episodes=0,
            chunk_bytes=2000,
        ),
        session=SESSION,
        packet_bytes=PACKET_BYTES,
    )
)
LAST = BLOCKS[-1].next_sequence - 1
SENT = LAST - 20  # numbers below it


@pytest.fixture(scope="module")
def opened():
    with ExitStack() as stack:
        yield stack.enter_context(open_receiver(parse_address("127.0.0.1:0")))


@pytest.fixture
def server(opened):
    return new_server(opened)


def new_server(receiver):
    history = History(len(BLOCKS) - 1)  # the first is no longer kept
    for block in BLOCKS:
        history.add(block)
    return RerequestServer(
        receiver, history, lambda: SENT, session=SESSION, packet_bytes=PACKET_BYTES
    )


def request(sequence, count, session=SESSION):
    return session + sequence.to_bytes(8, "big") + count.to_bytes(2, "big")


def message(sequence):
    (block,) = [b for b in BLOCKS if b.first_sequence[0] <= sequence < b.next_sequence]
    return block.message(sequence)


def check(answer, sequence, count):
    """A packet of messages from `sequence` on, at most `count`, all sent; returns how many."""
    assert answer[:18] == request(sequence, 0)[:18]
    taken = int.from_bytes(answer[18:20], "big")
    assert 0 < taken <= count
    assert sequence + taken <= SENT
    bodies = [message(n) for n in range(sequence, sequence + taken)]
    assert answer[20:] == b"".join(len(b).to_bytes(2, "big") + b for b in bodies)
    return taken


@pytest.mark.parametrize("chosen", mode.MODES)
def test_as_many_as_fit_are_answered(opened, chosen):
    first = int(BLOCKS[1].first_sequence[0])
    with mode.running(chosen):
        answer = bytes(new_server(opened).answer(request(first, 1000)))

    taken = check(answer, first, 1000)
    following = len(message(first + taken))
    assert len(answer) <= PACKET_BYTES < len(answer) + 2 + following


def test_never_the_future(server):
    assert check(bytes(server.answer(request(SENT - 1, 50))), SENT - 1, 50) == 1
    assert server.answer(request(SENT, 1)) is None
    assert server.refused == {"never sent": 1}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (request(SENT - 5, 1)[:-1], "length"),
        (request(SENT - 5, 1) + b"!", "length"),
        (b"", "length"),
        (request(SENT - 5, 1, session_of("OTHER")), "session"),
        (request(SENT - 5, 0), "count of 0"),
        (request(0, 1), "never sent"),
        (request(SENT, 1), "never sent"),
        (request(2**64 - 1, 0xFFFF), "never sent"),
        (request(1, 1), "no longer kept"),
    ],
)
def test_what_cannot_be_answered_is_ignored_and_counted(server, asked, why):
    assert server.answer(asked) is None
    assert server.statistics() == {
        "answered": 0,
        "messages": 0,
        "unsent": 0,
        "refused": {why: 1},
    }


@pytest.mark.fuzz
@given(
    st.one_of(
        st.binary(max_size=30),
        st.builds(request, st.integers(0, LAST + 30), st.integers(0, 0xFFFF)),
        st.builds(request, st.integers(0, 2**64 - 1), st.integers(0, 0xFFFF)),
    )
)
def test_any_bytes_are_answered_rightly_or_not_at_all(opened, asked):
    server = new_server(opened)

    answer = server.answer(asked)

    if answer is None:
        assert server.refused.total() == 1
    else:
        count = int.from_bytes(asked[18:20], "big")
        check(bytes(answer), int.from_bytes(asked[10:18], "big"), count)


def test_only_the_asker_hears_the_answer(opened):
    server = new_server(opened)
    closing = threading.Event()
    running = threading.Thread(target=server.run, args=(closing,))
    running.start()
    address = (opened.address.host, opened.address.port)
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile,
        ):
            asker.connect(address)
            asker.settimeout(DEADLINE_S)
            hostile.connect(address)
            hostile.send(b"no request")
            for sequence in (SENT - 3, SENT - 2):
                asker.send(request(sequence, 2))
                check(asker.recv(9216), sequence, 2)
            hostile.setblocking(False)
            with pytest.raises(BlockingIOError):
                hostile.recv(9216)
    finally:
        closing.set()
        running.join(DEADLINE_S)

    assert not running.is_alive()
    assert (server.answered, server.messages, server.refused) == (2, 4, {"length": 1})
