"""Feeds a node from a topic, on a thread: blocks of a stream, or events of others."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from onetape.codecs.block import FRAMES, MANIFEST, BlockError, decode
from onetape.compiled.frame import DATA, END, READ, frame_bytes, frame_length
from onetape.connect.kafka.events import Gatherer
from onetape.connect.kafka.subscriber import Subscriber
from onetape.records import OperatorError
from onetape.records.declare import raw_rows
from onetape.records.types import UNSET
from onetape.runtimes.blocks import check_frames
from onetape.runtimes.edge.inbox import append_frames, inbox_head
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.topic_place import Mark, Place

PAUSE_S = 0.0005  # while the inbox, which holds some milliseconds, is full
POLL_S = 0.05
TAKE = 16  # records at once: they wait here while the inbox is full


class Fed(NamedTuple):
    """What was pushed: the inbox position behind it, where the topic goes on, when it was made."""

    position: int
    behind: dict[int, int]
    ts_made_ns: int


class TopicFeeder:
    """`turn` reads and pushes, until `stop`. `fed` says what was pushed, oldest first."""

    def __init__(self, node: EdgeNode, incoming: Subscriber) -> None:
        self.node, self.incoming = node, incoming
        append_frames(node.inbox, node.inbox_control, np.zeros(8, np.uint8), 0, 0)  # compile it
        self.fed: deque[Fed] = deque()
        self.bytes_done = 0
        self._made_ns = UNSET  # of what is being pushed
        self.leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._fault: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.leave.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise what stopped the feeder, if anything did."""
        if self._fault is not None:
            raise self._fault

    def made_ns(self) -> int:
        """When the oldest was made of what was pushed and is not known to be run."""
        try:
            return self.fed[0].ts_made_ns
        except IndexError:
            return self._made_ns

    def turn(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            while not self.leave.is_set():
                self.turn()
        except BaseException as why:
            self._fault = why

    def push(self, payload: Any, kind: int, source: int = 0) -> None:
        data = np.frombuffer(payload, np.uint8) if len(payload) else payload
        self._until(lambda: self.node.push(data, source=source, kind=kind))

    def push_frames(self, payload: Any, at: int, end: int) -> None:
        node = self.node
        while at < end and not self.leave.is_set():
            to = int(append_frames(node.inbox, node.inbox_control, payload, at, end))
            if to < 0:
                raise OperatorError("a frame of a block is too long for the inbox: fewer events")
            if to == at:
                self.leave.wait(PAUSE_S)
            at = to

    def done(self, behind: dict[int, int], ts_made_ns: int) -> None:
        """What was pushed up to here belongs together."""
        if not self.leave.is_set():
            self.fed.append(Fed(inbox_head(self.node), behind, ts_made_ns))

    def _until(self, push: Callable[[], bool]) -> None:
        while not push():
            if self.leave.wait(PAUSE_S):
                return


class BlockFeeder(TopicFeeder):
    """Frames of the blocks in one partition.

    place    where the tape stands: None at its beginning
    doubled  blocks passed over, as seen before
    """

    def __init__(
        self, node: EdgeNode, incoming: Subscriber, partition: int, place: Place | None
    ) -> None:
        super().__init__(node, incoming)
        self.partition = partition
        self._ordinal = place.mark.ordinal if place else 0
        self._skip = place.frames if place else 0  # of the block that the tape has a part of
        self._is_first = place is not None
        self.doubled = 0
        incoming.assign({partition: place.mark.before[partition] if place else None})

    def turn(self) -> None:
        for taken in self.incoming.take(POLL_S, TAKE):
            header, payload = decode(taken.value)
            if header.ordinal < self._ordinal:
                self.doubled += 1
                continue
            if header.ordinal > self._ordinal:
                raise BlockError(
                    f"{header.place} came where block {self._ordinal} was expected (topic "
                    f"{self.incoming.topic}, offset {taken.offset}): some are lost"
                )
            self._ordinal += 1
            behind = {self.partition: taken.offset + 1}
            self._made_ns = header.ts_made_ns
            if header.kind == MANIFEST:
                continue
            if header.kind != FRAMES:
                raise BlockError(
                    f"{header.place} (topic {self.incoming.topic}, offset {taken.offset}) holds no "
                    "frames: is it the topic of somebody's outputs?"
                )
            end, at = check_frames(header, payload), 0
            if self._is_first:  # its mark is on the tape
                self._is_first = False
                for _ in range(self._skip):
                    at += int(frame_bytes(frame_length(payload, at)))
            else:
                mark = Mark(header.ordinal, {self.partition: taken.offset}, behind)
                self.push(mark.payload(), READ)
            self.push_frames(payload, at, end)
            self.bytes_done += len(taken.value)
            self.done(behind, header.ts_made_ns)


class EventFeeder(TopicFeeder):
    """Events of a topic of others, gathered into frames of rows.

    to_end   the source ends where the topic ends now
    """

    def __init__(
        self,
        node: EdgeNode,
        incoming: Subscriber,
        gatherer: Gatherer,
        partitions: int,
        place: Place | None,
        *,
        to_end: bool = False,
    ) -> None:
        super().__init__(node, incoming)
        self._gatherer, self._to_end = gatherer, to_end
        self._at: dict[int, int] = {}
        if place is not None:
            self._at = dict(place.mark.behind if place.frames else place.mark.before)
        self._partitions = partitions
        self._has_ended = False
        incoming.assign({n: self._at.get(n) for n in range(partitions)})

    @property
    def refused(self) -> int:
        """Records that could not be read."""
        return self._gatherer.refused

    def turn(self) -> None:
        if self._has_ended:
            self.leave.wait(POLL_S)
            return
        for rows, before in self._gathered(self._gatherer.gather()):
            self._push_rows(rows, before)
        if self._to_end and len(self.incoming.at_end) == self._partitions:
            for rows, before in self._gathered(self._gatherer.rest()):
                self._push_rows(rows, before)
            self.push(b"", END)
            self.done(dict(self._at), 0)
            self._has_ended = True

    def _gathered(self, found: Any) -> Iterator[tuple[Any, dict[int, int]]]:
        for one in found:
            before = dict(self._at)
            before.setdefault(one.partition, one.first)
            self._at[one.partition] = one.next
            yield one.rows, before

    def _push_rows(self, rows: Any, before: dict[int, int]) -> None:
        behind, self._made_ns = dict(self._at), time.time_ns()
        if not len(rows):
            return
        self.push(Mark(-1, before, behind).payload(), READ)
        self.push(raw_rows(rows).view(np.uint8).reshape(-1), DATA)
        self.bytes_done += rows.nbytes
        self.done(behind, self._made_ns)
