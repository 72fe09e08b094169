"""UDP as the hot loop uses it: take what waits, send one datagram, sleep until something comes.

A batch is two arrays, made once and kept for as long as the socket:

    headers  uint8[slots * 80]          what recvmmsg fills: a mmsghdr (64 bytes) for each slot,
                                        then an iovec (16 bytes) for each, prefilled
    buffer   uint8[slots * slot_bytes]  datagram i of a batch begins at i * slot_bytes

The headers hold the addresses of the buffer and of themselves. Whoever has one must keep the
other, and neither may be copied in place of the original: `receive` goes where the addresses say.
With bounds checks, and as plain Python, it looks first whether they lie in the buffer it is given.

Nothing here waits but `wait_readable`. All return what the kernel returned, or -errno.

Source: recvmmsg(2), ppoll(2), udp(7); the layout is that of 64-bit Linux. macOS has no recvmmsg;
there the same headers go to recvmsg one at a time (its msghdr is shorter and fits in the same 64).
"""

import errno
import select
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import (
    EACCES,
    EAGAIN,
    ECONNREFUSED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EINTR,
    EIO,
    EMSGSIZE,
    ENETDOWN,
    ENETUNREACH,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPROTO,
)
from typing import Any

import numpy as np

from onetape.compiled.kernel import intrinsic, kernel
from onetape.compiled.memory import load_i64le, load_u32le, store_u32le

_native = intrinsic(home="onetape.native.socket_calls")
_MACOS = sys.platform == "darwin"

HEADER_BYTES = 64
SLOT_HEADER_BYTES = HEADER_BYTES + 16
LENGTH_AT = 56  # msg_len of a mmsghdr; behind the msghdr of macOS, where we write it ourselves
FLAGS_AT = 44 if _MACOS else 48
TRUNCATED = int(socket.MSG_TRUNC)

# What the network answers to something that was sent earlier (ICMP), or a firewall to a sending.
_OF_SENDING = (
    ECONNREFUSED,
    EHOSTUNREACH,
    ENETUNREACH,
    EPERM,
    EACCES,
    EHOSTDOWN,
    ENETDOWN,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPROTO,
    EMSGSIZE,
    getattr(errno, "ENONET", ECONNREFUSED),  # of Linux
)

_WATCH = np.dtype([("fd", "<i4"), ("events", "<i2"), ("revents", "<i2")])  # struct pollfd


def new_batch(slots: int = 32, slot_bytes: int = 9216) -> tuple[Any, Any]:
    """(headers, buffer) for `slots` datagrams; 9216 bytes hold the largest frame of a network."""
    buffer = np.zeros(slots * slot_bytes, np.uint8)
    headers = np.zeros(slots * SLOT_HEADER_BYTES, np.uint8)
    vectors_at = slots * HEADER_BYTES
    slot = np.arange(slots)
    messages = headers[:vectors_at].view(np.int64).reshape(slots, 8)
    messages[:, 2] = headers.ctypes.data + vectors_at + 16 * slot  # msg_iov
    messages[:, 3] = 1  # msg_iovlen
    vectors = headers[vectors_at:].view(np.int64).reshape(slots, 2)
    vectors[:, 0] = buffer.ctypes.data + slot_bytes * slot
    vectors[:, 1] = slot_bytes
    return headers, buffer


@kernel
def received_bytes(headers, i):
    """Length of datagram i of the last batch, as far as it fitted; 0 is an empty datagram."""
    return load_u32le(headers, i * HEADER_BYTES + LENGTH_AT)


@kernel
def is_truncated(headers, i):
    """Whether datagram i was longer than its slot; what did not fit is gone."""
    return load_u32le(headers, i * HEADER_BYTES + FLAGS_AT) & TRUNCATED != 0


@_native
def receive_one(fd: int, headers: Any, buffer: Any, slot_bytes: int, i: int) -> int:
    """Take the next datagram into slot i by recvmsg. Returns its length or -errno."""
    _check_batch(headers, buffer, slot_bytes)
    slot = memoryview(buffer)[i * slot_bytes : (i + 1) * slot_bytes]
    try:
        with _borrowed(fd) as taken_from:
            count, _, flags, _ = taken_from.recvmsg_into([slot], 0, socket.MSG_DONTWAIT)
    except OSError as why:
        return -(why.errno or EIO)
    store_u32le(headers, i * HEADER_BYTES + FLAGS_AT, flags)
    store_u32le(headers, i * HEADER_BYTES + LENGTH_AT, count)
    return count


@kernel
def receive_each(fd, headers, buffer, slot_bytes):
    """What recvmmsg does, one call a datagram: as many as wait and fit, or -errno for none."""
    slots = len(headers) // SLOT_HEADER_BYTES
    for i in range(slots):
        count = receive_one(fd, headers, buffer, slot_bytes, i)
        if count < 0:
            return i if i > 0 else count
    return slots


@_native
def receive_many(fd: int, headers: Any, buffer: Any, slot_bytes: int) -> int:
    """`receive_each` in one call of the system, recvmmsg."""
    return int(receive_each.py_func(fd, headers, buffer, slot_bytes))


_receive = receive_each if _MACOS else receive_many


@kernel
def receive(fd, headers, buffer, slot_bytes):
    """Take the datagrams that wait at a socket, at most as many as there are slots.

    Returns how many, 0 when none waits, -errno when the socket is unusable. Then `received_bytes`
    and `is_truncated` tell about each. headers, buffer: of `new_batch`, with its slot_bytes.

    ECONNREFUSED, EHOSTUNREACH and their like count as none: they say that something this socket
    sent earlier did not find the other end, which may be back by now. It is no failure of
    receiving, and what waits comes with the next call.
    """
    count = _receive(fd, headers, buffer, slot_bytes)
    return 0 if count < 0 and is_passing(-count) else count


@kernel
def is_passing(why):
    """Whether an error number of a receive says nothing about the socket itself."""
    return why == EAGAIN or why == EINTR or why in _OF_SENDING


@_native
def send(fd: int, buffer: Any, at: int, count: int) -> int:
    """Send buffer[at:at + count] as one datagram on a connected socket. Bytes sent, or -errno.

    -EAGAIN    no room in the send buffer: not sent
    -ECONNREFUSED  an earlier datagram found nobody at the other end. This one was not sent; the
               error is said once, so the next call sends
    """
    if at < 0 or count < 0 or at + count > len(buffer):
        raise IndexError(f"{count} bytes at {at} of a buffer of {len(buffer)}")
    try:
        with _borrowed(fd) as sender:
            return sender.send(memoryview(buffer)[at : at + count], socket.MSG_DONTWAIT)
    except OSError as why:
        return -(why.errno or EIO)


def new_watch(fds: Sequence[int]) -> Any:
    """uint8[8 * n]: the sockets that `wait_readable` waits for."""
    watch = np.zeros(len(fds), _WATCH)
    watch["fd"], watch["events"] = fds, select.POLLIN
    return watch.view(np.uint8)


@_native
def wait_readable(watch: Any, timeout_ns: int) -> int:
    """Sleep until a datagram waits at one of the sockets, or for about `timeout_ns`.

    Returns at how many, 0 when the time is up or a signal came, or -errno. A socket that is closed
    or has an error to tell counts, so that `receive` is asked and says so. The kernel rounds the
    time up (50 us by default; to whole ms on macOS and as plain Python); 0 only looks.
    """
    entries = watch.view(_WATCH)
    poller = select.poll()
    for fd in entries["fd"]:
        poller.register(int(fd), select.POLLIN)
    try:
        ready = dict(poller.poll(-(-max(int(timeout_ns), 0) // 1_000_000)))
    except OSError as why:
        return -(why.errno or EIO)
    entries["revents"] = [ready.get(int(fd), 0) for fd in entries["fd"]]
    return len(ready)


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    """Somebody else's descriptor as a socket object, which does not close it."""
    borrowed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, fileno=int(fd))
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _check_batch(headers: Any, buffer: Any, slot_bytes: int) -> None:
    slots = len(headers) // SLOT_HEADER_BYTES
    at = load_i64le(headers, slots * HEADER_BYTES) - buffer.ctypes.data
    if at < 0 or at + slots * slot_bytes > len(buffer):
        raise IndexError(
            f"the headers tell of {slots} slots of {slot_bytes} bytes at {at} of a buffer of "
            f"{len(buffer)}; use the two arrays of one new_batch"
        )
