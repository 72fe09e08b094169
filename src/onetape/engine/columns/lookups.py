"""`trades.lookup(rules)`: each row with what a table says of its key; the table itself changes.

    rules = ot.table(changes, by=c.instrument_id, deleted=c.max_lots == 0)
    checked = trades.lookup(rules).filter(c.qty_lots > c.max_lots)

A table is a stream of changes, on the tape like all else: a row puts its key's entry in place of
the one before, or deletes it where `deleted` holds. So a replay sees the version that the live run
saw. Whether a table came from a file at the start or changes all day is the same to those who ask.

    as_of="arrival"      the newest version that has come
    as_of="event_time"   of those that have come, the one in force at the row's own time; `versions`
                         of a key are kept, a row from before all of them has none

A row whose key has no entry goes to `.unknown`; with how="left" also on, its right side unset.
"""

import typing
from dataclasses import dataclass
from typing import Any

from onetape.engine.columns import joins
from onetape.engine.columns.bind import condition, field_name
from onetape.engine.columns.expr import Expr
from onetape.engine.columns.written import written
from onetape.engine.operator_node import OperatorNode, check_key, operator
from onetape.engine.operators import UpTo
from onetape.engine.stream import Stream
from onetape.records import DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Array, f64, i64, u64

SKIPPED: tuple[str, ...] = (*joins.SKIPPED, "sequence")
VERSIONS_MOST = 256


@dataclass(frozen=True)
class ReferenceTable:
    """A stream of changes of entries, one a key: see `table`."""

    changes: Stream
    key: str
    deleted: Expr | None
    capacity: int

    def __repr__(self) -> str:
        return f"<table of {self.changes.of.__name__} by {self.key}>"


def table(
    changes: Stream, *, by: Any, deleted: Expr | None = None, capacity: int = 1 << 16
) -> ReferenceTable:
    """A table that events change: the last row of each key is its entry.

    ```python
    quotes = ot.table(tops, by=c.instrument_id, deleted=c.bid_qty_lots == 0)
    checked = trades.lookup(quotes).filter(c.price_ticks < c.bid_price_ticks)
    ```

    deleted   a condition on a row that takes its key's entry away: `c.bid_qty_lots == 0`
    capacity  how many keys; with more the pipeline halts

    `ot.table(ot.read("limits.csv", as_=Limit, columns={"ts_event_ns": None}), by=...)` is a table
    from a file: rows without a time are from before everything else, and come first.
    """
    joins.check_stream("table", changes)
    key = field_name(by, changes.of, "table: by")
    check_key("table", key, changes.of)
    if deleted is not None:
        condition(deleted, changes.of)
    if not isinstance(capacity, int) or capacity < 1:
        raise DeclarationError(f"table: capacity was {capacity!r}; expected 1 key or more")
    return ReferenceTable(changes, key, deleted, capacity)


class LookedUpStream(Stream):
    """What a lookup gives; `.unknown` is the stream of rows of which the table says nothing."""

    @property
    def unknown(self) -> Stream:
        return typing.cast(OperatorNode, self.node).stream("unknown")


def lookup(
    left: Stream,
    entries: ReferenceTable,
    *,
    how: str = "inner",
    as_of: str = "arrival",
    versions: int = 4,
    suffix: str = "_right",
    order: str = "arrival",
) -> LookedUpStream:
    """Rows of `left` with the fields of the entry (a name both have gets `suffix`)."""
    if not isinstance(entries, ReferenceTable):
        raise DeclarationError(
            f"lookup was given {entries!r}; expected a table: ot.table(stream, by=c.instrument_id)"
        )
    right = entries.changes.of
    joins.common_key("lookup", entries.key, left.of, right)
    if how not in ("inner", "left"):
        raise DeclarationError(f"lookup: how was {how!r}; expected 'inner' or 'left'")
    if as_of not in ("arrival", "event_time"):
        raise DeclarationError(f"lookup: as_of was {as_of!r}; expected 'arrival' or 'event_time'")
    if not isinstance(versions, int) or not 1 <= versions <= VERSIONS_MOST:
        raise DeclarationError(
            f"lookup: versions was {versions!r}; expected 1 to {VERSIONS_MOST} kept of a key"
        )
    skipped = (*SKIPPED, entries.key)
    taken = joins.taken_fields("lookup", left.of.fields, right.fields, skipped, suffix)
    fields = left.of.fields | {called: right.fields[name] for name, called in taken.items()}
    made = made_record(f"{left.of.__name__}With{right.__name__}", fields)
    kinds = joins.kinds(right.fields, taken)
    gone = condition(entries.deleted, right) if entries.deleted is not None else "False"
    if as_of == "arrival":
        state, change, find, at = *_newest(kinds, gone), ""
    else:
        state, change, find, at = *_versions(kinds, gone, versions), "[at]"
    copied = [f"        {line}" for line in joins.copied(left.of.fields, "made", "e")]
    lines = [
        f"class {made.__name__}Lookup:",
        *state,
        "    def on_change(self, e: Right) -> None:",
        *change,
        "    def on_row(self, e: Left, out: Out, unknown: Unknown) -> None:",
        *find,
        "            unknown.append(e)",
        *(
            ["            made = out.row()"]
            + [f"    {line}" for line in copied]
            + [f"            {line}" for line in joins.unset(right.fields, taken, "made")]
            if how == "left"
            else []
        ),
        "            return",
        "        made = out.row()",
        *copied,
        *[f"        made.{called} = self.at_{n}{at}" for n, called in taken.items()],
    ]
    names: dict[str, Any] = {"Left": left.of, "Right": right, "i64": i64, "f64": f64, "u64": u64}
    names |= {"Out": UpTo.__class_getitem__((1, made)), "Array": Array}
    names["Unknown"] = UpTo.__class_getitem__((1, left.of))
    asking = operator(written(f"{made.__name__}Lookup", lines, names), key=entries.key)
    capacities = {"keys": entries.capacity}
    found = asking(row=left, change=entries.changes, order=order, capacity=capacities)
    return LookedUpStream(found.out.node, "out", made)


def _newest(kinds: dict[str, str], gone: str) -> tuple[list[str], list[str], list[str]]:
    """State, the lines that keep it, and those that ask, of one version a key."""
    state = ["    is_known: i64 = 0"]
    state += [
        f"    at_{n}: {kind} = {'0.0' if kind == 'f64' else '0'}" for n, kind in kinds.items()
    ]
    change = [
        f"        self.is_known = 0 if {gone} else 1",
        *[f"        self.at_{n} = e.{n}" for n in kinds],
    ]
    return state, change, ["        if self.is_known == 0:"]


def _versions(
    kinds: dict[str, str], gone: str, versions: int
) -> tuple[list[str], list[str], list[str]]:
    """The same of the newest `versions`, in the order of their time; of one time as they came."""
    fields = {"from_ns": "i64", "is_gone": "i64"} | {f"at_{n}": kind for n, kind in kinds.items()}
    state = ["    kept: i64 = 0"]
    state += [f"    {name}: Array[{kind}, {versions}]" for name, kind in fields.items()]
    change = [
        f"        if self.kept == {versions}:",
        "            if e.ts_event_ns < self.from_ns[0]:",
        "                return",
        f"            for i in range({versions - 1}):",
        *[f"                self.{name}[i] = self.{name}[i + 1]" for name in fields],
        "            self.kept -= 1",
        "        at = self.kept",
        "        while at > 0 and self.from_ns[at - 1] > e.ts_event_ns:",
        *[f"            self.{name}[at] = self.{name}[at - 1]" for name in fields],
        "            at -= 1",
        "        self.kept += 1",
        "        self.from_ns[at] = e.ts_event_ns",
        f"        self.is_gone[at] = 1 if {gone} else 0",
        *[f"        self.at_{n}[at] = e.{n}" for n in kinds],
    ]
    find = [
        "        at = self.kept - 1",
        "        while at >= 0 and self.from_ns[at] > e.ts_event_ns:",
        "            at -= 1",
        "        if at < 0 or self.is_gone[at] == 1:",
    ]
    return state, change, find
