"""Declare a record once; get its memory layout, its Arrow schema and its Avro schema.

    @ot.record
    class Edge:
        ts_event_ns: ot.i64
        asset_id: ot.u32
        ticks: ot.i64

The class becomes a named tuple (so it can be built and compared in plain Python and inside a
kernel) that carries `dtype`, the layout of one row of a block.
"""

from collections import namedtuple
from typing import Any, ClassVar, Protocol, TypeVar, cast, dataclass_transform

import numpy as np

from onetape.records.errors import DeclarationError
from onetape.records.types import Field, fields_of, layout

T = TypeVar("T")


class RecordType(Protocol):
    """What `@record` adds to a class."""

    dtype: ClassVar[np.dtype[Any]]
    fields: ClassVar[dict[str, Field]]
    version: ClassVar[int]
    __name__: str
    _fields: ClassVar[tuple[str, ...]]


@dataclass_transform(frozen_default=True)
def record(cls: type[T] | None = None, *, version: int = 1) -> Any:
    """Make `cls` a record. A change of layout is a new `version` and a migration test."""
    if cls is None:
        return lambda c: record(c, version=version)
    fields = fields_of(cls)
    base = namedtuple(cls.__name__, list(fields))  # type: ignore[misc]
    body = {
        "__slots__": (),
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "dtype": layout(fields),
        "fields": fields,
        "version": version,
    }
    return cast(Any, type(cls.__name__, (base,), body))


def is_record(thing: Any) -> bool:
    """Was this class made by `@record`?"""
    return isinstance(thing, type) and issubclass(thing, tuple) and hasattr(thing, "dtype")


def snake_name(of: Any) -> str:
    """'TopOfBook' -> 'top_of_book': the name of the record's file and table."""
    out = ""
    for i, letter in enumerate(of.__name__):
        out += ("_" if letter.isupper() and i else "") + letter.lower()
    return out


def empty_block(of: Any, rows: int) -> Any:
    """A zeroed block of `rows` records."""
    return np.zeros(rows, of.dtype)


def block_of(of: Any, rows: list[Any]) -> Any:
    """A block from tuples or record instances, padding zeroed. O(rows), for tests and examples."""
    block = empty_block(of, len(rows))
    for i, values in enumerate(rows):
        if len(values) != len(of._fields):
            raise DeclarationError(
                f"{of.__name__} has {len(of._fields)} fields, row {i} had {len(values)}"
            )
        for name, value in zip(of._fields, values, strict=True):
            block[name][i] = value
    return block
