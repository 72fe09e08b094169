"""One segment file, open for reading as memory, its header checked."""

import os
from typing import Any, NamedTuple

from onetape.native import files
from onetape.tape.layout import (
    SEGMENT_HEADER_BYTES,
    Facts,
    read_all,
    segment_header_problem,
    segment_path,
)


class Segment(NamedTuple):
    """`buffer` (uint8[n]) is the whole file; tape position p is at byte `p - base` of it."""

    number: int
    buffer: Any
    base: int  # tape position that byte 0 of the file would have
    problem: str | None  # why it cannot be read at all; `buffer` is then empty

    def at(self, position: int) -> int:
        return position - self.base


def end_of(facts: Facts, index: int) -> int:
    """Tape position where a segment ends."""
    return (index + 1) * facts.segment_bytes


def open_segment(folder: str, facts: Facts, index: int) -> Segment:
    """Map a segment; `problem` says so if it is missing or not what its name says."""
    base = index * facts.segment_bytes - SEGMENT_HEADER_BYTES
    try:
        fd = files.disk.open(segment_path(folder, index), os.O_RDONLY)
    except OSError as why:
        return Segment(index, None, base, f"it cannot be opened: {why.strerror}")
    try:
        problem = segment_header_problem(facts, index, read_all(fd, SEGMENT_HEADER_BYTES, 0))
        if problem is not None:
            return Segment(index, None, base, problem)
        size = min(files.disk.size(fd), SEGMENT_HEADER_BYTES + facts.segment_bytes)
        return Segment(index, files.disk.map(fd, size), base, None)
    finally:
        files.disk.close(fd)
