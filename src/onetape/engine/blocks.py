"""Rows of an output as a block, with what caused each of them; and back."""

from dataclasses import replace
from typing import Any

import numpy as np

from onetape.codecs.block import KINDS, ROWS, BlockError, Header, decode, encode
from onetape.engine.layout import ORIGIN
from onetape.records import UNSET
from onetape.records.declare import schema_id

NO_ORIGINS = np.empty(0, ORIGIN)


def encode_rows(header: Header, of: Any, rows: Any, origins: Any) -> bytes:
    """A block of ROWS; kind, schema, counts, sequences and times are set here.

    header  what is known beside them: shard, shards, ordinal, name, codec, ts_made_ns
    """
    times = rows["ts_event_ns"] if "ts_event_ns" in of.fields and len(rows) else None
    header = replace(
        header,
        kind=ROWS,
        count=len(rows),
        schema_id=schema_id(of),
        row_bytes=of.dtype.itemsize,
        first_sequence=int(origins["sequence"][0]) if len(rows) else 0,
        last_sequence=int(origins["sequence"][-1]) if len(rows) else 0,
        min_ts_event_ns=UNSET if times is None else int(times.min()),
        max_ts_event_ns=UNSET if times is None else int(times.max()),
    )
    parts = (np.ascontiguousarray(one).view(np.uint8) for one in (rows, origins))
    return encode(header, *parts)


def rows_of(block: Any, of: Any) -> tuple[Header, Any, Any]:
    """(header, rows, origins) of a block of ROWS; BlockError if its rows are of another record."""
    header, payload = decode(block)
    size = header.count * of.dtype.itemsize
    expected = size + header.count * ORIGIN.itemsize
    if header.kind != ROWS or len(payload) != expected or header.schema_id != schema_id(of):
        raise BlockError(
            f"{header.place} holds {KINDS[header.kind]} of schema {header.schema_id:016x}, "
            f"{len(payload)} bytes; expected rows of {of.__name__} ({schema_id(of):016x}, "
            f"{expected} bytes): was the record changed?"
        )
    return header, payload[:size].view(of.dtype), payload[size:].view(ORIGIN)
