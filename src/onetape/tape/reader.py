"""Read a tape, also beside its writer: the frames that are durable, checked, in order.

Reading needs no lock and changes nothing. It ends at the watermark as it was when the reading
began: what a live writer adds meanwhile is for the next reading. After a crash, frames above the
watermark are on the tape only once it has been opened (recovered) again.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from onetape.compiled.frame import (
    HEADER_BYTES,
    frame_bytes,
    frame_epoch,
    frame_kind,
    frame_length,
    frame_offset,
    frame_source,
    frame_ts_recv_ns,
)
from onetape.records.errors import IntegrityError, OperatorError
from onetape.tape.layout import SEGMENT_HEADER_BYTES, Facts, Watermark, read_facts, read_watermark
from onetape.tape.recovery import rot
from onetape.tape.scan import AT_PAD, OFFSET, REACHED, STOP_OFFSET, new_state, scan, why_stopped
from onetape.tape.segment import Segment, end_of, open_segment

RUN_BYTES = 1 << 22

Run = tuple[Any, int, int]


class Frame(NamedTuple):
    """A frame's header, for people."""

    offset: int
    kind: int
    source_id: int
    ts_recv_ns: int
    epoch: int
    length_bytes: int
    position: int  # on the tape


def read_segments(folder: str | os.PathLike[str], start_offset: int = 0) -> Iterator[Run]:
    """Runs of whole, checked frames, from frame `start_offset` on: (buffer, begin, end).

    buffer  uint8[n], the mapped segment; frames stand back to back in buffer[begin:end]. It is
            writable so that it has the one type kernels are compiled for; writes are not stored

    Runs are at most a few MiB, hold no PAD, and never end inside a frame. IntegrityError at the
    first byte that is not what was written (runs before it were good); OperatorError if frame
    `start_offset` was dropped: nothing is left out silently. Checks at about 8 GB/s.
    """
    for buffer, begin, end, _ in runs_at(folder, start_offset):
        yield buffer, begin, end


def frames(folder: str | os.PathLike[str], start_offset: int = 0) -> Iterator[tuple[Frame, bytes]]:
    """Each durable frame from `start_offset` on: (header, payload)."""
    for buffer, begin, end, base in runs_at(folder, start_offset):
        at = begin
        while at < end:
            header = frame_at(buffer, at, base + at)
            payload = buffer[at + HEADER_BYTES : at + HEADER_BYTES + header.length_bytes]
            yield header, payload.tobytes()
            at += int(frame_bytes(header.length_bytes))


def frame_at(buffer: Any, at: int, position: int) -> Frame:
    """The header at buffer[at]."""
    return Frame(
        offset=int(frame_offset(buffer, at)),
        kind=int(frame_kind(buffer, at)),
        source_id=int(frame_source(buffer, at)),
        ts_recv_ns=int(frame_ts_recv_ns(buffer, at)),
        epoch=int(frame_epoch(buffer, at)),
        length_bytes=int(frame_length(buffer, at)),
        position=position,
    )


def durable_end(folder: str, facts: Facts) -> Watermark:
    """The watermark now. IntegrityError if both its slots are damaged."""
    mark, problems = read_watermark(folder, facts)
    if mark is None:
        raise IntegrityError(
            f"{folder}: {'; '.join(problems)}: nothing says how far the tape is durable; restore "
            "the file from a copy"
        )
    return mark


def first_offset(segment: Segment) -> int | None:
    """Offset of a segment's first frame by that frame's header, not checked; None: no frame."""
    if segment.problem is not None or len(segment.buffer) < SEGMENT_HEADER_BYTES + HEADER_BYTES:
        return None
    return int(frame_offset(segment.buffer, SEGMENT_HEADER_BYTES))


def segment_of(folder: str, facts: Facts, mark: Watermark, offset: int) -> tuple[int, int]:
    """(segment that holds frame `offset`, offset of its first frame), by looking at few headers."""
    index, found = facts.start_segment, facts.start_offset
    low, high = index + 1, max(mark.position - 1, 0) // facts.segment_bytes
    while low <= high:
        middle = (low + high) // 2
        first = first_offset(open_segment(folder, facts, middle))
        if first is not None and first <= offset:
            index, found, low = middle, first, middle + 1
        else:  # a damaged one is met, and named, by the scan that begins before it
            high = middle - 1
    return index, found


def runs_at(
    folder: str | os.PathLike[str], start_offset: int = 0
) -> Iterator[tuple[Any, int, int, int]]:
    """As `read_segments`, with the tape position of buffer[0] as fourth."""
    folder = os.path.abspath(folder)
    facts = read_facts(folder)
    mark = durable_end(folder, facts)
    if start_offset < facts.start_offset:
        raise OperatorError(
            f"{folder} begins at frame {facts.start_offset}, older ones were dropped; frame "
            f"{start_offset} was asked for: start from a checkpoint, or name that frame"
        )
    first, offset = segment_of(folder, facts, mark, start_offset)
    state = new_state(offset, mark.epoch)
    position = first * facts.segment_bytes
    while position < mark.position:
        segment = open_segment(folder, facts, position // facts.segment_bytes)
        if segment.problem is not None:
            raise rot(folder, facts, position, mark, segment.problem, int(state[OFFSET]))
        end = min(end_of(facts, segment.number), mark.position)
        while position < end:
            wanted = state[OFFSET] >= start_offset
            state[STOP_OFFSET] = 2**62 if wanted else start_offset
            begin = segment.at(position)
            until = segment.at(min(end, position + RUN_BYTES))
            there = min(segment.at(end), len(segment.buffer))
            at, reason = (int(x) for x in scan(segment.buffer, begin, until, there, state))
            if wanted and at > begin:
                yield segment.buffer, begin, at, segment.base
            position = segment.base + at
            if reason == AT_PAD:
                position += int(frame_bytes(frame_length(segment.buffer, at)))
            elif reason != REACHED:
                problem = why_stopped(reason, state)
                raise rot(folder, facts, position, mark, problem, int(state[OFFSET]))
    if int(state[OFFSET]) != mark.offset:
        problem = f"the last frame was {int(state[OFFSET]) - 1}, expected {mark.offset - 1}"
        raise rot(folder, facts, max(position - 1, 0), mark, problem, int(state[OFFSET]))
