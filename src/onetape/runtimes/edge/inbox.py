"""Many frames into the inbox of a node at once, and how far they have been run."""

from onetape.compiled.atomics import peek
from onetape.compiled.frame import (
    HEADER_BYTES,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
    frame_ts_recv_ns,
)
from onetape.compiled.kernel import kernel
from onetape.runtimes.edge import words
from onetape.runtimes.edge.node import EdgeNode
from onetape.tape.ring import HEAD, OFFSET, RING_FULL, WRITTEN, append


@kernel
def append_frames(ring, control, buffer, at, end):
    """Append the whole frames in buffer[at:end]; where it stopped, as the ring is full there.

    A negative status of `append` if a frame can never be taken.
    """
    while at < end:
        length = frame_length(buffer, at)
        position = append(
            ring,
            control,
            frame_source(buffer, at),
            frame_kind(buffer, at),
            frame_ts_recv_ns(buffer, at),
            buffer,
            at + HEADER_BYTES,
            length,
        )
        if position < 0:
            return at if position == RING_FULL else position
        at += frame_bytes(length)
    return at


def inbox_head(node: EdgeNode) -> int:
    """The position behind what was pushed last."""
    return int(peek(node.inbox_control, HEAD))


class Passed:
    """Up to which position of the inbox all has been run.

    Rows of what was passed are in the output rings by then: look first, then drain.
    """

    def __init__(self, node: EdgeNode) -> None:
        self._node = node
        self._asked: tuple[int, int] | None = None
        self.position = 0

    def look(self) -> bool:
        """Whether it has moved.

        The loop takes a frame off the inbox after it has its place on the tape. So what is taken
        now has offsets before the tape's next one, and has been run once that many are done.
        """
        node = self._node
        if self._asked is None:
            taken = int(peek(node.inbox_control, WRITTEN))
            if taken == self.position:
                return False
            self._asked = taken, int(peek(node.tape.control, OFFSET))
        position, offset = self._asked
        if int(peek(node.words, words.DONE_OFFSET)) < offset:
            return False
        self.position, self._asked = position, None
        return True
