"""Blocks of one shard into a node, and how far they are safe.

What counts is the tape. A block is done when its frames are durable there; then its place is noted
beside the tape, and whoever keeps the blocks may be told. A run that is resumed reads on behind the
place noted, and passes over the frames that the tape has: a note that is old, or lost, costs time
and nothing else. Frames keep the time they were read at.
"""

import json
import os
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onetape.codecs.block import FRAMES, BlockError, decode, read_header
from onetape.compiled.atomics import peek
from onetape.compiled.frame import DATA, END, HEADER_BYTES, frame_bytes
from onetape.records import UNSET
from onetape.runtimes.blocks import check_frames
from onetape.runtimes.edge.node import EdgeNode
from onetape.tape.ring import HEAD, WRITTEN

NOTE = "blocks.place"
_FRAME = struct.Struct("<I12xqHH")  # length, time, source, kind: see compiled/frame.py

Frame = tuple[int, int, int | None, Any]  # source, kind, when it was read, payload


@dataclass(frozen=True)
class Place:
    """Behind a block: where its keeper has it, which is next, and the data frames up to there."""

    position: int = 0
    next_ordinal: int = 1
    data_frames: int = 0


class BlockFeed:
    """The blocks of one shard, in order, for `node`: one that begins, or has recovered its tape.

    place    behind the last block that was taken; to begin with, where to read on
    doubled  blocks passed over, as seen before
    """

    def __init__(self, node: EdgeNode) -> None:
        self._node, self._note = node, node.folder / NOTE
        self._on_tape = int(node.engine.run["data_frames"][0])
        self.place = self._noted()
        self.doubled = 0
        self._frames = self.place.data_frames
        self._in_inbox: deque[tuple[int, Place]] = deque()
        self._on_ring: deque[tuple[int, Place]] = deque()

    @property
    def is_over(self) -> bool:
        """Have all sources ended?"""
        return bool(self._node.engine.sources["ended"].all())

    def frames(self, block: bytes) -> Iterator[Frame]:
        """What is new in the next block; to be pushed, each before the next is asked for.

        BlockError: it is damaged, or one before it is missing.
        """
        header = read_header(block)
        expected = self.place.next_ordinal
        if header.ordinal < expected:
            self.doubled += 1
            return
        if header.ordinal > expected:
            raise BlockError(
                f"{header.place} came where block {expected} was expected: "
                f"{header.ordinal - expected} are missing"
            )
        header, payload = decode(block)
        if header.kind != FRAMES:
            raise BlockError(f"{header.place} holds no frames")
        at, end = 0, check_frames(header, payload)
        ended = self._node.engine.sources["ended"]
        while at < end:
            length, ts_recv_ns, source, kind = _FRAME.unpack_from(payload, at)
            body = payload[at + HEADER_BYTES : at + HEADER_BYTES + length]
            at += int(frame_bytes(length))
            is_there = self._frames < self._on_tape or bool(ended[source] and kind == END)
            self._frames += kind == DATA
            if not is_there:
                yield source, kind, None if ts_recv_ns == UNSET else ts_recv_ns, body
        self.place = replace(self.place, next_ordinal=expected + 1, data_frames=self._frames)

    def took(self, position: int) -> None:
        """All frames of the block at this position were pushed."""
        self.place = replace(self.place, position=position)
        self._in_inbox.append((int(peek(self._node.inbox_control, HEAD)), self.place))

    def settle(self) -> int:
        """Note how far blocks are durable by now; the position, or 0: no further than before."""
        node, done = self._node, None
        taken = int(peek(node.inbox_control, WRITTEN))
        while self._in_inbox and self._in_inbox[0][0] <= taken:
            _, place = self._in_inbox.popleft()
            self._on_ring.append((node.next_offset(), place))
        while self._on_ring and self._on_ring[0][0] <= node.durable_offset():
            _, done = self._on_ring.popleft()
        if done is None:
            return 0
        self._write(done)
        return done.position

    def _noted(self) -> Place:
        try:
            noted = Place(**json.loads(self._note.read_bytes()))
        except (OSError, ValueError, TypeError):
            return Place()
        return noted if noted.data_frames <= self._on_tape else Place()

    def _write(self, place: Place) -> None:
        beside = Path(f"{self._note}.tmp")
        try:
            beside.write_text(json.dumps(asdict(place)))
            os.replace(beside, self._note)
        except OSError:
            beside.unlink(missing_ok=True)  # the one before stands; see the module
