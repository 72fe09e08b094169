"""Frames made in memory: what a file or a test hands to a driver where there is no tape.

The bytes are those the tape would hold, less the checksum, which only a tape's reader checks.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from onetape.compiled.frame import DATA, END, HEADER_BYTES, PAYLOAD_MAX, TICK
from onetape.records import OperatorError
from onetape.records.types import UNSET

_HEADER = struct.Struct("<IIqqHHI")
assert _HEADER.size == HEADER_BYTES

Run = tuple[Any, int, int]  # a buffer (uint8 array) and the range of whole frames in it


class FramePacker:
    """Packs payloads as frames into one buffer that is used again and again."""

    def __init__(self, source_id: int = 0, offset: int = 0) -> None:
        self.source_id = source_id
        self.offset = offset
        self._buffer = np.zeros(HEADER_BYTES + (1 << 16), np.uint8)

    def data(self, payload: Any, ts_recv_ns: int | None = None) -> Run:
        """One DATA frame; without a receive time (a file has none) it is UNSET."""
        return self._frame(DATA, payload, UNSET if ts_recv_ns is None else ts_recv_ns)

    def tick(self, now_ns: int) -> Run:
        """The clock, while the source is silent."""
        return self._frame(TICK, b"", now_ns)

    def end(self) -> Run:
        """The source is complete: its windows close."""
        return self._frame(END, b"", UNSET)

    def _frame(self, kind: int, payload: Any, ts_recv_ns: int) -> Run:
        size = len(payload)
        if size > PAYLOAD_MAX:
            raise OperatorError(f"a payload of {size} bytes; a frame holds at most {PAYLOAD_MAX}")
        total = HEADER_BYTES + (size + 7 & ~7)
        if len(self._buffer) < total:
            self._buffer = np.zeros(total + (1 << 16), np.uint8)
        header = (size, 0, self.offset, ts_recv_ns, self.source_id, kind, 0)
        _HEADER.pack_into(self._buffer.data, 0, *header)
        if size:
            self._buffer[HEADER_BYTES : HEADER_BYTES + size] = np.frombuffer(payload, np.uint8)
        self.offset += 1
        return self._buffer, 0, total


def frames_of(
    payloads: Iterable[tuple[int | None, Any]], *, source_id: int = 0, end: bool = True
) -> Iterator[Run]:
    """Runs of frames from (receive time or None, payload) pairs, and the END of the source."""
    packer = FramePacker(source_id)
    for ts_recv_ns, payload in payloads:
        yield packer.data(payload, ts_recv_ns)
    if end:
        yield packer.end()


def packed(items: Iterable[tuple[int, int, Any]], *, buffer_bytes: int = 1 << 20) -> Iterator[Run]:
    """Runs of many frames each from (source, kind, payload) items; each is good until the next."""
    buffer, at, offset = np.zeros(buffer_bytes, np.uint8), 0, 0
    for source, kind, payload in items:
        size = len(payload)
        total = HEADER_BYTES + (size + 7 & ~7)
        if at + total > buffer_bytes:
            yield buffer, 0, at
            at = 0
        if total > buffer_bytes:
            raise OperatorError(f"a frame of {total} bytes; a buffer holds {buffer_bytes}")
        _HEADER.pack_into(buffer.data, at, size, 0, offset, UNSET, source, kind, 0)
        begin = at + HEADER_BYTES
        buffer[begin : begin + size] = np.frombuffer(payload, np.uint8) if size else 0
        buffer[begin + size : at + total] = 0
        at, offset = at + total, offset + 1
    if at:
        yield buffer, 0, at
