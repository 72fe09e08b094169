"""`left.interval_join(right, by=c.order_id, within=("-5ms", "2s"))`: pairs that are near in time.

A row of each side with the same key are a pair if right.ts_event_ns - left.ts_event_ns lies in
`within`, both ends included. A pair is told when the second of the two is there. A row is kept
until the watermark says that no partner of it can come any more; so all pairs of rows that are in
time are found, whatever way the two sides arrive. A late row goes to `late`, or `late_right`.

    how     "inner": pairs; "left": also each left row that has found no partner, when that is
            sure, its right side unset; "anti": only those

Beside the fields of both, a row has `ts_left_ns`, the time of its left side, and `apart_ns`, how
much later the right one is (unset without a partner). Its ts_event_ns is the time at which it is
sure: of a pair the later time of the two, of a row alone the first at which no partner can come.
"""

import typing
from typing import Any

from onetape.engine.columns import joins
from onetape.engine.columns.interval_node import OWN, IntervalJoin
from onetape.engine.in_order import in_order
from onetape.engine.stream import Stream
from onetape.records import DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import parse_duration_ns

HOWS = ("inner", "left", "anti")
AT_MOST = 4096


class JoinedStream(Stream):
    """What an interval join gives; `.late` and `.late_right` are rows that came too late for it."""

    @property
    def late(self) -> Stream:
        return typing.cast(IntervalJoin, self.node).late("left")

    @property
    def late_right(self) -> Stream:
        return typing.cast(IntervalJoin, self.node).late("right")


def interval_join(
    left: Stream,
    right: Stream,
    *,
    by: Any,
    within: tuple[str | int, str | int],
    how: str = "inner",
    at_most: int = 64,
    suffix: str = "_right",
    order: str = "arrival",
    capacity: int = 1 << 16,
) -> JoinedStream:
    """Pairs of rows; fields of `right` that both have get `suffix`."""
    what = "interval_join"
    joins.check_stream(what, right)
    key = joins.common_key(what, by, left.of, right.of)
    if how not in HOWS:
        raise DeclarationError(f"{what}: how was {how!r}; expected one of {', '.join(HOWS)}")
    if not isinstance(within, tuple | list) or len(within) != 2:
        raise DeclarationError(
            f"{what}: within was {within!r}; expected the least and the most that the right row is "
            "later, such as ('-5ms', '2s')"
        )
    least_ns, most_ns = (signed_ns(end) for end in within)
    if least_ns > most_ns:
        raise DeclarationError(f"{what}: within {within!r} is empty; its first end is the larger")
    for name, value, most in (("at_most", at_most, AT_MOST), ("capacity", capacity, 1 << 28)):
        if not isinstance(value, int) or not 1 <= value <= most:
            raise DeclarationError(f"{what}: {name} was {value!r}; expected 1 to {most:,}")
    fields = dict(left.of.fields) | OWN
    if taken_twice := [n for n in OWN if n in left.of.fields]:
        raise DeclarationError(
            f"{what}: {left.of.__name__} has {taken_twice[0]!r}, and a joined row has one of its "
            "own; rename it before: select(...)"
        )
    taken = {}
    if how == "anti":
        del fields["apart_ns"]
    else:
        skipped = (*joins.SKIPPED, key)
        taken = joins.taken_fields(what, fields, right.of.fields, skipped, suffix)
        fields |= {called: right.of.fields[name] for name, called in taken.items()}
    word = "Without" if how == "anti" else "Near"
    inputs = in_order(what, order, {"left": left, "right": right}, 2 * capacity)
    node = IntervalJoin(
        f"{what}_{left.node.name}_{right.node.name}",
        tuple(inputs.items()),
        of=made_record(f"{left.of.__name__}{word}{right.of.__name__}", fields),
        key=key,
        least_ns=least_ns,
        most_ns=most_ns,
        how=how,
        taken=taken,
        at_most=at_most,
        capacity=capacity,
    )
    return JoinedStream(node, "rows", node.of)


def signed_ns(text: str | int) -> int:
    """A duration that may be below zero: '-5ms'."""
    is_below = isinstance(text, str) and text.strip().startswith("-")
    ns = -parse_duration_ns(text.strip()[1:]) if is_below else parse_duration_ns(text)  # type: ignore[union-attr]
    if not -(1 << 60) < ns < 1 << 60:
        raise DeclarationError(f"interval_join: within has {text!r}; expected at most 36 years")
    return ns
