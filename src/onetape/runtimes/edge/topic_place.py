"""How far a topic was read, kept on the tape that it was read onto.

Before the frames of each record of the topic stands a READ frame: the ordinal of the block, the
offset of its record, and the offsets of all partitions before and behind it. So tape and offset
cannot disagree: where the tape was cut, by a crash or a power cut, the reading goes on exactly
there, in the middle of a block if need be.
"""

import json
from pathlib import Path
from typing import NamedTuple

from onetape.compiled.frame import DATA, END, READ, TICK
from onetape.records import IntegrityError
from onetape.tape.reader import frames

LOOK_BACK = 64  # frames; then four times as many, and so on


class Mark(NamedTuple):
    """What a READ frame says.

    ordinal   of the block; -1 where records are no blocks
    before    {partition: offset of its next record}, before the frames that follow
    behind    the same behind them
    """

    ordinal: int
    before: dict[int, int]
    behind: dict[int, int]

    def payload(self) -> bytes:
        said = {"ordinal": self.ordinal, "before": self.before, "behind": self.behind}
        return json.dumps(said, separators=(",", ":")).encode()


class Place(NamedTuple):
    """The last mark on a tape, and how many frames of what it speaks of are there too."""

    mark: Mark
    frames: int


def read_mark(payload: bytes) -> Mark:
    """IntegrityError: it is none."""
    try:
        said = json.loads(payload)
        before, behind = (
            {int(partition): int(offset) for partition, offset in said[name].items()}
            for name in ("before", "behind")
        )
        return Mark(int(said["ordinal"]), before, behind)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(f"a READ frame says {payload[:60]!r}; it has no offsets") from None


def place_on(folder: Path, begin: int, end: int) -> Place | None:
    """The place that the frames from `begin` to `end` come to; None: they have no mark."""
    back = LOOK_BACK
    while True:
        start = max(begin, end - back)
        mark, count = None, 0
        for header, payload in frames(folder, start):
            if header.kind == READ:
                mark, count = read_mark(payload), 0
            elif header.kind in (DATA, TICK, END):
                count += 1
        if mark is not None:
            return Place(mark, count)
        if start == begin:
            return None
        back *= 4
