"""Rows of an output as a datagram: what leaves a node, and what its tape remembers of it.

    byte  0  magic            u32   b"OTR1"
          4  kind             u16   1 rows; 2 durable: no rows, `durable_offset` has gone on
          6  output           u16   which output of the pipeline, in its order
          8  count            u16   of rows
         10  row_bytes        u16
         12  epoch            u32   of the tape: raised at each recovery
         16  first_row        u64   number of the first row among all of this output: a receiver
                                    that misses some, or sees some again, knows it
         24  tape_offset      u64   of the frame that caused the rows
         32  durable_offset   u64   frames with a smaller offset survive a power cut
         40  ts_sent_ns       i64
         48  driver           u64   first half of the fingerprint of the code that made them
         56  reserved         u64
         64  the rows, little-endian, as their record lays them out

`durable` is `tape_offset < durable_offset`. A row leaves at once, before it is durable; a datagram
of kind 2 follows when everything said so far is.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.compiled.memory import (
    load_i64le,
    load_u16le,
    store_i64le,
    store_u16le,
    store_u32le,
)
from onetape.records import PeerError

HEADER_BYTES = 64
DATAGRAM_BYTES = 1408  # fits one frame of any network; a longer row has a datagram of its own
MAGIC = int.from_bytes(b"OTR1", "little")
ROWS, DURABLE = 1, 2
_HEADER = struct.Struct("<4sHHHHIqqqqQQ")
assert _HEADER.size == HEADER_BYTES


@dataclass(frozen=True)
class RowsHeader:
    """What a datagram of rows says of itself."""

    kind: int
    output: int
    count: int
    row_bytes: int
    epoch: int
    first_row: int
    tape_offset: int
    durable_offset: int
    ts_sent_ns: int
    driver: str

    @property
    def durable(self) -> bool:
        return self.tape_offset < self.durable_offset


@kernel
def write_header(
    packet, kind, output, count, row_bytes, epoch, first_row, tape_offset, durable_offset, now_ns
):
    """The header at packet[0:64], all but the driver, which stays as it is."""
    store_u32le(packet, 0, MAGIC)
    store_u16le(packet, 4, kind)
    store_u16le(packet, 6, output)
    store_u16le(packet, 8, count)
    store_u16le(packet, 10, row_bytes)
    store_u32le(packet, 12, epoch)
    store_i64le(packet, 16, first_row)
    store_i64le(packet, 24, tape_offset)
    store_i64le(packet, 32, durable_offset)
    store_i64le(packet, 40, now_ns)


@kernel
def rows_behind(buffer, at):
    """(output, number of the row behind the last one) of a datagram at buffer[at:]."""
    return load_u16le(buffer, at + 6), load_i64le(buffer, at + 16) + load_u16le(buffer, at + 8)


def new_packet(row_bytes: int, driver: str) -> Any:
    """uint8[n] for datagrams of rows of that size, the driver's fingerprint written in."""
    packet = np.zeros(max(DATAGRAM_BYTES, HEADER_BYTES + row_bytes), np.uint8)
    packet[48:56] = np.frombuffer(bytes.fromhex(driver[:16]), np.uint8)
    return packet


def read_datagram(data: bytes, records: list[Any]) -> tuple[RowsHeader, Any]:
    """(header, rows) of a datagram; `records` are the records of the outputs, in order.

    PeerError for bytes that are no such datagram, or of other records.
    """
    if len(data) < HEADER_BYTES:
        raise PeerError(f"a datagram of {len(data)} bytes; its header alone has {HEADER_BYTES}")
    if data[:4] != b"OTR1":
        raise PeerError(f"a datagram that begins with {data[:4]!r}; expected b'OTR1'")
    fields: dict[str, Any] = dict(zip(RowsHeader.__annotations__, _HEADER.unpack_from(data)[1:]))
    header = RowsHeader(**fields | {"driver": data[48:56].hex()})
    kind, output, count, row_bytes = header.kind, header.output, header.count, header.row_bytes
    if kind == DURABLE:
        return header, None
    if kind != ROWS or output >= len(records):
        raise PeerError(f"a datagram of kind {kind}, output {output}; the pipeline has none such")
    dtype = records[output].dtype
    if row_bytes != dtype.itemsize or len(data) != HEADER_BYTES + count * row_bytes:
        raise PeerError(
            f"a datagram of {len(data)} bytes with {count} rows of {row_bytes}; expected rows of "
            f"{dtype.itemsize} ({records[output].__name__})"
        )
    return header, np.frombuffer(data, dtype, count, HEADER_BYTES)
