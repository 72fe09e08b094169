"""What joins have in common: which fields a joined row has, and the lines that fill them."""

from typing import Any

from onetape.engine.columns.bind import field_name
from onetape.engine.operator_node import check_key
from onetape.engine.stream import Stream
from onetape.records import UNSET, DeclarationError
from onetape.records.types import Field

Fields = dict[str, Field]

SKIPPED: tuple[str, ...] = ("ts_event_ns", "ts_recv_ns", "flags", "reserved")


def common_key(what: str, by: Any, left: Any, right: Any) -> str:
    """The name of the field that both records are joined by."""
    key = field_name(by, left, f"{what}: by")
    if key not in right.fields:
        raise DeclarationError(
            f"{what} by {key!r}, which {right.__name__} does not have; it has "
            f"{', '.join(right._fields)}"
        )
    for of in (left, right):
        check_key(what, key, of)
    return key


def check_stream(what: str, right: Any) -> None:
    if not isinstance(right, Stream):
        raise DeclarationError(f"{what} was given {right!r}; expected a stream")


def taken_fields(
    what: str,
    left: dict[str, Field],
    right: dict[str, Field],
    skipped: tuple[str, ...],
    suffix: str,
) -> dict[str, str]:
    """{field of the right: what it is called in a joined row}; no arrays."""
    taken = {
        name: name + suffix if name in left else name
        for name, field in right.items()
        if name not in skipped and field.length is None
    }
    called = [*left, *taken.values()]
    for name in taken.values():
        if called.count(name) > 1:
            raise DeclarationError(
                f"{what}: both sides have {name!r}; give another suffix than {suffix!r}"
            )
    return taken


def copied(fields: Fields, made: str, event: str) -> list[str]:
    """Lines that copy fields of an event into a row of the same."""
    lines = []
    for name, field in fields.items():
        if field.length is None:
            lines.append(f"{made}.{name} = {event}.{name}")
        else:
            lines += [
                f"for i in range({field.length}):",
                f"    {made}.{name}[i] = {event}.{name}[i]",
            ]
    return lines


def unset(fields: Fields, taken: dict[str, str], made: str) -> list[str]:
    """Lines for a zeroed row whose right side is not there: what can be unset is."""
    nothing = {"<i8": str(UNSET), "<f8": 'float("nan")'}
    return [
        f"{made}.{called} = {nothing[fields[name].code]}"
        for name, called in taken.items()
        if fields[name].code in nothing
    ]


def zero(kind: str) -> str:
    """What a field of state begins with."""
    return "0.0" if kind == "f64" else "0"


def kinds(fields: Fields, taken: dict[str, str]) -> dict[str, str]:
    """What state holds a field of the right."""
    return {n: {"<f8": "f64", "<u8": "u64"}.get(fields[n].code, "i64") for n in taken}
