"""Rows that wait for their turn in event time: a heap, and the slots it hands out.

    order    ts_ns, then the source they come from, then its sequence, then as they arrived

`heap` holds at word 0 how many wait, from word 1 on their slots; `turns` has what each slot is
ordered by. The rows themselves lie in blocks of their own, at the same slots. O(log n) a row.
"""

from typing import Any

import numpy as np

from onetape.compiled import pool as pools
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row

TURN = np.dtype(
    [
        ("ts_ns", "<i8"),
        ("source", "<i8"),
        ("sequence", "<i8"),
        ("arrival", "<i8"),
        ("input", "<i8"),  # of the streams that are put in order: which block the row lies in
    ]
)
NO_SOURCE = 256  # what timers made comes behind what sources brought


def new_heap(slots: int) -> Any:
    return np.zeros(1 + slots, np.int64)


@kernel
def wait(heap, turns, pool, ts_ns, source, sequence, arrival, which):
    """A slot for a row of input `which`, in its place in the order. There must be one left."""
    slot = pools.take(pool)
    turn = row(turns, slot)
    turn.ts_ns = ts_ns
    turn.source = source
    turn.sequence = sequence
    turn.arrival = arrival
    turn.input = which
    heap[0] += 1
    place = heap[0]
    heap[place] = slot
    while place > 1 and _before(turns, slot, heap[place // 2]):
        heap[place] = heap[place // 2]
        place //= 2
    heap[place] = slot
    return slot


@kernel
def leave(heap, turns, pool):
    """The slot of the first row, which is free from now on."""
    first = heap[1]
    slot = heap[heap[0]]  # the last one goes down from the top to its place
    count = heap[0] - 1
    heap[0] = count
    place = 1
    while 2 * place <= count:
        child = 2 * place
        if child < count and _before(turns, heap[child + 1], heap[child]):
            child += 1
        if not _before(turns, heap[child], slot):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = slot
    pools.give_back(pool, first)
    return first


@kernel
def first_ns(heap, turns, never):
    """The time of the first row, or `never`."""
    return row(turns, heap[1]).ts_ns if heap[0] > 0 else never


@kernel
def _before(turns, a, b):
    one = row(turns, a)
    two = row(turns, b)
    if one.ts_ns != two.ts_ns:
        return one.ts_ns < two.ts_ns
    if one.source != two.source:
        return one.source < two.source
    if one.sequence != two.sequence:
        return one.sequence < two.sequence
    return one.arrival < two.arrival
