"""The same declaration as an Arrow, an Avro, a Protobuf and a JSON schema, for others' tools."""

import math
from typing import Any

from onetape.records.declare import snake_name
from onetape.records.errors import DeclarationError
from onetape.records.types import Field

_AVRO = {"i8": "long", "i4": "int", "u8": "long", "u4": "long", "u2": "int", "u1": "int"}
_AVRO |= {"f8": "double"}
_PROTOBUF = {"i8": "sint64", "i4": "sint32", "u8": "uint64", "f8": "double"}
PLAIN = {"long": "i64", "int": "i32", "double": "f64"}  # what an Avro type is when none is stated


def arrow_schema(of: Any, metadata: dict[str, str] | None = None) -> Any:
    """The record as a pyarrow schema; integer fields keep their width, arrays are fixed lists."""
    import pyarrow as pa

    fields = []
    for name, field in of.fields.items():
        scalar = pa.from_numpy_dtype(field.code)
        fields.append((name, scalar if field.length is None else pa.list_(scalar, field.length)))
    base = {"record": of.__name__, "version": str(of.version)}
    return pa.schema(fields, metadata=base | (metadata or {}))


def avro_schema(of: Any, namespace: str = "onetape") -> dict[str, Any]:
    """The record as an Avro schema (a dict, JSON-ready).

    u64 ids become `long` by bit pattern: Avro has no unsigned type, and an id is only compared.
    What Avro's type does not tell of a field (`u16`, `u64[16]`) stands beside it as `onetape`;
    other readers pass that over. Old names are aliases, defaults are defaults.
    """
    return {
        "type": "record",
        "name": of.__name__,
        "namespace": namespace,
        "doc": (of.__doc__ or snake_name(of)).strip().split("\n")[0],
        "fields": [_avro_field(of, name, field) for name, field in of.fields.items()],
    }


def _avro_field(of: Any, name: str, field: Field) -> dict[str, Any]:
    scalar = _AVRO[_code(field)]
    told: dict[str, Any] = {"name": name, "type": scalar}
    if field.length is not None:
        told["type"] = {"type": "array", "items": scalar}
    if PLAIN[scalar] != field.word:
        told["onetape"] = field.word
    if name in of._field_defaults:
        told["default"] = _default(of, name, signed=True)
    if field.was:
        told["aliases"] = list(field.was)
    return told


def protobuf_text(of: Any, package: str = "onetape") -> str:
    """The record as a .proto file. A field's number is its place in the record, from 1: to stay
    readable, a record grows at its end and keeps the places of what it has."""
    lines = ['syntax = "proto2";', f"package {package};", "", f"message {of.__name__} {{"]
    for number, (name, field) in enumerate(of.fields.items(), 1):
        rule = "optional" if field.length is None else "repeated"
        default = f" [default = {_default(of, name)}]" if name in of._field_defaults else ""
        lines.append(f"  {rule} {protobuf_type(field)} {name} = {number}{default};")
    return "\n".join([*lines, "}", ""])


def protobuf_type(field: Field) -> str:
    """'sint64', 'uint32' ...: of the values of a field."""
    return _PROTOBUF.get(_code(field), "uint32")


def json_schema(of: Any) -> dict[str, Any]:
    """The record as a JSON schema (draft 7), as `onetape.codecs.event` writes JSON."""
    properties = {}
    for name, field in of.fields.items():
        kind: dict[str, Any] = {"type": _JSON.get(_code(field), "integer")}
        if field.length is not None:
            many = {"minItems": field.length, "maxItems": field.length}
            kind = {"type": "array", "items": kind} | many
        if name in of._field_defaults:
            kind["default"] = _default(of, name)
        properties[name] = kind
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": of.__name__,
        "type": "object",
        "properties": properties,
        "required": [name for name in of._fields if name not in of._field_defaults],
    }


# i64: null is UNSET; u64 may be text; a float may be null (NaN) or "Infinity".
_JSON = {"i8": ["integer", "null"], "u8": ["integer", "string"], "f8": ["number", "string", "null"]}


def _default(of: Any, name: str, *, signed: bool = False) -> Any:
    value, field = of._field_defaults[name], of.fields[name]
    if field.code == "<f8":
        if not math.isfinite(value):
            raise DeclarationError(
                f"{of.__name__}.{name}: its default {value!r} cannot be written in a schema; "
                "take a finite one"
            )
        return float(value)
    return value - (1 << 64) if signed and value >= 1 << 63 else value


def _code(field: Field) -> str:
    return field.code.lstrip("<|")
