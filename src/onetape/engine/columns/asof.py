"""`left.asof_join(right, by=c.instrument_id, max_age="200ms")`: each row with what was known then.

The last row of `right` that came before it, of the same key, not older than `max_age` by event
time; without one the row is left out. "Came before" is the order of the tape, so that a replay
joins what the live run joined; with `order="event_time"` it is that of event time, for which both
sides wait (`engine/in_order.py`).

One message of a venue may give rows to both sides: a trade, and the quote it leaves behind. With
`strictly` a row is joined to what an *earlier* message said: the trade to the quote it met.
"""

from typing import Any

from onetape.engine.columns import joins
from onetape.engine.columns.written import written
from onetape.engine.operator_node import operator
from onetape.engine.operators import UpTo
from onetape.engine.stream import Stream
from onetape.records import UNSET, DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import f64, i64, parse_duration_ns, u64

SKIPPED: tuple[str, ...] = (*joins.SKIPPED, "sequence")


def asof_join(
    left: Stream,
    right: Stream,
    *,
    by: Any,
    max_age: str | int | None = None,
    strictly: bool = False,
    suffix: str = "_right",
    order: str = "arrival",
    capacity: int = 1 << 16,
    **kept: Any,
) -> Stream:
    """Rows of `left` with the fields of `right` (a name both have gets `suffix`).

    kept  ttl and when_full, as an operator takes them
    """
    joins.check_stream("asof_join", right)
    key = joins.common_key("asof_join", by, left.of, right.of)
    if strictly and not {"sequence"} <= left.of.fields.keys() & right.of.fields.keys():
        raise DeclarationError(
            "asof_join: strictly goes by the field `sequence` of both sides, the number of the "
            f"message that made a row; {left.of.__name__} and {right.of.__name__} have not both"
        )
    age_ns = parse_duration_ns(max_age) if max_age is not None else None
    skipped = (*SKIPPED, key)
    taken = joins.taken_fields("asof_join", left.of.fields, right.of.fields, skipped, suffix)
    fields = left.of.fields | {called: right.of.fields[name] for name, called in taken.items()}
    made = made_record(f"{left.of.__name__}With{right.of.__name__}", fields)
    kinds = joins.kinds(right.of.fields, taken)
    lines = [
        f"class {made.__name__}Join:",
        f"    seen_ns: i64 = {UNSET}",
        *_fields("at", kinds),
        *(["    sequence: i64 = 0", f"    was_ns: i64 = {UNSET}"] if strictly else []),
        *(_fields("was", kinds) if strictly else []),
        "    def on_right(self, e: Right) -> None:",
        *(_moved_back(kinds) if strictly else []),
        "        self.seen_ns = e.ts_event_ns",
        *[f"        self.at_{n} = e.{n}" for n in taken],
        "    def on_left(self, e: Left, out: UpTo) -> None:",
        "        seen_ns = self.seen_ns",
        *(_is_own("            seen_ns = self.was_ns") if strictly else []),
        f"        if seen_ns == {UNSET}:",
        "            return",
        *(
            [f"        if e.ts_event_ns - seen_ns > {age_ns}:", "            return"]
            if age_ns is not None
            else []
        ),
        "        made = out.row()",
        *[f"        {line}" for line in joins.copied(left.of.fields, "made", "e")],
        *[f"        made.{called} = self.at_{n}" for n, called in taken.items()],
        *(
            _is_own(*(f"            made.{called} = self.was_{n}" for n, called in taken.items()))
            if strictly and taken
            else []
        ),
    ]
    names: dict[str, Any] = {
        "Left": left.of,
        "Right": right.of,
        "UpTo": UpTo.__class_getitem__((1, made)),
    }
    names |= {"i64": i64, "f64": f64, "u64": u64}
    join = operator(written(f"{made.__name__}Join", lines, names), key=key)
    capacities = {"keys": capacity}
    inputs = {"left": left, "right": right}
    return join(**inputs, order=order, capacity=capacities, **kept)  # type: ignore[no-any-return]


def _fields(prefix: str, kinds: dict[str, str]) -> list[str]:
    return [f"    {prefix}_{n}: {k} = {joins.zero(k)}" for n, k in kinds.items()]


def _moved_back(kinds: dict[str, str]) -> list[str]:
    """What an earlier message said is kept beside what this one says."""
    return [
        "        if e.sequence != self.sequence:",
        "            self.sequence, self.was_ns = e.sequence, self.seen_ns",
        *[f"            self.was_{name} = self.at_{name}" for name in kinds],
    ]


def _is_own(*lines: str) -> list[str]:
    """Where the newest row of the right is of the same message as this of the left."""
    return ["        if self.sequence == e.sequence:", *lines]
