"""Rows of a node into topics, exactly once: in transactions that hold how far they have got.

With each transaction the group `onetape.TOPIC` commits the offsets that the input was read to, and
beside them a note: how many rows and blocks of each output have been written in all. A node that
goes on (or takes over, on another machine with a new tape) makes the rows again, which are the same
rows, and passes over as many as the note says. The transactional id is the group's name, so of two
nodes that write a topic the newer shuts out the older.

A transaction is committed when the frames that its rows come of are durable on the tape, so readers
of what is committed never see a row that a power cut takes back.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import numpy as np

from onetape.codecs.block import END, WRITER, BlockError, Header, encode_json, read_header
from onetape.connect.kafka.events import Spreader
from onetape.connect.kafka.publisher import Publisher, Reached, Record
from onetape.connect.kafka.subscriber import Taken
from onetape.connect.kafka.topics import end_of, last_record, records_behind
from onetape.engine.blocks import encode_rows
from onetape.engine.graph import Pipeline
from onetape.engine.layout import ORIGIN
from onetape.engine.planner import Plan
from onetape.records import IntegrityError, OperatorError, empty_block
from onetape.records.declare import raw_rows
from onetape.records.types import UNSET
from onetape.runtimes.answer import Writers

ROWS_MAX = 4096  # of a block
BLOCK_BYTES = 1 << 19  # of its rows, as they are: brokers take 1 MiB unless they are told otherwise
EVERY_S = 0.05
DURABLE_S, PAUSE_S = 5.0, 0.0002
IDLE_S = 1.0  # between transactions that only say how far the input was read


def group_of(topic: str) -> str:
    """The group and the transactional id of the node that writes a topic."""
    return f"onetape.{topic}"


class TopicOutlet:
    """Give it all rows in order (`take`), tell it what was run (`passed`), and `tend` it.

    input_topic   whose offsets are committed
    spreader      one event a record, to its topics; None: blocks
    drivers       of the versions of the pipeline that may have written what is there
    """

    def __init__(
        self,
        pipeline: Pipeline,
        publisher: Publisher,
        input_topic: str,
        topic: str,
        *,
        driver: str,
        drivers: Mapping[str, Any],
        spreader: Spreader | None = None,
        every_s: float = EVERY_S,
        codec: str = "lz4",
    ) -> None:
        self._pipeline, self._publisher, self._input = pipeline, publisher, input_topic
        self._topic, self._driver, self._spreader = topic, driver, spreader
        self._every_s, self._codec = every_s, codec
        self._waiting: dict[str, _Waiting] = {}
        self._committed: dict[int, int] = {}  # offsets of the input
        self._barrier = 0  # frames before it must be durable: rows come of them
        self._since_s: float | None = None  # when what is not committed began
        self._told_s = time.monotonic()
        self.transactions = 0
        note = self._note_that_is_there(drivers)
        self._reached = dict(self._committed)
        self.rows: dict[str, int] = note["rows"]  # that are committed, or will be by the next one
        self._blocks: dict[str, int] = note["blocks"]
        self._ended: bool = note["ended"]
        self.writer: int = note.get("writer", 0)
        self._begin(note)
        self.delivered = dict(self.rows)

    def take(self, name: str, rows: Any, origins: Any, first: int, ts_made_ns: int) -> None:
        """The next rows of an output; `first` is the number of the first among all of its rows."""
        written = self.rows.get(name, 0)
        skip = max(written - first, 0)
        if skip >= len(rows):
            return
        rows, origins = rows[skip:], origins[skip:]
        self.rows[name] = written + len(rows)
        self._since_s = self._since_s or time.monotonic()
        self._barrier = max(self._barrier, int(origins["tape_offset"][-1]) + 1)
        if self._spreader is not None:
            for record in self._spreader.records(name, rows):
                self._publisher.put(record)
            return
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = _Waiting(self._pipeline.outputs[name].of)
        at = 0
        while at < len(rows):
            at += waiting.take(rows[at:], origins[at:], ts_made_ns)
            if waiting.count == len(waiting.rows):
                self._put(name, waiting)

    def end_with(self, asked: threading.Event) -> None:
        """Once it is set, brokers that are away are not waited for."""
        self._publisher.leaves = asked

    def follow(self, planned: Plan) -> None:
        """Another version of the pipeline goes on."""
        self._pipeline, self._driver = planned.pipeline, planned.driver

    def passed(self, reached: Mapping[int, int]) -> None:
        """All rows of the input up to there were given."""
        self._reached |= reached

    def tend(self, durable: Callable[[], int], is_still: bool = False) -> None:
        """Commit, if it is time; the journal is waited for, while the rows are on their way.

        is_still  there are no more rows on their way through the node
        """
        now_s = time.monotonic()
        is_due = self._since_s is not None and now_s - self._since_s >= self._every_s
        if not is_due and self._reached != self._committed:
            is_due = now_s - self._told_s >= IDLE_S
        if not is_due:
            return
        self._put_all()
        if self._is_durable(durable):
            self.commit()

    def _is_durable(self, durable: Callable[[], int]) -> bool:
        """Wait for the journal. If it takes too long the node will say what is wrong with it."""
        end_s = time.monotonic() + DURABLE_S
        while durable() < self._barrier:
            if time.monotonic() > end_s:
                return False
            time.sleep(PAUSE_S)
        return True

    def commit(self) -> None:
        """What was taken, and how far the input has been run, together."""
        self._put_all()
        self._publisher.commit(self._places())
        self._committed = dict(self._reached)
        self._since_s, self._told_s = None, time.monotonic()
        self.transactions += 1

    def _places(self, **more: Any) -> list[Reached]:
        """How far the input has been run, and the note, with what more it is to say."""
        waiting = {name: one.count for name, one in self._waiting.items()}
        there = {name: count - waiting.get(name, 0) for name, count in self.rows.items()}
        said = {"driver": self._driver, "rows": there, "blocks": self._blocks}
        said |= {"ended": self._ended, "writer": self.writer} | more
        note = json.dumps(said, separators=(",", ":"))
        places = {0: 0} | self._reached
        return [
            Reached(self._input, n, at, note if i == 0 else "")
            for i, (n, at) in enumerate(sorted(places.items()))
        ]

    def finish(self, facts: Mapping[str, Any], *, ended: bool) -> None:
        """The last transaction. With the end of the input goes the END of the stream of rows."""
        if ended and not self._ended:
            self._ended = True
            if self._spreader is None:
                self._put_all()
                told = {
                    "events": facts["messages"],
                    "rows": facts["rows"],
                    "blocks": {name: self._blocks.get(name, 0) for name in facts["rows"]},
                    "late": facts["late"],
                    "bad": facts["bad_frames"] + facts["bad_events"],
                    "state_digest": facts["state_digest"],
                    "driver": self._driver,
                }
                self._publisher.put(
                    Record(self._topic, encode_json(Header(END, writer=self.writer), told), 0)
                )
            self.commit()
        elif self._since_s is not None or self._reached != self._committed:
            self.commit()

    def _put_all(self) -> None:
        for name, waiting in self._waiting.items():
            if waiting.count:
                self._put(name, waiting)

    def _put(self, name: str, waiting: "_Waiting") -> None:
        header = Header(
            END,  # encode_rows sets the kind
            writer=self.writer,
            ordinal=self._blocks.get(name, 0),
            name=name,
            ts_made_ns=waiting.ts_made_ns,
            codec=self._codec,
        )
        self._blocks[name] = header.ordinal + 1
        self._publisher.put(Record(self._topic, waiting.block(header), 0))

    def _note_that_is_there(self, drivers: Mapping[str, Any]) -> dict[str, Any]:
        """What the last transaction says. OperatorError: somebody else's rows are there."""
        found = self._publisher.committed(self._input)
        if found is None or not found.note:
            topics = self._spreader.topics() if self._spreader else [self._topic]
            for topic in topics:
                if last_record(self._publisher.settings, topic, 0) is not None:
                    raise OperatorError(
                        f"topic {topic} holds records, and no note of group "
                        f"{group_of(self._topic)} says up to where; give another --topic-out (was "
                        "it filled from another topic, or did the brokers drop the group's "
                        "offsets: offsets.retention.minutes?)"
                    )
            return {"rows": {}, "blocks": {}, "ended": False}
        note = self._read_note(found.note)
        driver = note["driver"]
        if driver not in drivers and driver != self._driver:
            raise OperatorError(
                f"topic {self._topic} was written by another pipeline (driver {driver}, this one "
                f"is {self._driver}); give the one that wrote it, or another --topic-out"
            )
        if note["blocks"] and not end_of(self._publisher.settings, self._topic):
            raise OperatorError(
                f"topic {self._topic} is empty, and the note of group {group_of(self._topic)} says "
                "that rows are there (was the topic made anew?); give another --topic-out, or "
                "delete the group's offsets and start on a new tape"
            )
        self._committed = {0: found.offset}
        return note

    def _read_note(self, text: str) -> dict[str, Any]:
        """IntegrityError: it is none."""
        try:
            note: dict[str, Any] = json.loads(text)
            counts = [*note["rows"].values(), *note["blocks"].values()]
            counts += [note.get("writer", 0), note.get("out", 0)]
            is_ours = isinstance(note["driver"], str) and isinstance(note["ended"], bool)
            if is_ours and all(type(count) is int and count >= 0 for count in counts):
                return note
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise IntegrityError(
            f"the note of group {group_of(self._topic)} says {text[:60]!r}, which is no note of an "
            "outlet; give another --topic-out"
        )

    def _begin(self, note: Mapping[str, Any]) -> None:
        """Go on behind a node that wrote without transactions, if the last one did."""
        if "out" in note:
            self._take_over(note["out"], self._publisher.commit)

    def _take_over(self, behind: int, send: Callable[[], None]) -> None:
        """Shut out who wrote before, by a WRITER block, and count what stands before it.

        behind  offset behind what the note counts
        """
        number, writers = 0, Writers()
        writers.newest[0] = self.writer
        with closing(records_behind(self._publisher.settings, self._topic, behind)) as records:
            for taken in records:
                if taken is None:  # the end of the topic, as it is now
                    if not number:
                        number = max(time.time_ns(), writers.newest[0] + 1)
                        told = encode_json(Header(WRITER, writer=number), {"driver": self._driver})
                        self._publisher.put(Record(self._topic, told, 0))
                        send()
                    continue
                header = self._header(taken)
                if writers.counts(header):
                    self._count(header)
                if header.kind == WRITER and header.writer == number:
                    break
        self.writer = writers.newest[0]
        if self.writer != number:
            raise OperatorError(
                f"topic {self._topic}: another node began to write to it at the same moment; end "
                "one of them, and start the other again"
            )

    def _header(self, taken: Taken) -> Header:
        try:
            return read_header(taken.value)
        except BlockError as why:
            raise IntegrityError(
                f"topic {self._topic}, offset {taken.offset}: {why}; give another --topic-out"
            ) from None

    def _count(self, header: Header) -> None:
        if header.kind == END:
            self._ended = True
            return
        expected = self._blocks.get(header.name, 0)
        if header.ordinal != expected:
            raise IntegrityError(
                f"topic {self._topic}: {header.place} comes where block {expected} was expected; "
                "its rows are not whole, so give another --topic-out"
            )
        self._blocks[header.name] = expected + 1
        self.rows[header.name] = self.rows.get(header.name, 0) + header.count


class _Waiting:
    """Rows of one output on their way into a block."""

    def __init__(self, of: Any) -> None:
        self.of, self.count, self.ts_made_ns = of, 0, UNSET
        most = max(1, min(ROWS_MAX, BLOCK_BYTES // (of.dtype.itemsize + ORIGIN.itemsize)))
        self.rows, self.origins = empty_block(of, most), np.zeros(most, ORIGIN)

    def take(self, rows: Any, origins: Any, ts_made_ns: int) -> int:
        """Copy as many as there is room for; how many."""
        if self.count == 0:
            self.ts_made_ns = ts_made_ns
        many = min(len(rows), len(self.rows) - self.count)
        at = slice(self.count, self.count + many)
        raw_rows(self.rows)[at] = raw_rows(rows[:many])
        raw_rows(self.origins)[at] = raw_rows(origins[:many])
        self.count += many
        return many

    def block(self, header: Header) -> bytes:
        made = encode_rows(header, self.of, self.rows[: self.count], self.origins[: self.count])
        self.count = 0
        return made
