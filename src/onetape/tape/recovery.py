"""What is on the tape: find its end, and tell a torn tail from rot.

Everything below the watermark was promised to somebody. A bad byte there is never the trace of a
crash: recovery halts, names it, and changes nothing. Above the watermark nobody was promised
anything: the tape ends before the first frame that is not good, and what follows is a torn tail.
(A checksum alone cannot tell the two apart: Alagappan et al., Protocol-Aware Recovery for
Consensus-Based Storage, FAST 2018.)

Reading (`recover`) and changing (`settle`) are separate: a tape can be verified without being
touched. A crash at any moment of either leaves a tape that recovers to the same frames.

Assumed of the disk: a sector of 512 bytes is written whole or not at all, and a sync that says so
has written. A sync that lies is found if what was synced before it is checked again: see `verify`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onetape.compiled.frame import frame_bytes, frame_length
from onetape.native import files
from onetape.records.errors import IntegrityError, OperatorError
from onetape.tape.layout import (
    SEGMENT_HEADER_BYTES,
    Facts,
    Watermark,
    read_watermark,
    remove,
    segment_path,
    segments_of,
    sync_folder,
    write_all,
)
from onetape.tape.scan import (
    AT_PAD,
    EPOCH,
    NEW_EPOCH,
    OFFSET,
    REACHED,
    new_state,
    scan,
    why_stopped,
)
from onetape.tape.segment import Segment, end_of, open_segment

PROGRESS_BYTES = 1 << 26
EPOCH_LIMIT = (1 << 32) - 2  # without a watermark: any epoch that a frame can state


@dataclass
class Recovered:
    """Where the tape ends, and what recovery saw on the way."""

    position: int  # of the next frame
    offset: int  # of the next frame
    watermark: Watermark
    scanned_bytes: int = 0
    torn_bytes: int = 0  # from the end to the last byte that is not zero
    notes: list[str] = field(default_factory=list)


def recover(
    folder: str,
    facts: Facts,
    *,
    since: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
    accept_scanned_end: bool = False,
) -> Recovered:
    """Find the end of a tape that nobody is writing; changes nothing. IntegrityError on rot.

    since     (position, offset) of a frame to start at, for example a checkpoint's; frames before
              it are not looked at
    progress  called now and then with (bytes done, bytes that are durable)

    accept_scanned_end: where both slots of the watermark are damaged, nothing tells a torn tail
    from rot. The default is to refuse; this takes the last good frame as the end.
    """
    mark, notes = read_watermark(folder, facts)
    if mark is None:
        if not accept_scanned_end:
            raise _no_watermark(folder, notes)
        notes.append("the last good frame was taken as the end")
        mark = Watermark(0, 0, 0, EPOCH_LIMIT)
    position, offset = since or (
        facts.start_segment * facts.segment_bytes,
        facts.start_offset,
    )
    _check_since(folder, facts, mark, position, offset)
    state = new_state(offset, mark.epoch)
    found = Recovered(position, offset, mark, notes=notes)
    began = position
    while True:
        segment = open_segment(folder, facts, position // facts.segment_bytes)
        if segment.problem is not None:
            if position < mark.position:
                raise rot(folder, facts, position, mark, segment.problem, int(state[OFFSET]))
            break
        position, problem = _scan_segment(folder, facts, segment, position, mark, state, progress)
        found.scanned_bytes = position - began
        if problem is not None:
            if position < mark.position:
                raise rot(folder, facts, position, mark, problem, int(state[OFFSET]))
            break
    found.position, found.offset = position, int(state[OFFSET])
    if mark.sequence == 0:  # no watermark: what the last good frame says stands for it
        segment_began = position - position % facts.segment_bytes
        found.watermark = Watermark(0, segment_began, found.offset, int(state[EPOCH]))
    found.torn_bytes = _torn_bytes(folder, facts, position)
    return found


def settle(folder: str, facts: Facts, found: Recovered) -> None:
    """Make what was found durable, and zero what follows it. Run before the tape is appended to.

    Frames above the watermark are written again: a sync that failed in an earlier life may have
    left them in memory only, marked clean, and a sync alone would not write them. What follows
    the end is zeroed, so that no byte of it can ever be taken for a frame.
    """
    first = min(found.watermark.position, found.position) // facts.segment_bytes
    for index in range(first, found.position // facts.segment_bytes + 1):
        begin, end = index * facts.segment_bytes, end_of(facts, index)
        segment = open_segment(folder, facts, index)
        if segment.problem is not None or begin >= found.position:
            continue
        fd = files.disk.open(segment_path(folder, index), os.O_RDWR)
        try:
            for_promise = segment.at(max(begin, min(found.watermark.position, end)))
            for_tail = segment.at(min(found.position, end))
            write_all(fd, segment.buffer[for_promise:for_tail], for_promise)
            write_all(fd, bytes(_used(segment.buffer[for_tail:])), for_tail)
            files.disk.fdatasync(fd)
        finally:
            files.disk.close(fd)
    others = [
        index
        for index in segments_of(folder)
        if index * facts.segment_bytes >= found.position or index < facts.start_segment
    ]
    for index in others:  # allocated ahead, or left over from a `drop_before` that was cut short
        remove(segment_path(folder, index))
    for path in (folder, os.path.dirname(folder)):  # whoever made these names may have died first
        sync_folder(path)


def rot(
    folder: str, facts: Facts, position: int, mark: Watermark, problem: str, offset: int
) -> IntegrityError:
    """The error for damage below the watermark."""
    index = position // facts.segment_bytes
    at = SEGMENT_HEADER_BYTES + position % facts.segment_bytes
    return IntegrityError(
        f"{segment_path(folder, index)}: damage at byte {at} (tape position {position}, frame "
        f"{offset}): {problem}. The tape is durable up to position {mark.position} (frame "
        f"{mark.offset}), so this is not the trace of a crash and nothing was cut; restore this "
        f"file from a copy and open the tape again"
    )


def _scan_segment(
    folder: str,
    facts: Facts,
    segment: Segment,
    position: int,
    mark: Watermark,
    state: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, str | None]:
    """Scan one segment from `position`. (Where it stopped, why; None at the segment's end.)"""
    end = end_of(facts, segment.number)
    size = len(segment.buffer)
    while position < end:
        until = min(end, position + PROGRESS_BYTES)
        if position < mark.position:
            until = min(until, mark.position)
        at, reason = scan(segment.buffer, segment.at(position), segment.at(until), size, state)
        position = segment.base + int(at)
        if reason == AT_PAD:
            position += int(frame_bytes(frame_length(segment.buffer, at)))
        elif reason == NEW_EPOCH:  # such a frame is no leftover, wherever the watermark is
            raise rot(folder, facts, position, mark, why_stopped(NEW_EPOCH, state), state[OFFSET])
        elif reason != REACHED:
            return position, why_stopped(int(reason), state)
        _check_watermark(folder, facts, position, mark, until, int(state[OFFSET]))
        if progress is not None:
            progress(position, mark.position)
    return position, None


def _check_watermark(
    folder: str, facts: Facts, position: int, mark: Watermark, until: int, offset: int
) -> None:
    """A frame must end exactly at the watermark, and be the one it names."""
    if until != mark.position or position < until:
        return
    if position > mark.position or offset != mark.offset:
        problem = (
            f"frame {offset - 1} ends at {position}; by the watermark frame {mark.offset - 1} "
            f"should end at {mark.position}"
        )
        raise rot(folder, facts, mark.position - 1, mark, problem, offset - 1)


def _check_since(folder: str, facts: Facts, mark: Watermark, position: int, offset: int) -> None:
    start = facts.start_segment * facts.segment_bytes
    if not start <= position or not facts.start_offset <= offset:
        raise OperatorError(
            f"{folder} begins at position {start} (frame {facts.start_offset}), older frames were "
            f"dropped; a scan from {position} (frame {offset}) is not possible"
        )
    if mark.sequence and (position > mark.position or offset > mark.offset):
        raise IntegrityError(
            f"{folder}: durable up to position {mark.position} (frame {mark.offset}), but asked "
            f"to start at {position} (frame {offset}): the tape is older than what it was asked "
            "for, or its watermark file is; restore the newer one"
        )


def _torn_bytes(folder: str, facts: Facts, position: int) -> int:
    """Bytes behind the end of the tape, up to the last of each segment that is not zero."""
    torn = 0
    for index in segments_of(folder):
        segment = open_segment(folder, facts, index)
        if segment.problem is None and end_of(facts, index) > position:
            begin = max(segment.at(position), SEGMENT_HEADER_BYTES)
            torn += _used(segment.buffer[begin:])
    return torn


def _used(buffer: np.ndarray) -> int:
    """Bytes up to the last that is not zero."""
    step = 1 << 20
    for at in range((max(len(buffer) - 1, 0) // step) * step, -1, -step):
        part = buffer[at : at + step]
        if part.any():
            return at + int(np.flatnonzero(part)[-1]) + 1
    return 0


def _no_watermark(folder: str, problems: list[str]) -> IntegrityError:
    return IntegrityError(
        f"{folder}: {'; '.join(problems)}: nothing says how far the tape was durable, and a lost "
        "end could not be told from a torn one; restore the file from a copy, or make the tape "
        "again from its input"
    )
