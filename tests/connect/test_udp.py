"""Sockets of the machine, over its loopback."""

import select
import sys

import pytest

from onetape.connect import udp
from onetape.connect.udp import Address, multicast_works, open_receiver, open_sender, parse_address
from onetape.records import OperatorError

GROUP = "239.192.7.7"


@pytest.fixture
def multicast():
    if not multicast_works():
        pytest.skip("multicast over the loopback is refused on this machine")


def next_of(receiver):
    ready, _, _ = select.select([receiver.fd], [], [], 2)
    assert ready, f"nothing came to {receiver.address} within 2 s"
    return receiver.socket.recv(100)


def test_an_address_is_read_and_written():
    assert parse_address("239.192.0.1:5000") == Address("239.192.0.1", 5000)
    assert str(Address("10.0.0.1", 5000)) == "10.0.0.1:5000"
    assert parse_address("localhost:5000") == Address("127.0.0.1", 5000)
    assert parse_address("239.255.255.255:0").is_multicast
    assert not parse_address("127.0.0.1:65535").is_multicast


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("239.192.0.1", "has no port; expected HOST:PORT"),
        ("239.192.0.1:", "port of '239.192.0.1:' was ''"),
        ("239.192.0.1:-5", "port of '239.192.0.1:-5' was '-5'"),
        ("239.192.0.1:65536", "port was 65536; expected 0 to 65535"),
        ("feed.example:5000", "host was 'feed.example'; expected an IPv4 address (127.0.0.1) or"),
        ("::1:5000", "host was '::1'"),
    ],
)
def test_a_bad_address_says_what_is_wrong(text, message):
    with pytest.raises(OperatorError) as why:
        parse_address(text)
    assert message in str(why.value)


def test_a_datagram_goes_from_sender_to_receiver():
    with (
        open_receiver(Address("127.0.0.1", 0)) as receiver,
        open_sender(receiver.address) as sender,
    ):
        assert receiver.address.port > 0
        assert sender.send(b"hello") and sender.send(b"")
        assert [next_of(receiver), next_of(receiver)] == [b"hello", b""]


def test_a_receiver_does_not_wait_and_a_port_is_for_one():
    with open_receiver(Address("127.0.0.1", 0)) as receiver:
        with pytest.raises(BlockingIOError):
            receiver.socket.recv(100)
        with pytest.raises(OperatorError, match=f"cannot receive at {receiver.address}"):
            open_receiver(receiver.address)


def test_a_refused_datagram_is_told_once():
    with open_receiver(Address("127.0.0.1", 0)) as receiver:
        there = receiver.address
    with open_sender(there) as sender:
        assert sender.send(b"x")
        assert select.select([sender.fd], [], [], 2)[0]  # the answer of the network
        assert not sender.send(b"x")
        with open_receiver(there):
            assert sender.send(b"x")


def test_a_group_is_heard_by_all_who_joined_and_by_no_other(multicast):
    with (
        open_receiver(Address(GROUP, 0)) as a,
        open_receiver(a.address) as b,
        open_receiver(Address("239.192.7.8", a.address.port)) as other,
        open_sender(a.address) as sender,
        open_sender(other.address) as to_other,
    ):
        assert sender.send(b"to the group")
        assert to_other.send(b"to the other")
        assert next_of(a) == next_of(b) == b"to the group"
        assert next_of(other) == b"to the other"
        for receiver in (a, b, other):
            with pytest.raises(BlockingIOError):
                receiver.socket.recv(100)


@pytest.mark.parametrize("open_one", [open_receiver, open_sender])
def test_an_interface_that_is_none_of_ours_is_named(open_one):
    with pytest.raises(OperatorError, match=r"on interface|from interface") as why:
        open_one(Address(GROUP, 5000), interface="192.0.2.1")
    assert f"{GROUP}:5000" in str(why.value) and "192.0.2.1" in str(why.value)
    with pytest.raises(OperatorError, match="interface was 'eth0'; expected an IPv4 address"):
        open_one(Address(GROUP, 5000), interface="eth0")
    assert not multicast_works("192.0.2.1")


def test_a_buffer_less_than_asked_for_is_a_warning_that_says_the_command(monkeypatch):
    with open_receiver(Address("127.0.0.1", 0), receive_buffer_bytes=65_536) as receiver:
        assert receiver.granted_bytes >= 65_536
        assert receiver.warning is None

    # What a user without the right to more is given: SO_RCVBUF in the place of SO_RCVBUFFORCE.
    monkeypatch.setattr(udp, "_SO_RCVBUFFORCE", udp.socket.SO_RCVBUF)
    with open_receiver(Address("127.0.0.1", 0), receive_buffer_bytes=1 << 30) as receiver:
        assert 0 < receiver.granted_bytes < 1 << 30
        assert f"is {receiver.granted_bytes} bytes, {1 << 30} were asked" in receiver.warning
        assert f"={1 << 30}" in receiver.warning and "sudo sysctl -w" in receiver.warning


@pytest.mark.skipif(sys.platform != "linux", reason="the platform does not count drops")
def test_what_the_buffer_could_not_take_is_counted():
    with (
        open_receiver(Address("127.0.0.1", 0), receive_buffer_bytes=4096) as receiver,
        open_sender(receiver.address) as sender,
    ):
        assert receiver.drops() == 0
        sent = sum(sender.send(bytes(1000)) for _ in range(100))
        taken = 0
        while select.select([receiver.fd], [], [], 0)[0]:
            taken += len(receiver.socket.recv(2000)) == 1000

        assert 0 < taken < sent
        assert receiver.drops() == sent - taken
