"""What the hot loop and Python tell each other: one word each, on a cache line of its own."""

from typing import Any

import numpy as np

from onetape.engine.layout import LINE

# Python to the loop.
STOP = 0 * LINE  # 1 asks it to finish what has come in and return; 2 to return at once
TICKS = 1 * LINE  # before the start: 1 makes ticks for silent sources (live input only)
WAIT = 2 * LINE  # before the start: one of the strategies below
WAIT_NS = 3 * LINE  # before the start: first sleep, or how long to look before sleeping
WAIT_MAX_NS = 4 * LINE  # before the start: the longest sleep

# The loop to Python.
STATE = 5 * LINE  # one of the states below
DONE_OFFSET = 6 * LINE  # frames with a smaller offset have been run
WAITS_OUTPUT = 7 * LINE  # times it waited for room in an output ring
WAITS_TAPE = 8 * LINE  # times it waited for the journal
WAITS_FULL = 9 * LINE  # times it was refused because the disk is full
ERRNO = 10 * LINE  # of the last call on a socket that failed
SENT = 11 * LINE  # datagrams of rows sent
UNSENT = 12 * LINE  # datagrams of rows that the socket refused
UNLOGGED = 13 * LINE  # datagrams of rows that are not on the tape: it had no room
ASKED = 14 * LINE  # requests for missing messages

# The loop's own.
NAP_NS = 15 * LINE  # the next sleep
IDLE_SINCE_NS = 15 * LINE + 1  # since when nothing has come; 0: something has
NEXT_LINE = 15 * LINE + 2  # which line is looked at next
BATCH_LINE = 15 * LINE + 3  # the batch being taken: its line, how many, how many are taken, when
BATCH_COUNT = 15 * LINE + 4
BATCH_AT = 15 * LINE + 5
BATCH_NS = 15 * LINE + 6
MARKED = 15 * LINE + 7  # frames with a smaller offset were said to be durable
TOLD_OFFSET = 16 * LINE  # the offset behind the last frame that rows were sent for

# A hot swap: see handover.py.
ORDERED = 17 * LINE  # Python: length of the order; the loop sets it back to 0
TURN = 17 * LINE + 1  # Python: the number of the hand-over that is ordered
READY = 18 * LINE  # the new loop: the number of the hand-over that it waits for
HANDED = 19 * LINE  # the old loop: the number of the last hand-over; Python: -1, there is none
TAKEN = 20 * LINE  # the new loop: the same, when it goes on
SWAP_OFFSET = 21 * LINE  # the old loop: of the frame at which the new version took over
PAUSE_BEGAN_NS = 21 * LINE + 1  # the old loop: by the monotonic clock
PAUSE_NS_OF_SWAP = 22 * LINE  # the new loop: how long no frame could be taken
WORDS = 23 * LINE

RUNNING, STOPPED, AT_CAPACITY, TAPE_FAULT, FRAME_TOO_LONG, LINE_FAULT = range(6)
SPIN, YIELD, SLEEP = range(3)
STRATEGIES = ("spin", "yield", "sleep")

PAUSE_NS = 20_000  # while an output, the journal or the disk has no room


def new_words() -> Any:
    return np.zeros(WORDS, np.int64)
