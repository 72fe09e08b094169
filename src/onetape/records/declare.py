"""Declare a record once; get its memory layout, its Arrow schema and its Avro schema.

    @ot.record
    class Edge:
        ts_event_ns: ot.i64
        asset_id: ot.u32
        ticks: ot.i64

The class becomes a named tuple (so it can be built and compared in plain Python and inside a
kernel) that carries `dtype`, the layout of one row of a block. The last fields may have defaults.
"""

import hashlib
import json
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar, cast, dataclass_transform

import numpy as np

from onetape.records.errors import DeclarationError
from onetape.records.types import Field, fields_of, layout

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(
    cls: type[T] | None = None,
    *,
    version: int = 1,
    was: Mapping[str, str | tuple[str, ...]] | None = None,
) -> Any:
    """Make `cls` a record: fields of fixed size. A change of layout is a new `version`.

    ```python
    @ot.record
    class Edge:
        ts_event_ns: ot.i64
        asset_id: ot.u32
        ticks: ot.i64

    assert Edge(1, 7, -3).ticks == -3
    ```

    was  {"ticks": "edge_ticks"}: names that fields had in earlier versions, by which what others
         have written or read with those is understood: docs/SCHEMAS.md

    DeclarationError: a field whose type is none, or a default that does not fit.
    """
    if cls is None:
        return lambda c: record(c, version=version, was=was)
    about: dict[str, Any] = {"__doc__": cls.__doc__, "__module__": cls.__module__}
    about |= {"__qualname__": cls.__qualname__, "version": version}
    fields = _with_old_names(cls, fields_of(cls), was or {})
    return made_record(cls.__name__, fields, _defaults(cls, fields), **about)


def made_record(
    name: str, fields: dict[str, Field], defaults: tuple[Any, ...] = (), **about: Any
) -> Any:
    """A record type of these fields, the last of them with `defaults`: what `@record` makes."""
    base = namedtuple(name, list(fields), defaults=defaults)  # type: ignore[misc]
    body = {"__slots__": (), "dtype": layout(fields), "fields": fields, "version": 1}
    return cast(Any, type(name, (base,), body | about))


def _defaults(cls: type, fields: dict[str, Field]) -> tuple[Any, ...]:
    """Values of the last fields, where the class gives some: `flags: ot.u32 = 0`."""
    given = {name: vars(cls)[name] for name in fields if name in vars(cls)}
    if list(given) != list(fields)[len(fields) - len(given) :]:
        behind = next(n for n in list(fields)[::-1] if n not in given)
        raise DeclarationError(
            f"{cls.__qualname__}.{behind} has no default and stands behind {next(iter(given))!r}, "
            "which has one; put fields with defaults last"
        )
    for name, value in given.items():
        if not fields[name].holds(value):
            raise DeclarationError(
                f"{cls.__qualname__}.{name}: its default {value!r} does not fit the field"
            )
    return tuple(given.values())


def _with_old_names(
    cls: type, fields: dict[str, Field], was: Mapping[str, str | tuple[str, ...]]
) -> dict[str, Field]:
    made, taken = dict(fields), set(fields)
    for name, given in was.items():
        if name not in fields:
            raise DeclarationError(
                f"{cls.__qualname__}: was={{{name!r}: ...}} is of no field; write the new name "
                f"first, one of {', '.join(fields)}"
            )
        old = (given,) if isinstance(given, str) else tuple(given)
        for one in old:
            if not one.isidentifier() or one in taken:
                raise DeclarationError(
                    f"{cls.__qualname__}.{name} was {one!r}: expected a name that no field has "
                    "or had"
                )
            taken.add(one)
        made[name] = replace(fields[name], was=old)
    return made


def is_record(thing: Any) -> bool:
    """Was this class made by `@record`?"""
    return isinstance(thing, type) and issubclass(thing, tuple) and hasattr(thing, "dtype")


@cache
def schema_id(of: Any) -> int:
    """Eight bytes that tell a record's name and layout from any other's."""
    fields = [[name, field.code, field.length] for name, field in of.fields.items()]
    told = json.dumps([of.__name__, of.version, fields]).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:8], "little")


def snake_name(of: Any) -> str:
    """'TopOfBook' -> 'top_of_book': the name of the record's file and table."""
    out = ""
    for i, letter in enumerate(of.__name__):
        out += ("_" if letter.isupper() and i else "") + letter.lower()
    return out


def empty_block(of: Any, rows: int) -> Any:
    """A zeroed block of `rows` records."""
    return np.zeros(rows, of.dtype)


def raw_rows(block: Any) -> Any:
    """The rows of a block as opaque bytes. NumPy chooses, joins and copies those with their
    padding, which digests and tapes hold; of a block with fields it leaves the padding out."""
    return block.view(np.dtype((np.void, block.dtype.itemsize)))


def copied(block: Any) -> Any:
    """A copy with the padding, where `copy` has whatever the memory held before."""
    return raw_rows(block).copy().view(block.dtype)


def block_of(of: Any, rows: list[Any]) -> Any:
    """A block from tuples or record instances, padding zeroed. O(rows), for tests and examples."""
    block = empty_block(of, len(rows))
    most, least = len(of._fields), len(of._fields) - len(of._field_defaults)
    for i, values in enumerate(rows):
        if not least <= len(values) <= most:
            raise DeclarationError(f"{of.__name__} has {most} fields, row {i} had {len(values)}")
        for name, value in zip(of._fields, of(*values), strict=True):
            block[name][i] = value
    return block
