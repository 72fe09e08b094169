"""The sender over the loopback: everything, in order, on every line, and the end of the session."""

import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest

from onetape.codecs.moldudp64 import END_OF_SESSION
from onetape.compiled import mode
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.records import OperatorError
from onetape.sim import simulate
from onetape.sim.venue import sender
from onetape.sim.venue.packets import History, pack, session_of

SESSION = session_of("TEST")
DEADLINE_S = 20.0


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def day():
    data = simulate(seed=3, instruments=3, seconds=0.3, messages_per_s=1000.0, episodes=0).data
    return data


class Lines:
    def __init__(self, stack, count):
        any_port = parse_address("127.0.0.1:0")
        self.receivers = [stack.enter_context(open_receiver(any_port)) for _ in range(count)]
        for receiver in self.receivers:
            receiver.socket.settimeout(DEADLINE_S)
        senders = [stack.enter_context(open_sender(r.address)) for r in self.receivers]
        self.fds = [each.fd for each in senders]

    def heard(self, line, ends=sender.END_PACKETS):
        """All datagrams of a line, up to the last that says the end."""
        found = []
        while ends > 0:
            found.append(self.receivers[line].socket.recv(9216))
            ends -= found[-1][18:] == END_OF_SESSION.to_bytes(2, "big")
        return found


def end_of(packets):
    sequence = packets.next_sequence.to_bytes(8, "big")
    return [SESSION + sequence + b"\xff\xff"] * sender.END_PACKETS


@pytest.mark.parametrize("chosen", mode.MODES)
def test_both_lines_hear_everything_in_order(stack, day, chosen):
    lines = Lines(stack, 2)
    with mode.running(chosen):
        packets = pack(day, session=SESSION)
        publisher = sender.Publisher(lines.fds, History(4), session=SESSION, speed=50.0)
        publisher.run([packets])

    expected = [packets.packet(i) for i in range(len(packets))] + end_of(packets)
    assert lines.heard(0) == expected
    assert lines.heard(1) == expected
    facts = publisher.statistics()
    assert (facts["packets"], facts["messages"]) == (len(packets), packets.messages)
    assert facts["unsent"] == [0, 0]
    assert publisher.lateness.sum() == len(packets)


def test_no_packet_leaves_before_it_is_due(stack, day):
    packets = pack(day[-3 * 14 :], session=SESSION, pack_ns=0)  # the closing: three messages
    lines = Lines(stack, 1)
    publisher = sender.Publisher(lines.fds, History(4), session=SESSION, spin=True)
    began_ns = time.monotonic_ns()

    publisher.run([packets], start_after_s=0.05)

    last_due_ns = 50_000_000 + int(packets.due_ns[-1] - packets.due_ns[0])
    assert time.monotonic_ns() - began_ns >= last_due_ns


def test_restamping_writes_times_and_nothing_else(stack, day):
    packets = pack(day, session=SESSION)
    before = [packets.message(n) for n in range(1, packets.next_sequence)]
    lines = Lines(stack, 1)
    midnight_ns = time.time_ns() - 3_600_000_000_000
    publisher = sender.Publisher(
        lines.fds, History(4), session=SESSION, speed=10.0, midnight_ns=midnight_ns
    )
    began_ns = time.time_ns()

    publisher.run([packets], start_after_s=0.01)

    after = [packets.message(n) for n in range(1, packets.next_sequence)]
    assert [m[:5] + m[11:] for m in after] == [m[:5] + m[11:] for m in before]
    times_ns = [int.from_bytes(m[5:11], "big") for m in after]
    due_ns = (packets.due_ns - packets.due_ns[0]) // 10
    assert (np.array(times_ns) - times_ns[0]).tolist() == np.repeat(due_ns, packets.counts).tolist()
    assert began_ns - midnight_ns <= times_ns[0] <= time.time_ns() - midnight_ns
    assert lines.heard(0)[:-3] == [packets.packet(i) for i in range(len(packets))]


def test_silence_has_heartbeats(stack, day, monkeypatch):
    monkeypatch.setattr(sender, "HEARTBEAT_NS", 20_000_000)
    lines = Lines(stack, 1)
    with mode.running("interpreted"):
        packets = pack(day[: 2 + day[1]], session=SESSION)
        publisher = sender.Publisher(lines.fds, History(4), session=SESSION)
        running = threading.Thread(
            target=publisher.run, args=([packets],), kwargs={"start_after_s": 600.0}
        )
        running.start()
        try:
            heard = [lines.receivers[0].socket.recv(64) for _ in range(3)]
        finally:
            publisher.stop()
            running.join(DEADLINE_S)

    assert heard == [SESSION + (1).to_bytes(8, "big") + b"\0\0"] * 3
    assert publisher.statistics()["packets"] == 0


def test_stop_ends_the_session_early(stack, day):
    lines = Lines(stack, 1)
    packets = pack(day, session=SESSION)
    publisher = sender.Publisher(lines.fds, History(4), session=SESSION, speed=0.001)
    running = threading.Thread(target=publisher.run, args=([packets],))
    running.start()
    first = lines.receivers[0].socket.recv(9216)

    publisher.stop()
    running.join(DEADLINE_S)

    assert not running.is_alive()
    assert first == packets.packet(0)
    sent = publisher.next_sequence
    assert 1 < sent < packets.next_sequence
    assert lines.heard(0)[-1] == SESSION + sent.to_bytes(8, "big") + b"\xff\xff"


def test_a_listener_that_comes_late_misses_only_what_was_before(stack, day):
    """The error that an earlier datagram found nobody does not cost the next one."""
    with open_receiver(parse_address("127.0.0.1:0")) as gone:
        address = gone.address
    fd = stack.enter_context(open_sender(address)).fd
    packets = pack(day, session=SESSION)

    publisher = sender.Publisher([fd], History(4), session=SESSION, speed=0)
    publisher.run([packets])

    assert publisher.statistics()["unsent"] == [0]


@pytest.mark.parametrize("speed", [-1.0, 0.0001, 1e7])
def test_speeds_have_bounds(speed):
    with pytest.raises(OperatorError, match="speed was"):
        sender.Publisher([1], History(1), session=SESSION, speed=speed)
