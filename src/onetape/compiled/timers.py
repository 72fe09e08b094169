"""One timer a key: a heap of (wake_ns, key), so simultaneous timers fire in key order.

`timers` is a block of Timer rows, one a slot; `heap` holds at word 0 the number of timers set
and from word 1 on their slots. A row knows its place in the heap, so moving a timer does not
leave a stale entry behind: never more entries than keys. O(log n) to set, O(1) to look.
"""

from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row

NEVER = 2**63 - 1
TIMER = np.dtype([("wake_ns", "<i8"), ("key", "<i8"), ("place", "<i8")])  # place 0: not set


def new_timers(slots: int) -> tuple[Any, Any]:
    """(timers, heap) for `slots` keys."""
    return np.zeros(slots, TIMER), np.zeros(slots + 1, np.int64)


@kernel
def next_wake(timers, heap):
    """When the first timer is due, or NEVER."""
    if heap[0] == 0:
        return NEVER
    return row(timers, heap[1]).wake_ns


@kernel
def first(heap):
    """Slot of the first timer; there must be one."""
    return heap[1]


@kernel
def set_timer(timers, heap, slot, key, wake_ns):
    """Set or move the slot's timer; NEVER unsets it."""
    timer = row(timers, slot)
    if wake_ns == NEVER:
        if timer.place > 0:
            _take_out(timers, heap, timer.place)
        return
    timer.wake_ns = wake_ns
    timer.key = key
    if timer.place == 0:
        heap[0] += 1
        timer.place = heap[0]
        heap[heap[0]] = slot
    _sift_up(timers, heap, timer.place)
    _sift_down(timers, heap, timer.place)


@kernel
def _take_out(timers, heap, place):
    row(timers, heap[place]).place = 0
    last = heap[0]
    heap[0] = last - 1
    if place != last:
        moved = heap[last]
        heap[place] = moved
        row(timers, moved).place = place
        _sift_up(timers, heap, place)
        _sift_down(timers, heap, row(timers, moved).place)


@kernel
def _before(timers, a, b):
    left = row(timers, a)
    right = row(timers, b)
    return left.wake_ns < right.wake_ns or (left.wake_ns == right.wake_ns and left.key < right.key)


@kernel
def _swap(timers, heap, a, b):
    heap[a], heap[b] = heap[b], heap[a]
    row(timers, heap[a]).place = a
    row(timers, heap[b]).place = b


@kernel
def _sift_up(timers, heap, place):
    while place > 1 and _before(timers, heap[place], heap[place // 2]):
        _swap(timers, heap, place, place // 2)
        place //= 2


@kernel
def _sift_down(timers, heap, place):
    while 2 * place <= heap[0]:
        child = 2 * place
        if child < heap[0] and _before(timers, heap[child + 1], heap[child]):
            child += 1
        if not _before(timers, heap[child], heap[place]):
            return
        _swap(timers, heap, place, child)
        place = child
