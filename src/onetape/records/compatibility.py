"""May a record's schema change like this? Avro's own rules, said of the fields they are about.

    backward   who has the new schema can read what was written with the one before
    forward    who has the one before can read what is written with the new one
    full       both
    ..._transitive   the same of all versions before, not only of the last

A reader finds a field by its name or one of its aliases (`@record(was=...)`), takes the default of
one that the writer did not have, and passes over what it does not know. Types may differ where a
reader's is the wider one: int, long, float, double, in this order. To Avro's rules we add what its
types do not tell: a field may not become narrower (u16 to u8), change the meaning of its bits (u64
to i64) or, as an array, have another length. Those problems say `kind` "width".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.records.errors import DeclarationError
from onetape.records.schemas import PLAIN
from onetape.records.types import Field, field_called

MODES = (
    "none",
    "backward",
    "backward_transitive",
    "forward",
    "forward_transitive",
    "full",
    "full_transitive",
)
_PROMOTED = {"int": ("long", "float", "double"), "long": ("float", "double"), "float": ("double",)}
_PROMOTED |= {"string": ("bytes",), "bytes": ("string",)}


@dataclass(frozen=True)
class Problem:
    """Why a schema may not follow another.

    field    "Trade.qty_lots"; of the record as a whole: "Trade"
    rule     "backward" or "forward"
    version  of the earlier schema
    kind     "missing", "type", "width", "ambiguous" or "name"
    says     the whole of it, with what to do
    """

    field: str
    rule: str
    version: int
    kind: str
    says: str


@dataclass(frozen=True)
class Mismatch:
    """A field of a reader's schema that cannot be had from what a writer's schema has."""

    kind: str
    reader: dict[str, Any]
    writer: dict[str, Any] | None = None


def problems(
    new: dict[str, Any], before: Sequence[tuple[int, dict[str, Any]]], mode: str
) -> list[Problem]:
    """What keeps `new` from following the versions in `before`, oldest first, under `mode`.

    DeclarationError: no such mode.
    """
    if mode not in MODES:
        raise DeclarationError(f"compatibility was {mode!r}; expected one of {', '.join(MODES)}")
    rule, _, is_transitive = mode.partition("_")
    found = []
    for version, old in before if is_transitive else before[-1:]:
        if rule in ("backward", "full"):
            found += [_of_new(one, new, old, version) for one in mismatches(new, old)]
        if rule in ("forward", "full"):
            found += [_of_old(one, new, old, version) for one in mismatches(old, new)]
    return found


def mismatches(reader: dict[str, Any], writer: dict[str, Any]) -> Iterator[Mismatch]:
    """What keeps who has the schema `reader` from reading what was written with `writer`."""
    if _short_name(reader) != _short_name(writer):
        yield Mismatch("name", reader, writer)
    written = {field["name"]: field for field in writer["fields"]}
    for field in reader["fields"]:
        names = [name for name in (field["name"], *field.get("aliases", ())) if name in written]
        if len(names) > 1:
            yield Mismatch("ambiguous", field, written[names[1]])
        elif not names:
            if "default" not in field:
                yield Mismatch("missing", field)
        elif not _reads(field["type"], written[names[0]]["type"]):
            yield Mismatch("type", field, written[names[0]])
        elif not _holds(_field(field), _field(written[names[0]])):
            yield Mismatch("width", field, written[names[0]])


def _reads(reader: Any, writer: Any) -> bool:
    """Can a value written as `writer` be read as `reader`? Types that no record has: if equal."""
    if isinstance(writer, list):
        return all(_reads(reader, one) for one in writer)
    if isinstance(reader, list):
        return any(_reads(one, writer) for one in reader)
    reader, writer = _plain(reader), _plain(writer)
    if isinstance(reader, dict) and isinstance(writer, dict):
        if reader.get("type") == writer.get("type") == "array":
            return _reads(reader["items"], writer["items"])
    return bool(reader == writer) or (
        isinstance(writer, str) and isinstance(reader, str) and reader in _PROMOTED.get(writer, ())
    )


def _plain(kind: Any) -> Any:
    """{"type": "long", ...} is long."""
    if isinstance(kind, dict) and isinstance(kind.get("type"), str):
        return kind["type"] if kind["type"] in (*_PROMOTED, "double", "boolean") else kind
    return kind


def _field(told: dict[str, Any]) -> Field | None:
    """The record's field that a schema's field tells of, if it is of one."""
    kind = _plain(told["type"])
    word = told.get("onetape", PLAIN.get(kind) if isinstance(kind, str) else None)
    return field_called(str(word))


def _holds(reader: Field | None, writer: Field | None) -> bool:
    """Has the reader's field room for all values of the writer's?"""
    if reader is None or writer is None:
        return True
    if reader.length != writer.length:
        return False
    if "<f8" in (reader.code, writer.code):
        return writer.code != "<u8"  # its long is a bit pattern
    mine, theirs = np.iinfo(reader.code), np.iinfo(writer.code)
    return bool(mine.min <= theirs.min and theirs.max <= mine.max)


def _of_new(one: Mismatch, new: dict[str, Any], old: dict[str, Any], version: int) -> Problem:
    """The new schema cannot read what was written with an old one."""
    name = one.reader["name"]
    if one.kind == "missing":
        word = _word(one.reader)
        says = f"is new and has no default, so what was written with version {version} cannot be "
        if "[" in word:
            says += "read, and an array can have none; put it into a record of its own"
        else:
            says += f"read; give it one ({name}: ot.{word} = 0)"
        gone = _lost(old, new, one.reader)
        if gone:
            says += f", or, if it was called {gone!r}: @ot.record(was={{{name!r}: {gone!r}}})"
    else:
        says = _changed(one, f"what was written with version {version} cannot be read", version)
    return _problem("backward", version, one, new, says)


def _of_old(one: Mismatch, new: dict[str, Any], old: dict[str, Any], version: int) -> Problem:
    """Who has an old schema cannot read what is written with the new one."""
    name = one.reader["name"]
    if one.kind == "missing":
        now = [f["name"] for f in new["fields"] if name in f.get("aliases", ())]
        says = f"is called {now[0]!r} now" if now else "is gone"
        says += f", and who reads with version {version} needs it: it has no default there; keep it"
        if now:
            says += " beside the new one"
        says += ", or first deploy a version in which it has a default"
    else:
        turned = Mismatch(one.kind, one.writer or {}, one.reader)
        says = _changed(turned, f"who reads with version {version} cannot read it", version)
    return _problem("forward", version, one, new, says)


def _changed(one: Mismatch, so: str, version: int) -> str:
    """`one.reader` is of the new schema, `one.writer` of the old."""
    new, old = one.reader, one.writer or {}
    if one.kind == "name":
        return (
            f"was called {old['name']} in version {version}: {so}; give the class its name back, "
            "or send it to another topic"
        )
    if one.kind == "ambiguous":
        return (
            f"and {old['name']} are one field under two names to who knows the old name, and both "
            f"are there: {so}; leave out was="
        )
    return (
        f"was {_word(old)} in version {version} and is {_word(new)}: {so}; keep it as it was, and "
        "add what is new as a field of its own"
    )


def _problem(rule: str, version: int, one: Mismatch, new: dict[str, Any], says: str) -> Problem:
    name = _short_name(new)
    field = name if one.kind == "name" else f"{name}.{one.reader['name']}"
    return Problem(field, rule, version, one.kind, f"{field} {says}")


def _lost(old: dict[str, Any], new: dict[str, Any], like: dict[str, Any]) -> str:
    """A field that is in `old` and in `new` no more, of the same type: perhaps its old name."""
    kept = {field["name"] for field in new["fields"]}
    kept |= {alias for field in new["fields"] for alias in field.get("aliases", ())}
    gone = [f["name"] for f in old["fields"] if f["name"] not in kept and _word(f) == _word(like)]
    return str(gone[0]) if len(gone) == 1 else ""


def _word(told: dict[str, Any]) -> str:
    field = _field(told)
    return field.word if field is not None else str(told["type"])


def _short_name(schema: dict[str, Any]) -> str:
    return str(schema["name"]).rpartition(".")[2]
