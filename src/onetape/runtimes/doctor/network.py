"""`onetape doctor`, network: buffers, multicast, and what the kernel takes for a datagram."""

import socket
import statistics
import struct
import sys
import time

from onetape.connect.udp import (
    RECEIVE_BUFFER_BYTES,
    Address,
    multicast_works,
    open_receiver,
)
from onetape.records import OperatorError
from onetape.runtimes.doctor.finding import BETTER, MISSING, OK, Finding

HERE = Address("127.0.0.1", 0)
ROUNDS = 1_000
ROUND_TRIP_US_MANY = 100
TIMEOUT_S = 1.0
_SO_TIMESTAMPNS = 35  # of Linux, not in Python's socket module


def _receive_buffer() -> Finding:
    try:
        with open_receiver(HERE) as receiver:
            granted, warning = receiver.granted_bytes, receiver.warning
    except OperatorError as error:
        return Finding("UDP", MISSING, str(error), "ip link set lo up")
    found = f"{granted / (1 << 20):.1f} MiB granted of {RECEIVE_BUFFER_BYTES >> 20} asked for"
    if warning is None:
        return Finding("receive buffer", OK, found)
    setting = "net.core.rmem_max" if sys.platform == "linux" else "kern.ipc.maxsockbuf"
    fix = f"sudo sysctl -w {setting}={8 * RECEIVE_BUFFER_BYTES}"
    return Finding("receive buffer", BETTER, f"{found}: a burst may be lost", fix)


def _multicast() -> Finding:
    if multicast_works():
        return Finding("multicast", OK, "a datagram to a group came back on the loopback")
    found = "nothing came back on the loopback; the demo uses unicast then"
    if sys.platform != "linux":
        return Finding("multicast", BETTER, found, "sudo route add -net 239.0.0.0/8 127.0.0.1")
    return Finding("multicast", BETTER, found, "sudo ip route add 239.0.0.0/8 dev lo")


def _round_trip() -> Finding:
    """There and back between two sockets of one thread: the kernel's share of any latency."""
    there, back = _pair()
    took_ns = []
    with there, back:
        for _ in range(ROUNDS):
            began_ns = time.perf_counter_ns()
            there.send(b"ping")
            back.recv(64)
            back.send(b"pong")
            there.recv(64)
            took_ns.append(time.perf_counter_ns() - began_ns)
    cuts = statistics.quantiles(took_ns, n=100)
    p50, p99 = cuts[49] / 1000, cuts[98] / 1000
    found = f"p50 {p50:.0f} us, p99 {p99:.0f} us, on the loopback, from Python"
    if p50 < ROUND_TRIP_US_MANY:
        return Finding("round trip", OK, found)
    return Finding("round trip", BETTER, found, "top    # who else uses the processors?")


def _kernel_time() -> Finding:
    there, back = _pair()
    with there, back:
        if sys.platform != "linux":
            return Finding("kernel timestamps", OK, "not on this platform; arrival is as read")
        back.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        there.send(b"ping")
        _, told, _, _ = back.recvmsg(64, socket.CMSG_SPACE(16))
        now_ns = time.time_ns()
    for level, kind, data in told:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, ns = struct.unpack("qq", data)
            late_us = (now_ns - seconds * 1_000_000_000 - ns) / 1000
            found = f"given; Python had the datagram {late_us:.0f} us after the kernel"
            return Finding("kernel timestamps", OK, found)
    found = "not given; `onetape listen` then counts its own delay as the network's"
    return Finding("kernel timestamps", BETTER, found, "use Linux itself, not an emulation of it")


NETWORK_CHECKS = [_receive_buffer, _multicast, _round_trip, _kernel_time]


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets of this machine, connected to each other."""
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for end in ends:
        end.settimeout(TIMEOUT_S)
        end.bind((HERE.host, 0))
    for end, other in zip(ends, reversed(ends)):
        end.connect(other.getsockname())
    return ends[0], ends[1]
