"""What the compiler says of a person's code, in the words of this package, at the person's line.

Most mistakes are found before (engine/checks); what comes here is in helper functions, or in what
only the compiler can see. Its own message is what `onetape --traceback` shows.
"""

import difflib
import re
from typing import Any

from onetape.compiled.kernel import is_ours
from onetape.records.places import OWN, Place

# What the compiler says: what it means. Groups of the pattern fill the text.
ITS_READERS = (
    "; an event is read by others too and is on the tape: keep what you need in your own state, "
    "or return a new record"
)
MEANINGS = [
    (r"event field (\w+) is assigned to", "event field {0} is assigned to" + ITS_READERS),
    (r"[Cc]annot modify (?:a )?readonly array", "a cell of an event is assigned to" + ITS_READERS),
    (
        r"field (\w+) holds an integer and is given a float",
        "field {0} holds an integer and is given a float: compute in integers, or write int(x) "
        "where that is meant",
    ),
    (r"setitem[\s\S]*readonly array", "a cell of an event is assigned to" + ITS_READERS),
    (
        r"NRT required but not enabled",
        "memory would be allocated here (by a list, a set, a text, a new array, or by copying a "
        "part of one array into another); keep values in state: cells: ot.Array[ot.i64, 16]",
    ),
    (
        r"Untyped global name '(\w+)'",
        "{0} cannot be used by compiled code; it may use numbers, tuples of numbers, records, "
        "math, and functions with @ot.kernel above their def",
    ),
    (r"name '(\w+)' is not defined", "the name {0!r} is not defined"),
    (r"Int value is too large: (\d+)", "the number {0} has more than 64 bits"),
    (
        r"Cannot unify (\S+) and (\S+) for '(\w+?)(?:\.\d+)?'",
        "{2} is {0} in one place and {1} in another; give it one kind of value",
    ),
    (r"Cannot cast none to (\w+)", "None is given where a number is held; write ot.UNSET"),
    (r"[Uu]nsupported opcode \((\w+)\)", "this statement does not compile ({0})"),
    (
        r"missing a required argument: '(\w+)'",
        "a record is made without its field {0!r}",
    ),
    (r"too many positional arguments", "a record is given more values than it has fields"),
]


def in_words(error: BaseException, functions: dict[str, Any]) -> str:
    """Where it is, and what is wrong there; `functions` are those of the pipeline."""
    said = str(error)
    what = _what(said)
    place = _place(said)
    if place is not None:
        return place.says(what)
    own = [f for f in functions.values() if not is_ours(f)]
    if not own:
        return what
    named = [f"{f.__qualname__} ({f.__code__.co_filename}:{_line(f)})" for f in own]
    return f"in {' or '.join(named)}: {what}"


def _what(said: str) -> str:
    field = re.search(r"Unknown attribute '(\w+)' of type (?:Row|Event)\(Record\((.*?);\d+;", said)
    if field:
        known = re.findall(r"(\w+)\[type=", field[2])
        near = difflib.get_close_matches(field[1], known, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"no field {field[1]!r}{hint}; the record has {', '.join(known)}"
    for pattern, meaning in MEANINGS:
        found = re.search(pattern, said)
        if found:
            return meaning.format(*found.groups())
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Failed in", "File", "During", "<"))]
    first = (told or lines or ["no reason is given"])[0]
    return (
        f"the pipeline does not compile: {first} (onetape --traceback shows the compiler's own "
        "message)"
    )


def _place(said: str) -> Place | None:
    """The innermost line of the person's own file that the compiler names."""
    places = re.findall(r'File "([^"]+)", line (\d+)', said)
    places += re.findall(r"(\S+\.py) \((\d+)\)", said)
    own = [
        (path, int(line))
        for path, line in places
        if not path.startswith(("<", OWN)) and not path.endswith("/driver.py")
        if "/numba/" not in path and path != "driver.py"
    ]
    return Place(*own[-1]) if own else None


def _line(function: Any) -> int:
    return int(function.__code__.co_firstlineno)
