"""The state of a pipeline at a moment of its tape: the book at 10:31:07.2.

The newest checkpoint at or before the moment is put back and the tape run from there. A time may
lie within a frame: that one is run in plain Python, which stops before the first event after it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from onetape.codecs.feed import EVENT
from onetape.compiled.frame import DATA, frame_kind
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan
from onetape.engine.state import newest_event_ns
from onetape.records import OperatorError
from onetape.runtimes.dev.replay import Replay
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.runtimes.state.tables import LEVELS, tables_of
from onetape.tape.checkpoint_manifest import Manifest
from onetape.tape.reader import frames

DAY_NS = 86_400 * 10**9
CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?")


class Reached(NamedTuple):
    """An engine at the moment that was asked for."""

    engine: Engine
    offset: int  # of the frame it stands before, or within
    event: int  # of that frame, that it stands before; 0: nothing of the frame was run
    from_offset: int  # of the checkpoint it began with; 0: the tape's first frame


def state_at(
    pipeline: Pipeline | str,
    tape: str | Path,
    *,
    time: str | int | None = None,
    offset: int | None = None,
    levels: int = LEVELS,
) -> dict[str, Any]:
    """What each operator held at a moment of a tape: {name of the node: pyarrow Table}.

    time    '10:31:07.2' on the tape's trading date (of a venue's feed: in the venue's time zone;
            else UTC), '2026-01-05T15:31:07.2Z', or ns: the state before the first event after it
    offset  before this frame. Neither: at the end of the tape
    levels  of each side of a book

    A book has a row a level, best first; an operator one a key; a window one for each pane that is
    open; what a pattern holds is not told. It is run from the checkpoint before: a moment of a long
    day takes as long as the tape from there takes.

    ```python
    import pyarrow.compute as pc

    def best_prices(tape: str, time: str):
        book = ot.state_at("standard", tape, time=time)["Book"]
        return book.filter(pc.field("level") == 1)
    ```
    """
    if isinstance(pipeline, str):
        pipeline = load_pipeline(pipeline)
    reached = reach(pipeline, Path(tape), Progress(quiet=True), time=time, offset=offset)
    return tables_of(reached.engine, levels, tape)


def reach(
    pipeline: Pipeline,
    tape: Path,
    progress: Progress,
    *,
    time: str | int | None = None,
    offset: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Reached:
    """Bring an engine to the moment; see `state_at`.

    say  is told of damaged checkpoints, and of a time after the last event
    """
    if time is not None and offset is not None:
        raise OperatorError("a time and an offset were given; expected one of the two")
    replay = Replay(pipeline, tape, progress)
    if time is None:
        return _before_frame(replay, replay.end if offset is None else offset, say)
    until_ns = _moment_ns(replay, time)
    began = replay.restore_newest(lambda m: _is_before(m, until_ns), f"time {time}", say)
    place, last_ns = _first_after(replay, until_ns)
    if last_ns is not None and last_ns < until_ns:
        say(f"the tape ends at {_told(replay, time, last_ns)}; this is the state at its end")
    if place == replay.end:
        return Reached(replay.engine, place, 0, began)
    again = Replay(pipeline, tape, progress)
    again.restore_newest(lambda m: m.offset <= began, f"time {time}", say)
    for at, frame in again.frames():
        if at < place:
            for _ in again.run(frame):
                pass
            continue
        event = _stop_within(again.engine, frame, until_ns)
        progress.close()
        return Reached(again.engine, at, event, began)
    raise AssertionError(f"frame {place} is durable and was not read")


def _before_frame(replay: Replay, offset: int, say: Callable[[str], None]) -> Reached:
    if not replay.first <= offset <= replay.end:
        raise OperatorError(
            f"{replay.folder} has the frames {replay.first} to {replay.end - 1}; the state before "
            f"frame {offset} was asked for"
        )
    began = replay.restore_newest(lambda m: m.offset <= offset, f"frame {offset}", say)
    if replay.offset < offset:
        for at, frame in replay.frames():
            for _ in replay.run(frame):
                pass
            if at + 1 == offset:
                break
    replay.close()
    return Reached(replay.engine, offset, 0, began)


def _is_before(manifest: Manifest, until_ns: int) -> bool:
    event_ns = manifest.header.get("event_ns")
    return event_ns is not None and event_ns <= until_ns and not manifest.header.get("has_ended")


def _first_after(replay: Replay, until_ns: int) -> tuple[int, int | None]:
    """Offset of the first frame that leads beyond the time, or behind the last; then also the time
    of the last event, else None."""
    last_ns = newest_event_ns(replay.engine)
    for at, frame in replay.frames():
        for _ in replay.run(frame):
            pass
        reached_ns = newest_event_ns(replay.engine)
        has_ended = bool(replay.engine.sources["ended"].all())
        if has_ended or (reached_ns or 0) > until_ns:
            replay.close()
            return at, last_ns if has_ended else None
        last_ns = max(reached_ns or 0, last_ns or 0) or None
    replay.close()
    return replay.end, last_ns


def _stop_within(engine: Engine, frame: Any, until_ns: int) -> int:
    """Run the frame's events up to the time, in plain Python; how many those are."""
    buffer, begin, _ = frame
    if int(frame_kind(buffer, begin)) != DATA:
        return 0
    before, clock = int(engine.run["events"][0]), _Clock(until_ns)
    try:
        with engine.in_plain_python(clock.plan(engine)):
            for _ in engine.feed(*frame):
                pass
    except _Late:
        return clock.events
    return int(engine.run["events"][0]) - before


class _Late(BaseException):
    """The next event is after the time. Not an Exception: it is nobody's error."""


class _Clock:
    """Looks at each event as the driver reads it, and stops it at the first after `until_ns`."""

    def __init__(self, until_ns: int) -> None:
        self.until_ns, self.events = until_ns, 0
        self._last: tuple[int, int] | None = None  # of records: which event was read last

    def plan(self, engine: Engine) -> Plan:
        names = dict(engine.plan.names)
        for name, thing in names.items():
            if re.fullmatch(r"n\d+_next", name):
                names[name] = self._feed(engine, int(name[1:-5]), thing)
        if "row_at" in names:
            names["row_at"] = self._record(names["row_at"])
        return replace(engine.plan, names=names)

    def _feed(self, engine: Engine, number: int, step: Any) -> Any:
        def watched(*arguments: Any) -> Any:
            at, result = step(*arguments)
            if result == EVENT:
                self._look(int(engine.arrays[f"x{number}_events"]["ts_event_ns"][0]))
            return at, result

        return watched

    def _record(self, row_at: Any) -> Any:
        def watched(like: Any, buffer: Any, at: int) -> Any:
            found = row_at(like, buffer, at)
            if self._last != (id(like), at):  # read first for its time, then for itself
                self._last = id(like), at
                self._look(int(found.ts_event_ns))
            return found

        return watched

    def _look(self, ts_ns: int) -> None:
        if ts_ns > self.until_ns:
            raise _Late
        self.events += 1


def _moment_ns(replay: Replay, time: str | int) -> int:
    return time if isinstance(time, int) else _parsed_ns(time, lambda: _midnight_ns(replay))


def _parsed_ns(time: str, midnight_ns: Callable[[], int]) -> int:
    """'10:31:07.2' or '2026-01-05T10:31:07.2Z' as ns since 1970."""
    day, _, clock = time.replace(" ", "T").rpartition("T")
    found = CLOCK.fullmatch(clock.removesuffix("Z"))
    try:
        began = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) if day else None
        if found is None or any(
            int(part or 0) >= most for part, most in zip(found.groups(), (24, 60, 60), strict=False)
        ):
            raise ValueError
    except ValueError:
        raise OperatorError(
            f"the time was {time!r}; expected 10:31:07.2, or 2026-01-05T15:31:07.2Z (UTC)"
        ) from None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    since_ns = ((hours * 60 + minutes) * 60 + seconds) * 10**9
    since_ns += int((found[4] or "").ljust(9, "0"))
    return since_ns + (midnight_ns() if began is None else int(began.timestamp()) * 10**9)


def _told(replay: Replay, asked: str | int, ts_ns: int) -> str:
    """A time in the form that one was asked for: of the day, or UTC."""
    if isinstance(asked, str) and "T" not in asked.replace(" ", "T"):
        since_ns = ts_ns - _midnight_ns(replay)
        if 0 <= since_ns < DAY_NS:
            return str(np.datetime64(since_ns, "ns")).partition("T")[2]
    return f"{np.datetime64(ts_ns, 'ns')}Z"


def _midnight_ns(replay: Replay) -> int:
    """Of the trading date; of records that are no venue's, of the UTC day of the first one."""
    sources = replay.engine.plan.pipeline.sources
    if any(source.feed for source in sources):
        return int(replay.manifest["midnight_ns"])
    for header, payload in frames(replay.folder, replay.first):
        if header.kind == DATA:
            of = sources[header.source_id & 255].of
            first = np.frombuffer(payload, of.dtype, 1)
            return int(first["ts_event_ns"][0]) // DAY_NS * DAY_NS
    return 0
