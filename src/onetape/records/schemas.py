"""The same declaration as an Arrow schema and as an Avro schema, for everyone else's tools."""

from typing import Any

from onetape.records.declare import snake_name

_AVRO = {"i8": "long", "i4": "int", "u8": "long", "u4": "long", "u2": "int", "u1": "int"}


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
    """
    fields: list[dict[str, Any]] = []
    for name, field in of.fields.items():
        code = field.code.lstrip("<|")
        scalar = "double" if code == "f8" else _AVRO[code]
        kind: Any = scalar if field.length is None else {"type": "array", "items": scalar}
        fields.append({"name": name, "type": kind})
    return {
        "type": "record",
        "name": of.__name__,
        "namespace": namespace,
        "doc": (of.__doc__ or snake_name(of)).strip().split("\n")[0],
        "fields": fields,
    }
