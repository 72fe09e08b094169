"""The tape's end, in memory: where the hot thread appends and the journal writer takes from.

The ring holds the last R bytes of the tape; R is a power of two, and a tape position (bytes since
the tape began) stands at ring[position & (R - 1)]. A frame never straddles the end of the ring:
where it does not fit, a PAD frame fills the rest. A frame is placed so that it ends exactly at
the end or leaves room for at least one header, so a PAD always has a whole header.

    hot thread   writes frames (checksum 0) into the ring, then HEAD
    writer       fills in the checksums, writes them to the segment, then WRITTEN: that part of
                 the ring is free again; makes them survive a power cut, then DURABLE
    Python       allocates segments ahead, then LIMIT: how far the tape may grow

Each word of `control` has one writer and a cache line of its own. The hot thread never computes a
checksum and never touches a file. One thread appends at a time.
"""

from typing import Any

import numpy as np

from onetape.compiled.atomics import load_acquire, store_release
from onetape.compiled.frame import HEADER_BYTES, PAD, PAYLOAD_MAX, frame_bytes
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import (
    copy_bytes,
    store_i64le,
    store_u16le,
    store_u32le,
)
from onetape.records.errors import OperatorError

RING_BYTES = 1 << 24
RING_BYTES_MIN = 1 << 10
LINE = 8  # words of a cache line

# Words of `control`, and who writes each.
HEAD = 0 * LINE  # hot thread: position after the last frame
OFFSET = 1 * LINE  # hot thread: offset of the next frame
WRITTEN = 2 * LINE  # writer: position up to which the segments' files have the bytes
DURABLE = 3 * LINE  # writer: position up to which a power cut loses nothing
DURABLE_OFFSET = 4 * LINE  # writer: frames with a smaller offset are durable; set before DURABLE
FAULT = 5 * LINE  # writer: 0, or the errno that stopped it
FAULT_CALL = 6 * LINE  # writer: which call failed; set before FAULT
COMMITS = 7 * LINE  # writer: number of group commits so far
LIMIT = 8 * LINE  # Python: position up to which segments are allocated
FULL = 9 * LINE  # Python: 1 while the disk has no room for the next segment
STOP = 10 * LINE  # Python: 1 asks the writer to finish what is there and return
EPOCH = 11 * LINE  # Python, before the threads start
CONTROL_WORDS = 12 * LINE

# What `append` returns instead of a position.
RING_FULL = -1  # the writer, or the next segment, is behind: the same append will succeed later
REFUSED_FULL = -2  # the disk is full: nothing was taken; succeeds once there is space again
TOO_LONG = -3  # payload longer than `payload_max`
FAULTED = -4  # the writer has stopped on an error of the disk: nothing will be durable any more


def new_ring(ring_bytes: int = RING_BYTES) -> tuple[Any, Any]:
    """(ring uint8[ring_bytes], control int64[CONTROL_WORDS]), all zero."""
    if ring_bytes < RING_BYTES_MIN or ring_bytes & (ring_bytes - 1):
        raise OperatorError(
            f"ring_bytes was {ring_bytes}; expected a power of two from {RING_BYTES_MIN} on"
        )
    return np.zeros(ring_bytes, np.uint8), np.zeros(CONTROL_WORDS, np.int64)


@kernel
def payload_max(ring):
    """The longest payload: a frame and the PAD before it always fit into the ring together."""
    return min(PAYLOAD_MAX, ring.shape[0] // 2 - 2 * HEADER_BYTES)


@kernel
def append(ring, control, source_id, kind, ts_recv_ns, payload, at, count):
    """Put one frame on the tape. Returns its position, or a negative status: nothing was taken.

    ring, control  from `new_ring`
    payload        uint8[n]; the frame's bytes are payload[at:at + count]

    The frame's offset is control[OFFSET] before the call. It is visible to other threads when
    this returns, and durable once control[DURABLE] is beyond its position. O(count): the cost
    is that of copying the payload.
    """
    if count > payload_max(ring):
        return TOO_LONG
    if load_acquire(control, FAULT) != 0:
        return FAULTED
    head = control[HEAD]
    size = ring.shape[0]
    need = frame_bytes(count)
    rest = size - (head & (size - 1))
    pad = 0
    if need != rest and need + HEADER_BYTES > rest:
        pad = rest
    if head + pad + need > load_acquire(control, LIMIT):
        return REFUSED_FULL if load_acquire(control, FULL) != 0 else RING_FULL
    if head + pad + need - load_acquire(control, WRITTEN) > size:
        return RING_FULL

    offset = control[OFFSET]
    if pad > 0:
        _header(ring, head & (size - 1), pad - HEADER_BYTES, offset, ts_recv_ns, 0, PAD, control)
    position = head + pad
    to = position & (size - 1)
    _header(ring, to, count, offset, ts_recv_ns, source_id, kind, control)
    if count & 7:
        store_i64le(ring, to + need - 8, 0)
    copy_bytes(ring, to + HEADER_BYTES, payload, at, count)
    control[OFFSET] = offset + 1
    store_release(control, HEAD, position + need)
    return position


@kernel
def _header(ring, to, length, offset, ts_recv_ns, source_id, kind, control):
    store_u32le(ring, to, length)
    store_u32le(ring, to + 4, 0)
    store_i64le(ring, to + 8, offset)
    store_i64le(ring, to + 16, ts_recv_ns)
    store_u16le(ring, to + 24, source_id)
    store_u16le(ring, to + 26, kind)
    store_u32le(ring, to + 28, control[EPOCH])
