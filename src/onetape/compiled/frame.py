"""The frame: what one read of one source put on the tape. Its layout, for writers and drivers.

byte  0  length_bytes  u32   of the payload
      4  crc32c        u32   over bytes 8 to the end of the frame, begun with the length
      8  offset        u64   of this frame on its tape: 0, 1, 2 ...
     16  ts_recv_ns    i64   when it was read
     24  source_id     u16   which source of the pipeline; in its upper byte the line
     26  kind          u16   DATA, TICK, ...
     28  epoch         u32   raised at each recovery of the tape
     32  payload, padded with zeros to the next multiple of 8
"""

from onetape.compiled.crc32c import crc32c
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le, load_u16le, load_u32le

HEADER_BYTES = 32
PAYLOAD_MAX = 1 << 20

DATA = 1  # bytes of a source, as received
TICK = 2  # the clock, while a source is idle: ts_recv_ns is the time, no payload
MANIFEST = 3  # what code reads this tape (JSON)
SKIP = 4  # an event that a person decided to leave out (JSON)
END = 5  # the source is complete: windows close
CONTROL = 6  # limits, swaps, membership (JSON)
SENT = 8  # rows that left the node, as they left: `source_id` is the output
READ = 9  # how far a topic had been read before the frames behind it (JSON)
PAD = 7  # zeros up to where the next frame fits; readers of a tape never see one


@kernel
def frame_bytes(length):
    """Bytes a frame with a payload of `length` bytes takes on the tape."""
    return HEADER_BYTES + ((length + 7) & ~7)


@kernel
def next_control(buffer, begin, end):
    """Where the next CONTROL frame in buffer[begin:end] begins, or `end`."""
    at = begin
    while at < end and frame_kind(buffer, at) != CONTROL:
        at += frame_bytes(frame_length(buffer, at))
    return min(at, end)


@kernel
def frame_checksum(buffer, at):
    """The checksum this frame should carry: of its length, then of all behind the checksum."""
    length = frame_length(buffer, at)
    return crc32c(length, buffer, at + 8, frame_bytes(length) - 8)


@kernel
def frame_length(buffer, at):
    return load_u32le(buffer, at)


@kernel
def frame_crc(buffer, at):
    return load_u32le(buffer, at + 4)


@kernel
def frame_offset(buffer, at):
    return load_i64le(buffer, at + 8)


@kernel
def frame_ts_recv_ns(buffer, at):
    return load_i64le(buffer, at + 16)


@kernel
def frame_source(buffer, at):
    return load_u16le(buffer, at + 24)


@kernel
def frame_kind(buffer, at):
    return load_u16le(buffer, at + 26)


@kernel
def frame_epoch(buffer, at):
    return load_u32le(buffer, at + 28)
