"""May a record's Protobuf form change like this? What is on a topic is read by numbers alone.

A field's number is its place in the record. A number that had another name or type in an earlier
version is one too many: the bytes of that field would be read as another one. So a record grows at
its end; a last field may go, and its number may not come back as something else. A new name is no
change where `@record(was=...)` says the old one.
"""

import re
from collections.abc import Sequence
from typing import Any

from onetape.records.compatibility import Problem
from onetape.records.schemas import protobuf_text

_FIELD = re.compile(r"\b(?:optional|repeated|required)\s+([\w.]+)\s+(\w+)\s*=\s*(\d+)")


def place_problems(of: Any, before: Sequence[tuple[int, str]]) -> list[Problem]:
    """What keeps the record from following the .proto files in `before`, each with its version."""
    now, found = _places(protobuf_text(of)), []
    for version, text in before:
        for number, (kind, name) in _places(text).items():
            if number not in now:
                continue
            new_kind, new_name = now[number]
            if new_kind == kind and name in (new_name, *of.fields[new_name].was):
                continue
            field = f"{of.__name__}.{new_name}"
            says = (
                f"{field} has the number {number}, which was {name} ({kind}) in version {version}: "
                f"what was written as that would be read as {new_name} ({new_kind}); keep the "
                "fields in their places, and put new ones at the end"
            )
            if new_kind == kind:
                says += (
                    f", or, if it was called {name!r}: @ot.record(was={{{new_name!r}: {name!r}}})"
                )
            found.append(Problem(field, "places", version, "place", says))
    return found


def _places(text: str) -> dict[int, tuple[str, str]]:
    """{number: (type, name)} of a .proto file with one message."""
    return {int(number): (kind, name) for kind, name, number in _FIELD.findall(text)}
