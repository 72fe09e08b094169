"""A pipeline in a test's hands: rows go in, time goes on, rows come out.

    t = testing.Run(pipeline)
    t.feed(trades=[...], quotes=[...])   # by the names of its sources, one list after the other
    t.advance("5s")                      # nothing comes for five seconds
    t.end()                              # of all sources: windows close
    t.rows("vwap")                       # all rows of an output, as records
    t.take("vwap")                       # those since the last take

It runs as everything else does: compiled, or as plain Python under ONETAPE_MODE=interpreted.
"""

import difflib
from typing import Any

import numpy as np

from onetape.codecs.feed import refusals
from onetape.engine.engine import Counts
from onetape.engine.frames import FramePacker
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.records.types import parse_duration_ns
from onetape.runtimes.batch import set_midnight
from onetape.testing.engines import (
    Clock,
    End,
    Step,
    feed,
    frame_of,
    frames_from,
    new_engine,
    records_of,
)
from onetape.testing.feeding import midnight_in, pieces_of, times_of


class Run:
    """One run of a pipeline. What it was fed is kept: `testing.check(t)` runs it in every way.

    ```python
    t = testing.Run(pipeline).feed([trade]).advance("2s").end()
    assert t.rows("trade") == [trade]
    ```

    midnight_ns  where ITCH messages count their time from (UTC ns); a simulated day brings its own
    """

    def __init__(self, pipeline: Pipeline, *, midnight_ns: int = 0) -> None:
        self.pipeline = pipeline
        self.midnight_ns = midnight_ns
        self.now_ns = 0  # the newest event time, or where `advance` has brought it
        self.steps: list[Step] = []
        self.engine = new_engine(pipeline, midnight_ns=midnight_ns)
        self._packer = FramePacker()
        self._made: dict[str, list[Any]] = {name: [] for name in pipeline.outputs}
        self._taken = dict.fromkeys(pipeline.outputs, 0)
        self._ended: set[int] = set()

    def __repr__(self) -> str:
        made = ", ".join(f"{name} {len(rows)}" for name, rows in self._made.items())
        return f"<run of {self.pipeline!r}: {made} rows>"

    def feed(self, *only: Any, **by_source: Any) -> "Run":
        """Events of the named sources, in order; without a name where there is one source.

        To a source of records: a list of them, or a block. To a feed: MarketEvents, the bytes of
        messages with their lengths, a list of message bodies, or `testing.day(...)`.
        """
        if only:
            if len(only) > 1 or by_source or len(self.pipeline.sources) > 1:
                raise OperatorError(
                    "feed takes rows without a name where there is one source; name each: "
                    + ", ".join(f"{s.name}=[...]" for s in self.pipeline.sources)
                )
            by_source = {self.pipeline.sources[0].name: only[0]}
        for name, given in by_source.items():
            number = self._source(name)
            if number in self._ended:
                raise OperatorError(f"source {name} has ended; feed it before t.end()")
            self.midnight_ns = midnight_in(given, self.midnight_ns)
            set_midnight(self.engine, self.midnight_ns)
            source = self.pipeline.sources[number]
            pieces = pieces_of(source, given, self.midnight_ns)
            times = times_of(source, pieces, self.midnight_ns)
            self.now_ns = max([self.now_ns, *times])
            for data in frames_from(number, pieces):
                self.step(data)
        return self

    def advance(self, by: str | int, *silent: str) -> "Run":
        """Time goes on by so much while these sources (default: all) are silent.

        Event time follows less each source's idle limit: with `idle="1s"`, `advance("5s")` brings
        it to four seconds after the newest event.
        """
        by_ns = parse_duration_ns(by)
        if by_ns <= 0:
            raise OperatorError(f"advance by {by!r}; time only goes on: expected more than 0")
        self.now_ns += by_ns
        names = silent or [s.name for s in self.pipeline.sources]
        for number in map(self._source, names):
            if number not in self._ended:
                self.step(Clock(number, self.now_ns))
        return self

    def end(self, *names: str) -> "Run":
        """These sources (default: all) are complete; when all are, every window closes."""
        for number in map(self._source, names or [s.name for s in self.pipeline.sources]):
            if number not in self._ended:
                self._ended.add(number)
                self.step(End(number))
        return self

    def rows(self, output: str) -> list[Any]:
        """All rows of an output so far, as instances of its record."""
        return list(self._made[self._output(output)])

    def take(self, output: str) -> list[Any]:
        """The rows of an output since the last take."""
        made = self._made[self._output(output)]
        begin, self._taken[output] = self._taken[output], len(made)
        return made[begin:]

    @property
    def counts(self) -> Counts:
        """Events, late and early ones, rows: see `onetape.engine.engine.Counts`."""
        return self.engine.counts()

    @property
    def late(self) -> int:
        """Events older than their source's watermark."""
        return self.counts.late

    @property
    def ahead(self) -> int:
        """Events that windows refused as too far ahead."""
        return self.counts.ahead

    @property
    def refused(self) -> dict[str, int]:
        """What the sources refused, by reason; empty when nothing was."""
        counts = self.counts
        found = {"time out of range": counts.bad_events, "frame of odd size": counts.bad_frames}
        for number, source in enumerate(self.pipeline.sources):
            if source.feed:
                for reason, count in refusals(self.engine.arrays[f"n{number}_feed"]).items():
                    found[reason] = found.get(reason, 0) + count
        return {reason: count for reason, count in found.items() if count}

    def step(self, step: Step) -> None:
        """One frame, as `feed`, `advance` and `end` make them."""
        self.steps.append(step)
        for name, rows, _ in feed(self.engine, [frame_of(self._packer, step)]):
            self._made[name] += records_of(self.pipeline.outputs[name].of, np.array(rows))

    def _source(self, name: str) -> int:
        return index_of(name, [s.name for s in self.pipeline.sources], "source")

    def _output(self, name: str) -> str:
        return list(self._made)[index_of(name, list(self._made), "output")]


def index_of(name: str, known: list[str], what: str) -> int:
    """Where the name is among those known; OperatorError names the nearest."""
    if name in known:
        return known.index(name)
    near = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise OperatorError(f"the pipeline has no {what} {name!r}{hint}; it has {', '.join(known)}")
