"""One version of some days takes the place of another, and the way back.

Delta commits are atomic for one table, so each output changes from one version to the other between
two reads of it. Over all tables of a lake there is no such commit: `URL/_swaps` is told before and
after, and a swap that was cut short is gone on with, each table once.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from onetape.connect.lake import RUNS, SWAPS, store
from onetape.records import OperatorError

SWAP, UNDO = "swap", "undo"
NONE = -1  # the version of a table that was not there


@dataclass(frozen=True)
class Swap:
    """number, what was done (SWAP, UNDO), of which version, which days; and the versions of the
    tables before it, by name."""

    number: int
    action: str
    version: str
    days: list[date]
    before: dict[str, int]
    is_done: bool = False


def swaps_of(url: str | Path) -> list[Swap]:
    """All that was told, in order."""
    table = store.open_table(store.place(url, SWAPS))
    if table is None:
        return []
    rows = table.to_pyarrow_dataset().to_table().to_pylist()
    done = {row["number"] for row in rows if row["state"] == "done"}
    return [
        Swap(
            row["number"],
            row["action"],
            row["version"],
            [date.fromisoformat(day) for day in json.loads(row["days"])],
            json.loads(row["before"]),
            row["number"] in done,
        )
        for row in sorted(rows, key=lambda each: each["number"])
        if row["state"] == "begun"
    ]


def swap(url: str, version: str, source: str, names: list[str], days: list[date]) -> Swap:
    """Put the days of the tables at `source` in the place of those at `url`; then it is told.

    OperatorError: another swap was cut short there, and must be gone on with first.
    """
    past = swaps_of(url)
    last = past[-1] if past else None
    if last is not None and last.is_done and applied(past)[-1:] == [last]:
        if (last.version, last.days) == (version, days):
            return last
    todo = _begun(url, past, SWAP, version, days, [*names, RUNS])
    for name in todo.before:
        _put(todo, store.place(url, name), store.open_table(store.place(source, name)))
    return _told_done(url, todo)


def undo(url: str) -> Swap:
    """Put back what the last swap replaced. OperatorError: there is none, or a vacuum was there."""
    past = swaps_of(url)
    if past and not past[-1].is_done:
        of = applied(past[:-1])[-1] if past[-1].action == UNDO else past[-1]
    elif stack := applied(past):
        of = stack[-1]
    else:
        raise OperatorError(f"{url}: no swap is there to be undone")
    todo = _begun(url, past, UNDO, of.version, of.days, list(of.before))
    for name, version in of.before.items():
        target = store.place(url, name)
        _put(todo, target, store.open_table(target, version) if version != NONE else None)
    return _told_done(url, todo)


def applied(past: list[Swap]) -> list[Swap]:
    """The swaps that were done and not undone."""
    stack: list[Swap] = []
    for each in past:
        if not each.is_done:
            continue
        if each.action == UNDO:
            stack.pop()
        else:
            stack.append(each)
    return stack


def _begun(
    url: str, past: list[Swap], action: str, version: str, days: list[date], names: list[str]
) -> Swap:
    """The swap that was cut short, if it is this one; else a new one, told before it begins."""
    if past and not past[-1].is_done:
        last = past[-1]
        if (last.action, last.version, last.days) == (action, version, days):
            return last
        raise OperatorError(
            f"{url}: the {last.action} of version {last.version} ({_span(last.days)}) was cut "
            f"short; finish that one first, with the same command"
        )
    before = {}
    for name in names:
        table = store.open_table(store.place(url, name))
        before[name] = NONE if table is None else table.version()
    todo = Swap(past[-1].number + 1 if past else 1, action, version, days, before)
    if not _tell(url, todo, "begun"):
        raise OperatorError(f"{url}: another run swaps there at this moment; try again")
    return todo


def _put(todo: Swap, target: str, source: Any) -> None:
    """The days of `source` (None: nothing) in place of those at `target`, once."""
    import pyarrow as pa

    table = store.open_table(target)
    if table is None and source is None:
        return
    which = store.days_are(todo.days)
    rows = None
    if source is not None:
        days = [(store.DAY, "in", todo.days)]
        rows = source.to_pyarrow_dataset(file_pruning_predicate=days)
        if table is None:
            table = store.make_table(target, pa.schema(rows.schema), [store.DAY])
    mark = f"swap/{todo.number}"
    if store.came_to(table, mark) >= 1:
        return
    if rows is None or not rows.count_rows():
        store.remove(table, which, {mark: 1})
        return
    reader = rows.scanner().to_reader()
    store.write_once(target, reader, mark, 1, instead_of=which, schema_mode="merge")


def _told_done(url: str, todo: Swap) -> Swap:
    _tell(url, todo, "done")
    return Swap(**vars(todo) | {"is_done": True})


def _tell(url: str, todo: Swap, state: str) -> bool:
    import pyarrow as pa

    texts = ("action", "version", "days", "before", "state")
    fields = {"number": pa.int64(), **dict.fromkeys(texts, pa.string())}
    schema = pa.schema(fields | {"at": pa.timestamp("us", "UTC")})
    row = {
        "number": todo.number,
        "action": todo.action,
        "version": todo.version,
        "days": json.dumps([str(day) for day in todo.days]),
        "before": json.dumps(todo.before),
        "state": state,
        "at": datetime.now(UTC),
    }
    where = store.place(url, SWAPS)
    store.make_table(where, schema, [])
    data = pa.Table.from_pylist([row], schema)
    return store.write_once(where, data, "swaps", 2 * todo.number + (state == "done"))


def _span(days: list[date]) -> str:
    return f"{days[0]} to {days[-1]}"
