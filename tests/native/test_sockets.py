"""Datagrams over the loopback, taken and sent by kernels: compiled, checked and interpreted."""

import os
import socket
import time
from errno import EBADF, ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENOTSOCK, EPERM

import numpy as np
import pytest

from onetape.compiled import kernel, mode
from onetape.native.sockets import (
    is_passing,
    is_truncated,
    new_batch,
    new_watch,
    receive,
    receive_each,
    received_bytes,
    send,
    wait_readable,
)

SLOTS, SLOT_BYTES = 4, 64
SECOND_NS = 1_000_000_000


@kernel
def take(fd, headers, buffer, slot_bytes, watch, lengths, firsts, cut):
    """Wait for datagrams, take a batch, note each one's length, first byte, and whether cut."""
    ready = wait_readable(watch, 2_000_000_000)
    if ready <= 0:
        return -1000 + ready
    count = receive(fd, headers, buffer, slot_bytes)
    for i in range(count):
        lengths[i] = received_bytes(headers, i)
        firsts[i] = buffer[i * slot_bytes]
        cut[i] = is_truncated(headers, i)
    return count


@kernel
def take_each(fd, headers, buffer, slot_bytes):
    return receive_each(fd, headers, buffer, slot_bytes)


@kernel
def say(fd, buffer, at, count):
    return send(fd, buffer, at, count)


@kernel
def look(watch, timeout_ns):
    return wait_readable(watch, timeout_ns)


@pytest.fixture(params=mode.MODES, autouse=True)
def each_mode(request):
    with mode.running(request.param):
        yield request.param


@pytest.fixture
def pair():
    """(receiver, sender connected to it)."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


class Batch:
    def __init__(self, receiver):
        self.fd = receiver.fileno()
        self.headers, self.buffer = new_batch(SLOTS, SLOT_BYTES)
        self.watch = new_watch([self.fd])

    def take(self):
        """[(length, first byte, cut)] of what came next."""
        noted = [np.zeros(SLOTS, np.int64) for _ in range(3)]
        count = take(self.fd, self.headers, self.buffer, SLOT_BYTES, self.watch, *noted)
        assert count >= 0
        return [tuple(int(column[i]) for column in noted) for i in range(count)]


def test_datagrams_come_in_order_each_in_its_slot(pair):
    receiver, sender = pair
    batch = Batch(receiver)
    for text in (b"alpha", b"be", b"c"):
        sender.send(text)

    assert batch.take() == [(5, ord("a"), 0), (2, ord("b"), 0), (1, ord("c"), 0)]
    assert batch.buffer[:5].tobytes() == b"alpha"


def test_an_empty_datagram_is_one_of_length_0(pair):
    receiver, sender = pair
    for text in (b"", b"x", b""):
        sender.send(text)

    assert [length for length, _, _ in Batch(receiver).take()] == [0, 1, 0]


def test_more_datagrams_than_slots_come_in_several_batches(pair):
    receiver, sender = pair
    batch = Batch(receiver)
    for i in range(2 * SLOTS + 1):
        sender.send(bytes([i]) * (i + 1))

    taken = [batch.take() for _ in range(3)]

    assert [len(some) for some in taken] == [SLOTS, SLOTS, 1]
    assert [one for some in taken for one in some] == [(i + 1, i, 0) for i in range(2 * SLOTS + 1)]


def test_a_datagram_longer_than_its_slot_says_so_and_leaves_the_next_alone(pair):
    receiver, sender = pair
    batch = Batch(receiver)
    sender.send(b"L" * (SLOT_BYTES + 1))
    sender.send(b"E" * SLOT_BYTES)
    assert batch.take() == [(SLOT_BYTES, ord("L"), 1), (SLOT_BYTES, ord("E"), 0)]

    sender.send(b"s")  # the mark of the batch before is gone
    assert batch.take() == [(1, ord("s"), 0)]


def test_none_waiting_is_0_and_a_closed_socket_an_error(pair):
    receiver, _ = pair
    headers, buffer = new_batch(SLOTS, SLOT_BYTES)
    assert receive(receiver.fileno(), headers, buffer, SLOT_BYTES) == 0

    closed = os.dup(receiver.fileno())
    os.close(closed)
    assert receive(closed, headers, buffer, SLOT_BYTES) == -EBADF
    assert say(closed, buffer, 0, 1) == -EBADF


def test_one_call_a_datagram_takes_the_same(pair):
    """The form of platforms without recvmmsg."""
    receiver, sender = pair
    headers, buffer = new_batch(SLOTS, SLOT_BYTES)
    for text in (b"", b"L" * (SLOT_BYTES + 1), b"abc"):
        sender.send(text)

    assert take_each(receiver.fileno(), headers, buffer, SLOT_BYTES) == 3
    assert [received_bytes(headers, i) for i in range(3)] == [0, SLOT_BYTES, 3]
    assert [bool(is_truncated(headers, i)) for i in range(3)] == [False, True, False]
    assert buffer[2 * SLOT_BYTES : 2 * SLOT_BYTES + 3].tobytes() == b"abc"


def test_what_a_kernel_sends_arrives(pair):
    receiver, sender = pair
    receiver.settimeout(2)
    buffer = np.frombuffer(b"..hello..", np.uint8).copy()

    assert say(sender.fileno(), buffer, 2, 5) == 5
    assert receiver.recv(100) == b"hello"
    assert say(sender.fileno(), buffer, 9, 0) == 0
    assert receiver.recv(100) == b""
    assert say(sender.fileno(), np.zeros(70_000, np.uint8), 0, 70_000) == -EMSGSIZE


def test_a_peer_that_is_gone_is_told_once_and_is_nothing_to_a_receive(pair):
    receiver, sender = pair
    there = receiver.getsockname()
    receiver.close()
    fd, watch, word = sender.fileno(), new_watch([sender.fileno()]), np.zeros(1, np.uint8)
    headers, buffer = new_batch(SLOTS, SLOT_BYTES)

    assert say(fd, word, 0, 1) == 1
    assert look(watch, 2 * SECOND_NS) == 1  # the answer of the network is there
    assert receive(fd, headers, buffer, SLOT_BYTES) == 0
    assert look(watch, 0) == 0

    assert say(fd, word, 0, 1) == 1
    assert look(watch, 2 * SECOND_NS) == 1
    assert say(fd, word, 0, 1) == -ECONNREFUSED

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(there)
        assert say(fd, word, 0, 1) == 1


@kernel
def passes(why):
    return is_passing(why)


def test_what_the_network_says_of_a_sending_is_no_failure_of_receiving():
    for why in (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPERM):
        assert passes(why)
    for why in (EBADF, ENOTSOCK):
        assert not passes(why)


def test_a_wait_ends_with_the_time_or_with_the_first_socket(pair):
    receiver, sender = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        watch = new_watch([silent.fileno(), receiver.fileno()])

        before_ns = time.monotonic_ns()
        assert look(watch, 3_000_000) == 0
        assert time.monotonic_ns() - before_ns >= 3_000_000
        assert look(watch, -1) == 0  # does not wait forever

        sender.send(b"x")
        assert look(watch, 60 * SECOND_NS) == 1


@pytest.mark.parametrize("each_mode", ["boundscheck", "interpreted"], indirect=True)
def test_a_range_outside_of_the_buffer_is_refused_where_bounds_are_checked(pair, each_mode):
    receiver, sender = pair
    headers, buffer = new_batch(SLOTS, SLOT_BYTES)
    fd = receiver.fileno()

    for at, count in ((-1, 2), (len(buffer) - 1, 2), (0, len(buffer) + 1)):
        with pytest.raises(IndexError):
            say(sender.fileno(), buffer, at, count)
    with pytest.raises(IndexError):
        receive(fd, headers, new_batch(SLOTS, SLOT_BYTES)[1], SLOT_BYTES)  # not its buffer
    with pytest.raises(IndexError):
        receive(fd, headers, buffer, SLOT_BYTES + 1)
