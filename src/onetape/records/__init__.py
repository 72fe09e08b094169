"""Declare records; layouts, units, schemas; the records of a market feed; error classes."""

from onetape.records.declare import block_of, empty_block, is_record, record, snake_name
from onetape.records.errors import (
    DeclarationError,
    IntegrityError,
    OnetapeError,
    OperatorError,
    PeerError,
)
from onetape.records.from_avro import record_of
from onetape.records.types import (
    UNSET,
    Array,
    Duration,
    Lots,
    Ticks,
    f64,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "UNSET",
    "Array",
    "DeclarationError",
    "Duration",
    "IntegrityError",
    "Lots",
    "OnetapeError",
    "OperatorError",
    "PeerError",
    "Ticks",
    "block_of",
    "empty_block",
    "f64",
    "i32",
    "i64",
    "is_record",
    "record",
    "record_of",
    "snake_name",
    "u8",
    "u16",
    "u32",
    "u64",
]
