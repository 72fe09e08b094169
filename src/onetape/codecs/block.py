"""The block: events or rows that leave a machine together.

One record of a topic, one row of a tape table, one message of a stream: what a cluster moves costs
per record, so many events share one. A block says of itself what it is and where it belongs, and is
whole or refused.

    byte  0  magic            "OTB1"
          4  kind             u8    MANIFEST, FRAMES, ROWS, END, WRITER
          5  codec            u8    of the payload: none, lz4, zstd; +128: its rows are shuffled
          6  shard            u16   of `shards`: a stream each
          8  shards           u16
         10  row_bytes        u16   where they are: of a row, without what caused it; else 0
         12  count            u32   events or rows in it
         16  ordinal          u64   0, 1, 2 ... in its stream: a reader sees what is lost or doubled
         24  schema_id        u64   of the record of ROWS; else 0
         32  first_sequence   i64
         40  last_sequence    i64
         48  min_ts_event_ns  i64
         56  max_ts_event_ns  i64
         64  ts_made_ns       i64   when its input was read; rows: of the block they come of
         72  size_bytes       u32   of the payload, decompressed
         76  crc32c           u32   of all that is not itself, begun with the header
         80  name             32 bytes of UTF-8, filled with zeros: the output of ROWS
        112  writer           u64   of those that wrote the stream one after the other; else 0
        120  reserved         8 bytes
        128  the payload

A stream is MANIFEST (JSON: how to read the rest), then FRAMES as they stand on a tape. What is made
of it is ROWS (rows, then their origins) of each output, and one END (JSON) behind the last.

Where nothing else shuts out a writer that was thought dead, WRITER (JSON) says that another begins:
blocks of a writer with a lower number that come behind it are not of the stream.
"""

import json
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onetape.codecs.shuffle import apart, together
from onetape.codecs.stored_size import UNKNOWN, lz4_size, zstd_size
from onetape.compiled.crc32c import crc32c
from onetape.records import UNSET, OperatorError, PeerError

HEADER_BYTES = 128
PAYLOAD_MAX_BYTES = 64 << 20
NAME_BYTES = 32
MANIFEST, FRAMES, ROWS, END, WRITER = 1, 2, 3, 4, 5
KINDS = {MANIFEST: "manifest", FRAMES: "frames", ROWS: "rows", END: "end", WRITER: "writer"}
CODECS = ("none", "lz4", "zstd")
SHUFFLED = 128
ROW_MAX_BYTES = (1 << 16) - 1
_SAID: dict[int, dict[str, type]] = {
    MANIFEST: {"framing": dict, "midnight_ns": int, "sources": list, "shards": int, "by": str},
    END: {"events": int, "blocks": dict, "state_digest": str},
}
_MAGIC = b"OTB1"
_HEADER = struct.Struct("<4sBBHHHIQQqqqqqII32sQ8x")
_MADE_AT, _CRC_AT = 64, 76
assert _HEADER.size == HEADER_BYTES


class BlockError(PeerError):
    """Bytes that are no block, or not the one that was expected."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says of itself; see the module."""

    kind: int
    shard: int = 0
    shards: int = 1
    ordinal: int = 0
    count: int = 0
    name: str = ""
    schema_id: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    min_ts_event_ns: int = UNSET
    max_ts_event_ns: int = UNSET
    ts_made_ns: int = UNSET
    codec: str = "none"
    size_bytes: int = 0
    writer: int = 0
    row_bytes: int = 0

    @property
    def place(self) -> str:
        """Where it belongs, for a message: "block 7 of shard 1 (top)"."""
        of = f" ({self.name})" if self.name else ""
        return f"block {self.ordinal} of shard {self.shard}{of}"


def encode(header: Header, *payload: Any) -> bytes:
    """The bytes of a block; `size_bytes` is set here.

    payload  one behind the other: contiguous arrays, or bytes. With `row_bytes` and a codec they
             are shuffled (`codecs/shuffle.py`): each is of `count` rows, the first of so many bytes
    """
    parts = [memoryview(part).cast("B") for part in payload if len(part)]
    size = sum(map(len, parts))
    if size > PAYLOAD_MAX_BYTES:
        raise OperatorError(
            f"a payload of {size} bytes; a block holds at most {PAYLOAD_MAX_BYTES}: put fewer "
            "events into it"
        )
    if header.codec not in CODECS:
        raise OperatorError(f"codec was {header.codec!r}; expected one of {', '.join(CODECS)}")
    name = header.name.encode()
    if len(name) > NAME_BYTES:
        raise OperatorError(f"output {header.name!r}: its name has more than {NAME_BYTES} bytes")
    is_packed = header.codec != "none" and size > 0
    is_shuffled = is_packed and 0 < header.row_bytes <= ROW_MAX_BYTES
    if is_shuffled:
        stored = apart(parts, header.count)
    else:
        stored = np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), np.uint8)
    if is_packed:
        stored = np.frombuffer(_codec(header.codec).compress(stored), np.uint8)
    head = np.zeros(HEADER_BYTES, np.uint8)
    _HEADER.pack_into(
        head.data,
        0,
        _MAGIC,
        header.kind,
        CODECS.index(header.codec) | (SHUFFLED if is_shuffled else 0),
        header.shard,
        header.shards,
        header.row_bytes if is_shuffled else 0,
        header.count,
        header.ordinal,
        header.schema_id,
        header.first_sequence,
        header.last_sequence,
        header.min_ts_event_ns,
        header.max_ts_event_ns,
        header.ts_made_ns,
        size,
        0,
        name,
        header.writer,
    )
    struct.pack_into("<I", head.data, _CRC_AT, _checksum(head, _writable(stored)))
    return b"".join((head.data, stored.data))


def read_header(block: Any) -> Header:
    """The header alone; BlockError if there is none. What it says is checked with the payload."""
    if len(block) < HEADER_BYTES:
        raise BlockError(
            f"a record of {len(block)} bytes is no block: it has {HEADER_BYTES} or more"
        )
    magic, kind, packed, shard, shards, row_bytes, count, *rest = _HEADER.unpack_from(block)
    ordinal, schema_id, first, last, min_ts, max_ts, made, size, _, name, writer = rest
    codec = packed & ~SHUFFLED
    if magic != _MAGIC or kind not in KINDS or codec >= len(CODECS) or shard >= shards:
        raise BlockError(
            f"a record begins with {bytes(block[:12]).hex(' ')}, and a block with {_MAGIC!r}, its "
            "kind, codec and shard; was the topic written by something else?"
        )
    return Header(
        kind=kind,
        shard=shard,
        shards=shards,
        ordinal=ordinal,
        count=count,
        name=name.rstrip(b"\0").decode("utf-8", "replace"),
        schema_id=schema_id,
        first_sequence=first,
        last_sequence=last,
        min_ts_event_ns=min_ts,
        max_ts_event_ns=max_ts,
        ts_made_ns=made,
        codec=CODECS[codec],
        size_bytes=size,
        writer=writer,
        row_bytes=row_bytes if packed & SHUFFLED else 0,
    )


def decode(block: Any) -> tuple[Header, Any]:
    """(header, payload as writable u8[size_bytes]); BlockError if any bit is not as written."""
    header = read_header(block)
    data = _writable(np.frombuffer(block, np.uint8))
    (crc,) = struct.unpack_from("<I", block, _CRC_AT)
    head, stored = data[:HEADER_BYTES], data[HEADER_BYTES:]
    if _checksum(head, stored) != crc:
        raise BlockError(f"{header.place} is damaged: its checksum is not that of its bytes")
    if header.size_bytes > PAYLOAD_MAX_BYTES:
        raise BlockError(f"{header.place} says it holds {header.size_bytes} bytes: too many")
    if header.codec != "none" and header.size_bytes:
        payload = _decompressed(header, stored)
        return header, _together(header, payload) if header.row_bytes else _writable(payload)
    if len(stored) != header.size_bytes:
        raise BlockError(f"{header.place} has {len(stored)} bytes, and says {header.size_bytes}")
    return header, stored.copy()  # where it begins in the block, it is not aligned


def stamped(block: bytes, ts_made_ns: int) -> bytes:
    """The same block with another `ts_made_ns`: of the moment it is sent, where latency counts."""
    made = np.array(np.frombuffer(block, np.uint8))
    struct.pack_into("<q", made.data, _MADE_AT, ts_made_ns)
    crc = _checksum(made[:HEADER_BYTES], made[HEADER_BYTES:])
    struct.pack_into("<I", made.data, _CRC_AT, crc)
    return made.tobytes()


def encode_json(header: Header, facts: dict[str, Any]) -> bytes:
    """A block whose payload is JSON: MANIFEST, END and WRITER."""
    return encode(replace(header, codec="none"), json.dumps(facts, sort_keys=True).encode())


def json_of(block: Any) -> dict[str, Any]:
    """What a block of JSON says."""
    header, payload = decode(block)
    try:
        facts = json.loads(payload.tobytes())
    except ValueError as why:
        raise BlockError(f"{header.place} ({KINDS[header.kind]}) holds no JSON: {why}") from None
    if not isinstance(facts, dict):
        raise BlockError(f"{header.place} ({KINDS[header.kind]}) holds no JSON object")
    return facts


def told_of(block: Any) -> dict[str, Any]:
    """What a MANIFEST or END block says; BlockError: it lacks what all of its kind say."""
    facts, header = json_of(block), read_header(block)
    for name, of in _SAID.get(header.kind, {}).items():
        if not isinstance(facts.get(name), of):
            raise BlockError(
                f"{header.place} ({KINDS[header.kind]}) has {facts.get(name)!r} as {name!r}; "
                f"expected {of.__name__}: was it written by something else?"
            )
    return facts


def _checksum(head: Any, stored: Any) -> int:
    """CRC-32C of both but for where it stands in the header."""
    crc = int(crc32c(0, head, 0, _CRC_AT))
    crc = int(crc32c(crc, head, _CRC_AT + 4, HEADER_BYTES - _CRC_AT - 4))
    return int(crc32c(crc, stored, 0, len(stored)))


def _writable(data: Any) -> Any:
    """The one type that kernels know; a copy where it is none."""
    return data if data.flags.writeable else data.copy()


def _codec(name: str) -> Any:
    import pyarrow as pa

    # The frameless form of LZ4; zstd's first level is as fast to write as is wanted here.
    return pa.Codec("lz4_raw") if name == "lz4" else pa.Codec("zstd", compression_level=1)


def _decompressed(header: Header, stored: Any) -> Any:
    size = int(lz4_size(stored)) if header.codec == "lz4" else zstd_size(stored)
    if size not in (header.size_bytes, UNKNOWN):
        raise BlockError(f"{header.place} holds {size} bytes, and says {header.size_bytes}")
    if size == UNKNOWN:
        raise BlockError(f"{header.place} cannot be decompressed: it is no whole {header.codec}")
    try:
        made = _codec(header.codec).decompress(stored, size)
    except (OSError, ValueError) as why:
        raise BlockError(f"{header.place} cannot be decompressed: {why}") from None
    return np.frombuffer(made, np.uint8)


def _together(header: Header, payload: Any) -> Any:
    size, count = len(payload), header.count
    if not count or size % count or size < count * header.row_bytes:
        raise BlockError(
            f"{header.place} says it holds {count} rows of {header.row_bytes} bytes, and holds "
            f"{size} bytes"
        )
    return together(payload, count, header.row_bytes)
