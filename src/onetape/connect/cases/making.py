"""Cases from the input itself: a second engine runs what was read, and keeps what is around a row.

    maker = Maker(pipeline, "spoof", framing, midnight_ns, before_ns=..., after_ns=...)
    for case in maker.feed(buffer, begin, end): ...     # those whose evidence is whole
    for case in maker.finish(): ...                     # those that the end of the input cut short

It is fed the frames of the tape, so a case is a function of the tape alone: a run that is resumed,
or a tape that is read again, makes the same. The engine stops behind each event that made a row of
the output, so the book of a case is the book right after its cause. Of the events of all sources
those of the last `before_ns` and of what waits are in memory.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from onetape.compiled.frame import END, frame_bytes, frame_kind, frame_length
from onetape.compiled.kernel import kernel
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline, Source
from onetape.engine.layout import EVENT_ROOT, FAR
from onetape.engine.planner import plan
from onetape.market.view import all_levels
from onetape.records.declare import copied, raw_rows

BOOK_LEVELS = 10
Levels = list[tuple[int, int, int]]  # price_ticks, qty_lots, orders_count; the best first


@dataclass
class Case:
    """A row, what caused it, and what was around it.

    cause     (source, its event as a row), or None: a timer or a gap
    books     {source: (bids, asks)} of the case's instrument, right after the cause
    evidence  {source: rows} from `begin_ns` to `end_ns`, both included
    """

    row: Any
    origin: Any
    begin_ns: int
    end_ns: int
    cause: tuple[Source, Any] | None = None
    books: dict[str, tuple[Levels, Levels]] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    is_complete: bool = False


@kernel
def first_end(buffer, at, end):
    """Where the first END frame of buffer[at:end] begins, or `end`."""
    while at < end and frame_kind(buffer, at) != END:
        at += frame_bytes(frame_length(buffer, at))
    return at


class Maker:
    """Makes the cases of one output of a pipeline. One thread at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        output: str,
        framing: dict[str, str],
        midnight_ns: int,
        *,
        before_ns: int,
        after_ns: int,
    ) -> None:
        self.sources, self._output = pipeline.sources, output
        self._before_ns, self._after_ns = before_ns, after_ns
        events = {f"events of {source.name}": source.stream() for source in self.sources}
        self._names = dict(zip(events, self.sources, strict=True))
        planned = plan(Pipeline(**pipeline.outputs | events), framing)
        self.engine = Engine(planned, stops=[output])
        for n, source in enumerate(self.sources):
            if source.feed:
                self.engine.arrays[f"n{n}_feed"]["midnight_ns"] = midnight_ns
        self._kept: dict[str, deque[Any]] = {source.name: deque() for source in self.sources}
        self._last: dict[str, tuple[Any, Any]] = {}  # of each source: the newest block
        self._waiting: list[Case] = []

    def feed(self, buffer: Any, begin: int, end: int) -> Iterator[Case]:
        """The cases that are complete when these frames have been read."""
        while begin < end:
            # An END frame moves time to the end of all time: what was reached is seen before it.
            stop = int(first_end(buffer, begin, end))
            if stop == begin:
                stop = begin + int(frame_bytes(frame_length(buffer, begin)))
            for made in self.engine.turns(buffer, begin, stop):
                self._take(list(made))
            yield from self._complete()
            begin = stop

    def finish(self) -> Iterator[Case]:
        """Those that wait for events which will not come."""
        for case in self._waiting:
            yield self._with_evidence(case)
        self._waiting = []

    @property
    def following(self) -> int:
        """Offset of the frame to be fed next."""
        run = self.engine.run[0]
        return int(run["offset"]) + 1 if run["frames"] else 0

    def symbols(self) -> dict[str, Any]:
        """Words of the symbols of each feed's instruments, by locate code."""
        return {s.name: self.engine.feed_state(s.name)["symbols"] for s in self.sources if s.feed}

    # --- rows of one turn -------------------------------------------------------------------------

    def _take(self, made: list[tuple[str, Any, Any]]) -> None:
        for name, rows, origins in made:
            if name in self._names:
                source = self._names[name].name
                block = copied(rows), origins.copy()
                self._kept[source].append(block[0])
                self._last[source] = block
        for name, rows, origins in made:
            if name == self._output:
                for row, origin in zip(copied(rows), origins.copy(), strict=True):
                    self._open(row, origin)

    def _open(self, row: Any, origin: Any) -> None:
        ts_ns = int(row["ts_event_ns"])
        case = Case(row, origin, ts_ns - self._before_ns, ts_ns + self._after_ns)
        if origin["root"] == EVENT_ROOT:
            source = self.sources[int(origin["source"])]
            rows, origins = self._last[source.name]
            found = np.flatnonzero(origins["sequence"] == origin["sequence"])
            case.cause = (source, rows[found[-1]]) if len(found) else None
        for n, node in enumerate(self.engine.plan.pipeline.nodes):
            tables = getattr(getattr(node, "spec", None), "tables", None) or ()
            if {"sides", "levels"} <= set(tables):
                feed = next(s for s in self._sources_of(node) if s.feed == "itch")
                instrument = self.instrument(case, feed)
                if instrument is not None and feed.name not in case.books:
                    case.books[feed.name] = self._book(f"n{n}", instrument)
        self._waiting.append(case)

    def _sources_of(self, node: Any) -> list[Source]:
        if isinstance(node, Source):
            return [node]
        return [source for _, stream in node.inputs for source in self._sources_of(stream.node)]

    def _book(self, label: str, instrument: int) -> tuple[Levels, Levels]:
        arrays = self.engine.arrays
        book = SimpleNamespace(sides=arrays[f"{label}_sides"], levels=arrays[f"{label}_levels"])
        bids, asks = (all_levels(book, instrument, side)[:BOOK_LEVELS] for side in (0, 1))
        return bids, asks

    # --- evidence ---------------------------------------------------------------------------------

    def _complete(self) -> Iterator[Case]:
        reached_ns = int(self.engine.run["watermark_ns"][0])
        if reached_ns >= FAR:
            return
        for case in [case for case in self._waiting if case.end_ns < reached_ns]:
            case.is_complete = True
            self._waiting.remove(case)
            yield self._with_evidence(case)
        needed_ns = min([reached_ns - self._before_ns, *(c.begin_ns for c in self._waiting)])
        for blocks in self._kept.values():
            while blocks and int(blocks[0]["ts_event_ns"].max()) < needed_ns:
                blocks.popleft()

    def _with_evidence(self, case: Case) -> Case:
        for source in self.sources:
            blocks = self._kept[source.name]
            found = [self._chosen(case, source, rows) for rows in blocks]
            case.evidence[source.name] = (
                np.concatenate([raw_rows(rows) for rows in found]).view(source.of.dtype)
                if found
                else np.empty(0, source.of.dtype)
            )
        return case

    def _chosen(self, case: Case, source: Source, rows: Any) -> Any:
        """The rows of the case's account or instrument, in its time."""
        times = rows["ts_event_ns"]
        wanted = (times >= case.begin_ns) & (times <= case.end_ns)
        account, instrument = told(case, "account_id"), self.instrument(case, source)
        if "account_id" in rows.dtype.names and account is not None:
            wanted &= rows["account_id"] == account
        elif "instrument_id" in rows.dtype.names and instrument is not None:
            wanted &= rows["instrument_id"] == instrument
        elif "asset_id" in rows.dtype.names and (asset := told(case, "asset_id")) is not None:
            wanted &= rows["asset_id"] == asset
        return raw_rows(rows)[wanted].view(rows.dtype)

    def instrument(self, case: Case, source: Source) -> int | None:
        """The case's instrument as a source numbers it; None: not known."""
        if case.cause is None or case.cause[0] is source:
            return told(case, "instrument_id")
        word = told(case, "symbol_word")
        if word is None or source.feed != "itch":
            return None
        found = np.flatnonzero(self.symbols()[source.name].view(np.uint64) == word)
        return int(found[0]) if len(found) else None


def told(case: Case, name: str) -> int | None:
    """What the cause, or else the row itself, says."""
    for row in ([case.cause[1]] if case.cause else []) + [case.row]:
        if name in row.dtype.names:
            return int(row[name])
    return None
