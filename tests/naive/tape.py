"""The tape as a list and a byte string: what it should hold, the slow and obvious way."""

import struct

HEADER = struct.Struct("<IIqqHHI")  # length, crc32c, offset, ts_recv_ns, source, kind, epoch
PAD = 7


def crc32c(data, crc=0):
    """Bit by bit, as the polynomial says."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def padded(payload):
    return payload + bytes(-len(payload) % 8)


def encode(offset, ts_recv_ns, source, kind, epoch, payload):
    """The bytes of one frame."""
    header = HEADER.pack(len(payload), 0, offset, ts_recv_ns, source, kind, epoch)
    rest = header[8:] + padded(payload)
    return struct.pack("<II", len(payload), crc32c(rest, len(payload))) + rest


def lay_out(frames, ring_bytes, position=0):
    """The tape's bytes from `position` on: frames back to back, PADs where one does not fit.

    frames: (offset, ts_recv_ns, source, kind, epoch, payload), in order
    """
    tape = b""
    for offset, ts_recv_ns, source, kind, epoch, payload in frames:
        frame = encode(offset, ts_recv_ns, source, kind, epoch, payload)
        rest = ring_bytes - (position + len(tape)) % ring_bytes
        if len(frame) != rest and len(frame) + HEADER.size > rest:
            tape += encode(offset, ts_recv_ns, 0, PAD, epoch, bytes(rest - HEADER.size))
        tape += frame
    return tape
