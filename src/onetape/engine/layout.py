"""The records a driver keeps for itself: where it is in its input, and where rows come from."""

from typing import Any

import numpy as np

from onetape.records import UNSET

# What a turn came back with.
DONE = 0  # all frames are consumed
OUT_FULL = 1  # an output ring is full: drain, call again
AT_CAPACITY = 2  # operator `node` holds as much state as was reserved: halt
PAUSED = 3  # many timers have fired: drain, call again

TIMERS_MAX = 1024  # that fire in one turn and frame


# Words that each node counts in.
LATE, AHEAD = 0, 1  # rows that windows refused
FORGOTTEN, EVICTED = 2, 3  # keys: not seen for their ttl; the oldest where one too many came
DROPPED = 4  # rows of keys that were one too many
UNMATCHED = 5  # partial matches of a pattern that there was no room for
NODE_WORDS = 6

LINE = 8  # int64 words of a cache line: shared words stand apart
FAR = 2**62  # the watermark after the end

RUN = np.dtype(
    [
        ("frame_at", "<i8"),  # byte position of the next frame in the buffer
        ("at", "<i8"),  # position in the payload of the frame being read
        ("stop", "<i8"),  # and its end; at == stop: no frame is being read
        ("ts_recv_ns", "<i8"),
        ("offset", "<i8"),  # of the frame being read
        ("index", "<i8"),  # of the event in its frame
        ("event_at", "<i8"),  # of the event that waits, where it is read in place
        ("source", "<i8"),
        ("pending", "<i8"),  # 1 + source of an event that waits for room; negative: of a gap
        ("late", "<i8"),
        ("sequence", "<i8"),
        ("watermark_ns", "<i8"),
        ("reached_ns", "<i8"),  # time as roots have seen it: the watermark, once all due has fired
        ("next_wake_ns", "<i8"),
        ("node", "<i8"),  # the operator that runs, for messages
        ("events", "<i8"),
        ("frames", "<i8"),
        ("data_frames", "<i8"),
        ("ticks", "<i8"),
        ("late_events", "<i8"),
        ("bad_frames", "<i8"),  # frames of a source the pipeline does not have, or odd blocks
        ("bad_events", "<i8"),  # records of a source whose time is not in [0, FAR)
        ("sampled", "<i8"),  # 1: this turn counts how long each operator takes
    ]
)

SOURCE = np.dtype(
    [
        ("watermark_ns", "<i8"),
        ("events", "<i8"),
        ("ended", "<i8"),
        ("recv_ns", "<i8"),  # receive time of the last data frame
        ("silent_ns", "<i8"),  # the watermark when silence began, at the first tick; else UNSET
    ]
)

EVENT_ROOT, TIMER_ROOT, GAP_ROOT = 0, 1, 2

# In a part of a pipeline `tape_offset` holds the root's place among all roots instead: how many
# events had been read, then what came of the last of them, then the step whose timer it was. Timers
# fire before the event that moved the watermark; what it set, and is due, fires after it.
BEFORE_EVENT, AT_EVENT, AFTER_EVENT, AT_GAP = 0, 1, 2, 3
ROOT_NODES_MAX = 1 << 10

ORIGIN = np.dtype(
    [
        ("tape_offset", "<i8"),  # of the frame that caused the row (not part of its identity)
        ("sequence", "<i8"),  # the venue's sequence, or the time a timer was due
        ("key", "<i8"),  # of the timer; the state of a gap; 0 for events
        ("index", "<i4"),  # of the row among those of the same cause
        ("node", "<u2"),  # the operator that made it
        ("source", "u1"),
        ("root", "u1"),  # EVENT_ROOT, TIMER_ROOT or GAP_ROOT
    ]
)


def new_run() -> Any:
    run = np.zeros(1, RUN)
    run["watermark_ns"] = UNSET
    run["reached_ns"] = UNSET
    run["next_wake_ns"] = 2**63 - 1
    return run


def new_sources(count: int) -> Any:
    sources = np.zeros(count, SOURCE)
    sources["watermark_ns"] = sources["silent_ns"] = UNSET
    return sources
