"""The relay: what comes out is what the plan makes of what goes in; each datagram is counted."""

import threading
import time
from contextlib import ExitStack

import pytest

from onetape.compiled import mode
from onetape.connect.udp import open_receiver, open_sender, parse_address
from onetape.sim.venue.faults import Faults, plan_packet
from onetape.sim.venue.relay import Relay

DEADLINE_S = 20.0


class Passing:
    """A relay on a thread, between two sockets of this test."""

    def __init__(self, stack, faults):
        any_port = parse_address("127.0.0.1:0")
        self.receiver = stack.enter_context(open_receiver(any_port))
        self.receiver.socket.settimeout(DEADLINE_S)
        came_in = stack.enter_context(open_receiver(any_port))
        self.sender = stack.enter_context(open_sender(came_in.address))
        goes_out = stack.enter_context(open_sender(self.receiver.address))
        self.relay = Relay(came_in.fd, goes_out.fd, faults)
        self.thread = threading.Thread(target=self.relay.run)
        self._stack = stack

    def start(self):
        self.thread.start()
        self._stack.callback(self.thread.join, DEADLINE_S)
        self._stack.callback(self.relay.stop)
        return self

    def until(self, condition):
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition(self.relay.counts()):
            assert time.monotonic() < deadline_s, self.relay.counts()
            time.sleep(0.001)

    def pass_on(self, datagrams):
        """Send them, then run the relay, so that it sees no silence; return all that came out."""
        for datagram in datagrams:
            assert self.sender.send(datagram)
        self.start()
        self.until(lambda counts: counts["received"] == len(datagrams))
        self.relay.stop()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()
        return [self.receiver.socket.recv(9216) for _ in range(self.relay.counts()["sent"])]


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


def datagrams(count):
    return [b"datagram %d" % i for i in range(count)]


def naive_output(faults, sent):
    """What the plan makes of them where time plays no part; what is left leaves at the end."""
    words = faults.words()
    out, slots = [], [None] * len(sent)
    for ordinal, datagram in enumerate(sent):
        copies, behind, _, _ = plan_packet(words, ordinal)
        if behind > 0:
            slots[slots.index(None)] = (ordinal + behind, [datagram] * copies)
        else:
            out += [datagram] * copies
        for i, held in enumerate(slots):
            if held is not None and held[0] <= ordinal:
                out += held[1]
                slots[i] = None
    return out + [copy for held in slots if held is not None for copy in held[1]]


@pytest.mark.parametrize("chosen", mode.MODES)
def test_a_good_network_passes_everything_on(stack, chosen):
    with mode.running(chosen):
        passing = Passing(stack, Faults())
        assert passing.pass_on(datagrams(100)) == datagrams(100)

    counts = passing.relay.counts()
    assert counts.pop("received") == counts.pop("sent") == 100
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_comes_out_follows_from_the_seed(stack, seed):
    faults = Faults(seed=seed, lose=0.1, duplicate=0.1, reorder=0.2, reorder_depth=6)
    sent = datagrams(400)
    passing = Passing(stack, faults)

    assert passing.pass_on(sent) == naive_output(faults, sent)

    counts = passing.relay.counts()
    assert counts["sent"] + counts["unsent"] == 400 - counts["lost"] + counts["duplicated"]
    assert min(counts["lost"], counts["duplicated"], counts["reordered"]) > 0
    assert counts["corrupted"] == counts["delayed"] == counts["not_held"] == 0


def test_silence_sets_free_what_is_reordered(stack):
    passing = Passing(stack, Faults(reorder=1.0)).start()

    passing.sender.send(b"alone")

    assert passing.receiver.socket.recv(64) == b"alone"
    assert passing.relay.counts()["reordered"] == 1


def test_a_delayed_datagram_is_overtaken_and_comes(stack):
    faults = Faults(seed=_seed_that_delays_the_first(), delay_spike=0.5, delay_ms=100)
    passing = Passing(stack, faults).start()
    began_s = time.monotonic()

    passing.sender.send(b"slow")
    passing.sender.send(b"fast")

    assert [passing.receiver.socket.recv(64) for _ in range(2)] == [b"fast", b"slow"]
    assert time.monotonic() - began_s >= 0.1
    assert passing.relay.counts()["delayed"] == 1


def test_damage_arrives(stack):
    passing = Passing(stack, Faults(corrupt=1.0, corrupt_kind="any"))

    came = passing.pass_on(datagrams(50))

    assert [len(d) for d in came] == [len(d) for d in datagrams(50)]
    assert all(a != b for a, b in zip(came, datagrams(50)))
    assert passing.relay.counts()["corrupted"] == 50


def test_what_is_held_leaves_at_the_end(stack):
    passing = Passing(stack, Faults(delay_spike=1.0, delay_ms=10_000))

    came = passing.pass_on(datagrams(600))

    assert sorted(came) == sorted(datagrams(600))
    counts = passing.relay.counts()
    assert (counts["delayed"], counts["not_held"], counts["sent"]) == (512, 88, 600)


def _seed_that_delays_the_first():
    for seed in range(100):
        words = Faults(seed=seed, delay_spike=0.5, delay_ms=1).words()
        if plan_packet(words, 0)[2] > 0 and plan_packet(words, 1)[2] == 0:
            return seed
    raise AssertionError("no seed of 100 delays the first datagram only")
