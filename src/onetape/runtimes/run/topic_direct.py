"""Rows of a node into a topic as soon as they are made, without transactions: `--transaction 0`.

What the blocks of the input make is a function of the input, so rows need not wait: neither for the
disk (a tape that a power cut shortened is filled from the topic again, and makes the same rows) nor
for a transaction of many.

Who writes is settled in the topic itself. A node that begins reads what is there, puts a WRITER
block behind it, with a number above all others, and reads up to that: what stands before it is
there, and what a node that was thought dead still writes behind it is passed over by whoever reads
(`answer.Writers`). Once a second the node notes how far it has got, and looks whether another has
taken over.

A note can come late, over that of a newer node, so it must hold whoever has begun since: it counts
what stands before an offset, and is made only while all records up to there, from the own WRITER
on, are the own ones. Offsets tell: where one is passed over, somebody else's record stands.

What a deploy changes is on the tape alone: rows behind it wait until it is durable there.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from onetape.connect.kafka.publisher import Reached
from onetape.connect.kafka.topics import end_of
from onetape.engine.planner import Plan
from onetape.records import OperatorError
from onetape.records.declare import copied
from onetape.runtimes.run.topic_outlet import TopicOutlet

GATHER_S = 0.004  # of a busy node: rows of a moment go out together, since a block wakes others
NOTE_S = 1.0  # between notes: what a node that goes on has to read is what came since


class DirectOutlet(TopicOutlet):
    """As a `TopicOutlet`; `publisher` has the group, and no transactional id."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self._must_be_durable = False
        self._held: list[tuple[str, Any, Any, int, int]] = []  # rows behind a deploy, until then
        self._behind = 0  # offset behind what the last note counts
        super().__init__(*given, **options)

    def follow(self, planned: Plan) -> None:
        super().follow(planned)
        self._must_be_durable = True

    def take(self, name: str, rows: Any, origins: Any, first: int, ts_made_ns: int) -> None:
        if not self._must_be_durable or not len(rows):
            super().take(name, rows, origins, first, ts_made_ns)
            return
        self._since_s = self._since_s or time.monotonic()
        self._barrier = max(self._barrier, int(origins["tape_offset"][-1]) + 1)
        self._held.append((name, copied(rows), origins.copy(), first, ts_made_ns))

    def tend(self, durable: Callable[[], int], is_still: bool = False) -> None:
        now_s = time.monotonic()
        if self._must_be_durable and self._since_s is not None:
            if not self._is_durable(durable):
                return
            self._release()
        if self._since_s is not None and (is_still or now_s - self._since_s >= GATHER_S):
            self._put_all()
            self._check_alone()
            self._since_s = None
        if self._reached != self._committed and now_s - self._told_s >= NOTE_S:
            self._note(wait=False)

    def commit(self) -> None:
        self._release()
        self._put_all()
        self._note(wait=True)
        self._since_s = None

    def _release(self) -> None:
        """The tape has the deploy. Whose rows are there is noted before the first one is."""
        if self._must_be_durable:
            self._must_be_durable = False
            self._note(wait=True)
        held, self._held = self._held, []
        for one in held:
            super().take(*one)

    def _note(self, *, wait: bool) -> None:
        """How far it has got. Rows that wait are not there yet; they are made again."""
        self._publisher.flush()
        self._check_alone()
        found = self._publisher.committed(self._input)
        if found is not None and self._read_note(found.note).get("writer", 0) > self.writer:
            raise self._taken_over()
        self._behind = self._publisher.next_offsets.get((self._topic, 0), self._behind)
        self._publisher.note(self._said(), wait=wait)
        self._committed, self._told_s = dict(self._reached), time.monotonic()

    def _check_alone(self) -> None:
        """OperatorError: a record of somebody else stands among those of this node."""
        at = self._publisher.between.get((self._topic, 0))
        if at is not None:
            raise self._taken_over(f" (offset {at} is not this one's)")

    def _taken_over(self, why: str = "") -> OperatorError:
        return OperatorError(
            f"writing to topic {self._topic}: another node has taken over; this one's rows do not "
            f"count any more{why}"
        )

    def _begin(self, note: Mapping[str, Any]) -> None:
        behind = note.get("out")
        if behind is None:  # nothing is there, or all of it was written in transactions
            behind = end_of(self._publisher.settings, self._topic)
        self._behind = behind
        self._publisher.note(self._said())  # the topic's records are known to be ours
        self._take_over(behind, self._publisher.flush)
        self._note(wait=True)

    def _said(self) -> list[Reached]:
        return self._places(out=self._behind)
