"""Check frames where they lie: the one judge of what is a frame, for recovery and readers.

A frame is good if its checksum is right, its offset is the next one, and its epoch is neither
older than the one before nor newer than any that was begun. So a flipped bit, a swapped or
repeated frame and a stale one left behind by an earlier life are all told apart from the tape.
"""

from typing import Any

import numpy as np

from onetape.compiled.frame import (
    HEADER_BYTES,
    PAD,
    PAYLOAD_MAX,
    frame_bytes,
    frame_checksum,
    frame_crc,
    frame_epoch,
    frame_kind,
    frame_length,
    frame_offset,
)
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le

# Words of `state`.
OFFSET, EPOCH, EPOCH_MAX, STOP_OFFSET, FOUND, EXPECTED = range(6)
STATE_WORDS = 6

# What stopped a scan.
REACHED, AT_PAD, BLANK, CUT_SHORT, BAD_LENGTH, BAD_CHECKSUM = range(6)
BAD_OFFSET, OLD_EPOCH, NEW_EPOCH = range(6, 9)

LENGTH_MAX = PAYLOAD_MAX + HEADER_BYTES  # a PAD may be a little longer than any payload


def new_state(offset: int, epoch_max: int) -> Any:
    """State of a scan whose next frame has this offset."""
    state = np.zeros(STATE_WORDS, np.int64)
    state[OFFSET], state[EPOCH_MAX], state[STOP_OFFSET] = offset, epoch_max, 2**62
    return state


@kernel
def scan(buffer, at, until, end, state):
    """Check the frames from buffer[at] on. Returns (where it stopped, why).

    buffer  uint8[n], of which `end` bytes are there
    until   stop behind the first frame that ends here or further
    state   int64[STATE_WORDS]: OFFSET is that of the next frame, and moves on up to STOP_OFFSET

    REACHED: all up to there is good. AT_PAD: so is the PAD that is there; to go on, step over
    it. Anything else: there is no good frame there; FOUND and EXPECTED say what is wrong with it.
    About 8 GB/s.
    """
    while at < until and state[OFFSET] < state[STOP_OFFSET]:
        if at + HEADER_BYTES > end:
            return at, CUT_SHORT
        if _is_blank(buffer, at):
            return at, BLANK
        length = frame_length(buffer, at)
        state[FOUND] = length
        if length > LENGTH_MAX or frame_kind(buffer, at) == 0:
            state[EXPECTED] = LENGTH_MAX
            return at, BAD_LENGTH
        size = frame_bytes(length)
        if at + size > end:
            state[EXPECTED] = end - at - HEADER_BYTES
            return at, CUT_SHORT
        state[FOUND] = frame_crc(buffer, at)
        state[EXPECTED] = frame_checksum(buffer, at)
        if state[FOUND] != state[EXPECTED]:
            return at, BAD_CHECKSUM
        state[FOUND] = frame_offset(buffer, at)
        state[EXPECTED] = state[OFFSET]
        if state[FOUND] != state[EXPECTED]:
            return at, BAD_OFFSET
        epoch = frame_epoch(buffer, at)
        if epoch < state[EPOCH] or epoch > state[EPOCH_MAX]:
            state[FOUND] = epoch
            state[EXPECTED] = state[EPOCH]
            return at, OLD_EPOCH if epoch < state[EPOCH] else NEW_EPOCH
        state[EPOCH] = epoch
        if frame_kind(buffer, at) == PAD:
            return at, AT_PAD
        state[OFFSET] += 1
        at += size
    return at, REACHED


@kernel
def _is_blank(buffer, at):
    return (
        load_i64le(buffer, at) == 0
        and load_i64le(buffer, at + 8) == 0
        and load_i64le(buffer, at + 16) == 0
        and load_i64le(buffer, at + 24) == 0
    )


def why_stopped(reason: int, state: Any) -> str:
    """The reason in words: what was found and what was expected."""
    found, expected = int(state[FOUND]), int(state[EXPECTED])
    return {
        BLANK: "there were zeros, expected a frame",
        CUT_SHORT: "the file ended, expected a whole frame",
        BAD_LENGTH: f"a length of {found} bytes (or no kind), expected at most {LENGTH_MAX}",
        BAD_CHECKSUM: f"checksum was {found:08x}, expected {expected:08x}",
        BAD_OFFSET: f"frame {found} was there, expected frame {expected}: swapped or repeated",
        OLD_EPOCH: f"a frame of epoch {found} was there, expected {expected} or later: left "
        "behind by an earlier life of the tape",
        NEW_EPOCH: f"a frame of epoch {found} was there, but by the watermark no epoch after "
        f"{int(state[EPOCH_MAX])} was begun: the file watermark is older than the tape",
    }[reason]
