"""Rows of a node into a topic as soon as they are made, without transactions: `--transaction 0`.

What the blocks of the input make is a function of the input, so rows need not wait: neither for the
disk (a tape that a power cut shortened is filled from the topic again, and makes the same rows) nor
for a transaction of many.

Who writes is settled in the topic itself. A node that begins puts a WRITER block there, with a
number above all others, and reads up to it: what stands before it is there, and what a node that
was thought dead still writes behind it is passed over by whoever reads (`answer.Writers`). Once a
second the node notes how far it has got, and looks whether another has taken over.

What a deploy changes is on the tape alone: rows behind it wait until it is durable there.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from onetape.connect.kafka.publisher import Reached
from onetape.connect.kafka.topics import end_of
from onetape.engine.planner import Plan
from onetape.records import OperatorError
from onetape.runtimes.run.topic_outlet import TopicOutlet

GATHER_S = 0.001  # rows of a moment go out together: a block each would cost more than they do
NOTE_S = 1.0  # between notes: what a node that goes on has to read is what came since


class DirectOutlet(TopicOutlet):
    """As a `TopicOutlet`; `publisher` has the group, and no transactional id."""

    def __init__(self, *given: Any, **options: Any) -> None:
        self._must_be_durable = False
        self._behind = 0  # offset behind what the last note counts
        super().__init__(*given, **options)

    def follow(self, planned: Plan) -> None:
        super().follow(planned)
        self._must_be_durable = True

    def tend(self, durable: Callable[[], int]) -> None:
        now_s = time.monotonic()
        if self._since_s is not None and now_s - self._since_s >= GATHER_S:
            if self._must_be_durable and not self._is_durable(durable):
                return
            self._must_be_durable = False
            self._put_all()
            self._since_s = None
        if self._reached != self._committed and now_s - self._told_s >= NOTE_S:
            self._note(wait=False)

    def commit(self) -> None:
        self._note(wait=True)

    def _note(self, *, wait: bool) -> None:
        self._put_all()
        self._publisher.flush()
        found = self._publisher.committed(self._input)
        if found is not None and json.loads(found.note).get("writer", 0) > self.writer:
            raise OperatorError(
                f"writing to topic {self._topic}: another node has taken over; this one's rows "
                "do not count any more"
            )
        self._behind = self._publisher.next_offsets.get((self._topic, 0), self._behind)
        self._publisher.note(self._said(), wait=wait)
        self._committed = dict(self._reached)
        self._since_s, self._told_s = None, time.monotonic()

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
