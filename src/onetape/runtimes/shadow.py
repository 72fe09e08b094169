"""A new version in the shadow of the running one: both on the same frames, what differs is counted.

Neither is the node: two engines here follow its durable tape, from its newest checkpoint on, the
new one with the state that it would take over there. Rows are paired by what caused them.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.frame import frame_bytes, frame_length, frame_offset
from onetape.engine.engine import Engine
from onetape.engine.frames import Run
from onetape.records import OnetapeError, OperatorError
from onetape.records.declare import raw_rows
from onetape.runtimes.batch import set_midnight
from onetape.runtimes.course import Course, Versions
from onetape.runtimes.edge.follower import newest
from onetape.tape.inspect import is_open
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

SHOWN = 3  # rows that differ, of each output
PAUSE_S = 0.05
CAUSE = ("root", "source", "sequence", "key")


@dataclass
class Compared:
    """The rows of one output."""

    equal: int = 0
    differ: int = 0
    only_old: int = 0
    only_new: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Shadow:
    """What a shadow run came to: frames first to last, and how many events were in them."""

    first: int
    last: int
    events: int
    outputs: dict[str, Compared]

    def is_equal(self) -> bool:
        return not any(c.differ or c.only_old or c.only_new for c in self.outputs.values())


def run(
    folder: Path,
    facts: dict[str, Any],
    version: str,
    *,
    back: bool = False,
    drop_state: bool = False,
    seconds: float = 0,
    events: int = 0,
) -> Shadow:
    """Both versions over the tape since the last checkpoint, and on for `seconds` or `events`.

    facts  of the node: see `edge/control.py`
    """
    manifest = read_facts(str(folder)).manifest
    versions = Versions(folder, manifest, sampled=facts["sampled"])
    old, start = _at_start(folder, manifest, versions, facts)
    new, _ = _at_start(folder, manifest, versions, facts)
    driver = versions.plan(version).driver
    order = {"swap": version, "driver": driver, "back": back, "drop_state": drop_state}
    _take_over(new, order)
    names = {**old.engine.plan.pipeline.outputs, **new.engine.plan.pipeline.outputs}
    made = Shadow(start, start, 0, {name: Compared() for name in names})
    began_s, begun = time.monotonic(), int(old.engine.run["events"][0])
    while True:
        goes_on = is_open(str(folder))  # asked first: then all that it wrote is read below
        for buffer, begin, end in read_segments(folder, made.last):
            pair = [_rows(course, buffer, begin, end) for course in (old, new)]
            if old.name != facts["version"]:
                raise OperatorError("another version has taken over meanwhile; deploy again")
            for name, compared in made.outputs.items():
                compare(compared, *pair[0][name], *pair[1][name])
            made.last = int(old.engine.run["offset"][0]) + 1
            made.events = int(old.engine.run["events"][0]) - begun
        passed = time.monotonic() - began_s >= seconds
        if passed and made.events >= events:
            _take_over(old, order)  # with the state of now, as the node will
            return made
        if not goes_on:
            raise OperatorError(
                f"the node on {folder} has ended: {made.events:,} events were compared"
                + (f", of {events:,}" if events else "")
                + "; nothing was deployed"
            )
        time.sleep(PAUSE_S)


def _take_over(course: Course, order: dict[str, Any]) -> None:
    """Rehearse it: what would halt the node is met here."""
    try:
        course.swap(order)
    except OnetapeError:
        raise
    except Exception as why:
        raise OperatorError(
            f"migrate raised {type(why).__name__}: {why}; on the node it would halt the pipeline. "
            "Nothing was deployed"
        ) from why


def _at_start(
    folder: Path, manifest: dict[str, Any], versions: Versions, facts: dict[str, Any]
) -> tuple[Course, int]:
    """The running version at the newest checkpoint of it, or where it took over; (it, offset)."""
    engine = Engine(versions.plan(versions.first))
    set_midnight(engine, manifest["midnight_ns"])
    course = Course(engine, versions, versions.first)
    found, _ = newest(folder, versions.drivers)
    if found is not None:
        course.restore(found)
    first = found.offset if found is not None else 0
    start = max(first, facts["since"] + 1 if facts["since"] else 0)
    for buffer, begin, end in _until(folder, first, start):
        for _ in course.feed(buffer, begin, end):
            pass
    return course, start


def _until(folder: Path, first: int, stop: int) -> Iterator[Run]:
    """The frames `first` to before `stop`."""
    if first == stop:
        return
    for buffer, begin, end in read_segments(folder, first):
        at = begin
        while at < end and int(frame_offset(buffer, at)) < stop:
            at += int(frame_bytes(frame_length(buffer, at)))
        if at > begin:
            yield buffer, begin, at
        if at < end:
            return


def _rows(course: Course, buffer: Any, begin: int, end: int) -> dict[str, tuple[Any, Any]]:
    """{output: (rows, origins)} of some frames."""
    found, dtypes = defaultdict(list), {}
    for name, rows, origins in course.feed(buffer, begin, end):
        found[name].append((raw_rows(rows).copy(), origins.copy()))
        dtypes[name] = rows.dtype
    empty: tuple[Any, Any] = (np.zeros(0), np.zeros(0))
    joined = {}
    for name, parts in found.items():
        rows, origins = map(np.concatenate, zip(*parts))
        joined[name] = rows.view(dtypes[name]), origins
    return defaultdict(lambda: empty, joined)  # type: ignore[arg-type]


def compare(compared: Compared, rows: Any, origins: Any, new_rows: Any, new_origins: Any) -> None:
    """Add the rows of one output, old and new, made by the same frames."""
    if not len(rows) and not len(new_rows):
        return
    old, new = _by_cause(rows, origins), _by_cause(new_rows, new_origins)
    for cause in {**old, **new}:
        was, now = old.get(cause), new.get(cause)
        if was is not None and now is not None and was.tobytes() == now.tobytes():
            compared.equal += 1
            continue
        kind = "only_old" if now is None else "only_new" if was is None else "differ"
        setattr(compared, kind, getattr(compared, kind) + 1)
        if len(compared.first) < SHOWN:
            named = dict(zip((*CAUSE, "number"), cause))
            compared.first.append({"cause": named, "old": _plain(was), "new": _plain(now)})


def _by_cause(rows: Any, origins: Any) -> dict[tuple[int, ...], Any]:
    """Each row by what caused it and its number among the rows of that cause."""
    seen: dict[tuple[int, ...], int] = defaultdict(int)
    found = {}
    causes = zip(*(origins[name].tolist() for name in CAUSE)) if len(rows) else ()
    for cause, row in zip(causes, rows):
        found[(*cause, seen[cause])] = row
        seen[cause] += 1
    return found


def _plain(row: Any) -> dict[str, Any] | None:
    return None if row is None else {n: row[n].tolist() for n in row.dtype.names}


def lines_of(shadow: Shadow) -> list[str]:
    """For people."""
    lines = [
        f"in the shadow: {shadow.events:,} events, frames {shadow.first:,} to {shadow.last - 1:,}",
        f"  {'output':16s} {'equal':>10s} {'differ':>8s} {'only old':>9s} {'only new':>9s}",
    ]
    for name, c in shadow.outputs.items():
        lines.append(
            f"  {name:16s} {c.equal:>10,} {c.differ:>8,} {c.only_old:>9,} {c.only_new:>9,}"
        )
    for name, c in shadow.outputs.items():
        for one in c.first:
            lines.append(f"  {name}, caused by {_cause_text(one['cause'])}")
            lines += [f"    {what}: {_row_text(one[what])}" for what in ("old", "new")]
    return lines


def _cause_text(cause: dict[str, int]) -> str:
    if cause["root"] == 1:
        return f"the timer of {cause['key']} due at {cause['sequence']}"
    return f"sequence {cause['sequence']} of source {cause['source']}"


def _row_text(row: dict[str, Any] | None) -> str:
    return "no row" if row is None else ", ".join(f"{n}={value}" for n, value in row.items())
