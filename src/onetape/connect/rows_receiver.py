"""Receiving what a node sends: datagrams of rows, each with the time the kernel took it in.

    with RowsReceiver(parse_address("127.0.0.1:9000"), records) as receiver:
        for header, rows, ts_recv_ns in receiver.waiting(): ...

Rows are numbered for each output, so `missed` and `repeated` count what did not come and what came
again (after a recovery of the node): drop rows with a number below `next_row` to have each once.
Anybody can send to a port: datagrams that are not of these records are counted (`not_ours`).
"""

import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from onetape.codecs.rows_datagram import ROWS, RowsHeader, read_datagram
from onetape.connect.udp import LOOPBACK, Address, open_receiver
from onetape.records import PeerError

_SO_TIMESTAMPNS = 35  # of Linux, not in Python's socket module; the control message has its number
_DATAGRAM_MAX = 1 << 16


class RowsReceiver:
    """A socket for the rows of a pipeline; `records` are the records of its outputs, in order."""

    def __init__(self, address: Address, records: list[Any], *, interface: str = LOOPBACK) -> None:
        self._receiver = open_receiver(address, interface=interface)
        self.address, self.records = self._receiver.address, records
        self.fd = self._receiver.fd
        self.next_row = [0] * len(records)
        self.missed = self.repeated = self.not_ours = 0
        self.last_not_ours = ""  # what the last one was
        self.durable_offset = 0  # frames of the node's tape with a smaller offset are durable
        self._socket = self._receiver.socket
        if sys.platform == "linux":
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def waiting(self) -> Iterator[tuple[RowsHeader, Any, int]]:
        """(header, rows, receive time in ns) of all datagrams of rows that wait; never blocks."""
        while True:
            try:
                data, control, _, _ = self._socket.recvmsg(_DATAGRAM_MAX, 64)
            except BlockingIOError:
                return
            try:
                header, rows = read_datagram(data, self.records)
            except PeerError as why:
                self.not_ours += 1
                self.last_not_ours = str(why)
                continue
            self.durable_offset = max(self.durable_offset, header.durable_offset)
            if header.kind != ROWS:
                continue
            expected = self.next_row[header.output]
            if expected:
                self.missed += max(header.first_row - expected, 0)
                self.repeated += max(min(expected - header.first_row, header.count), 0)
            self.next_row[header.output] = max(expected, header.first_row + header.count)
            yield header, rows, _taken_ns(control)

    def close(self) -> None:
        self._receiver.close()

    def __enter__(self) -> "RowsReceiver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _taken_ns(control: list[tuple[int, int, bytes]]) -> int:
    """When the kernel took the datagram in; now, where it does not say."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, ns = struct.unpack_from("@ll", data)
            return int(seconds) * 1_000_000_000 + int(ns)
    return time.time_ns()
