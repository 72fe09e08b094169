"""A record type from an Avro schema: for topics that others write.

    Avro                                        field
    boolean, int, long                          u8, i32, i64
    float, double                               f64
    string, enum                                u64: a text as a word, as symbols are
    timestamp-millis, -micros, -nanos           i64 in ns
    decimal(scale s)                            i64 in units of 10**-s
    a union of null and one of these            the same, wide enough for UNSET (of a text: 0)
    array of numbers whose length is stated     Array[type, length]

A schema that `avro_schema` made gives the record it was made from. The rest is refused with the
field's name: maps, bytes, records in records, unions of several, arrays of any length.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from onetape.records.declare import made_record
from onetape.records.errors import DeclarationError
from onetape.records.schemas import PLAIN
from onetape.records.types import RESERVED, UNSET, Field, field_called

UNIT_NS = {"millis": 1_000_000, "micros": 1_000, "nanos": 1}
_WIDE = Field("<i8")
_SCALARS = {"boolean": Field("|u1"), "float": Field("<f8")}
_SCALARS |= {avro: field for avro, word in PLAIN.items() if (field := field_called(word))}


@dataclass(frozen=True)
class Reading:
    """How values of an Avro type become a field.

    field     what it becomes
    kind      "number", "text", "time" (a number of `unit_ns`) or "decimal" (bytes, unscaled)
    is_plain  on the wire it is one number, or an array of them, and nothing else
    """

    field: Field
    kind: str = "number"
    unit_ns: int = 1
    is_plain: bool = False
    avro: str = ""  # the type of a plain one, or of its items


def record_of(schema: dict[str, Any], only: Iterable[str] | None = None) -> Any:
    """The record type of an Avro schema; `only` these of its fields.

    ```python
    their = {"type": "record", "name": "Quote", "fields": [
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "symbol", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal",
                                   "precision": 18, "scale": 4}},
    ]}
    Quote = ot.record_of(their)
    assert Quote._fields == ("time", "symbol", "price")
    ```

    DeclarationError: a field that no field type holds, with its name.
    """
    name, readings = readings_of(schema)
    wanted = list(readings) if only is None else list(only)
    fields, defaults = {}, {}
    for one in wanted:
        found = readings.get(one, "is none of its fields: it has " + ", ".join(readings))
        if isinstance(found, str):
            others = [other for other, of in readings.items() if not isinstance(of, str)]
            raise DeclarationError(
                f"{name}.{one} {found}; name the fields to take: record_of(schema, only={others})"
            )
        if one in RESERVED or one.startswith("_"):
            raise DeclarationError(
                f"{name}.{one}: no field of a record can have this name; leave it out of only="
            )
        fields[one] = found.field
    stated = {one["name"]: one for one in schema["fields"]}
    for one in reversed(fields):  # the last fields may have defaults
        default = _default(stated[one], readings[one])
        if default is None:
            break
        defaults[one] = default
    for one, field in fields.items():
        old = tuple(stated[one].get("aliases", ()))
        fields[one] = replace(field, was=old) if old else field
    doc = schema.get("doc") or f"As the Avro schema {name} has it."
    return made_record(name, fields, tuple(defaults.values())[::-1], __doc__=doc)


def readings_of(schema: Any) -> tuple[str, dict[str, Reading | str]]:
    """(name, {field: how it is read, or why it cannot be}); DeclarationError: no record schema."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise DeclarationError(
            f"the schema was {str(schema)[:60]!r}; expected an Avro record: a topic of other "
            "values has no fields"
        )
    named: dict[str, Any] = {}
    name = str(schema.get("name", "")).rpartition(".")[2]
    found = {
        one["name"]: _reading(one["type"], one.get("onetape"), named) for one in schema["fields"]
    }
    return name, found


def _reading(kind: Any, word: Any, named: dict[str, Any]) -> Reading | str:
    if isinstance(kind, list):
        return _of_union(kind, word, named)
    if isinstance(kind, dict):
        if "name" in kind:
            named[kind["name"]] = named[str(kind["name"]).rpartition(".")[2]] = kind
        inner = kind["type"]
        if isinstance(inner, dict | list):
            return _reading(inner, word, named)
        return _of_dict(kind, inner, word, named)
    if kind in named:
        return _of_dict(named[kind], named[kind]["type"], word, named)
    if kind == "string":
        return Reading(Field("<u8"), "text")
    if kind in _SCALARS:
        stated = field_called(str(word)) if kind in ("int", "long") else None
        field = stated if stated is not None and stated.length is None else _SCALARS[kind]
        return Reading(field, is_plain=True, avro=kind)
    return f"is {kind}, which no field holds"


def _of_dict(kind: Any, inner: str, word: Any, named: dict[str, Any]) -> Reading | str:
    logical = str(kind.get("logicalType", ""))
    if inner == "long" and "timestamp-" in logical:
        unit_ns = UNIT_NS.get(logical.rpartition("-")[2])
        if unit_ns is not None:
            return Reading(_WIDE, "time", unit_ns)
    if inner in ("bytes", "fixed") and logical == "decimal":
        return Reading(_WIDE, "decimal")
    if inner == "enum":
        return Reading(Field("<u8"), "text")
    if inner == "array":
        items = _reading(kind["items"], None, named)
        stated = field_called(str(word))
        if isinstance(items, str) or not items.is_plain or items.field.length is not None:
            return "is an array of what is no number"
        if stated is None or stated.length is None:
            return "is an array of any length, and a field has one length"
        return Reading(stated, is_plain=True, avro=items.avro)
    if inner in ("record", "map", "fixed"):
        return f"is a {inner}, which no field holds"
    return _reading(inner, word, named)


def _of_union(kinds: list[Any], word: Any, named: dict[str, Any]) -> Reading | str:
    others = [one for one in kinds if one != "null"]
    if len(others) != 1:
        return "is a union of several types"
    found = _reading(others[0], word, named)
    if isinstance(found, str):
        return found
    if found.field.length is not None:
        return "is an array or null, and a field is always there"
    is_whole = found.kind != "text" and found.field.code != "<f8"
    field = _WIDE if is_whole and len(others) < len(kinds) else found.field
    return replace(found, field=field, is_plain=False)


def _default(stated: dict[str, Any], reading: Any) -> Any:
    """Its default as a value of the field, or None."""
    if "default" not in stated or reading.kind != "number":
        return None
    value, field = stated["default"], reading.field
    if value is None and field == _WIDE:
        return UNSET
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, int) and field.code == "<u8":
        value %= 1 << 64
    return value if field.holds(value) else None
