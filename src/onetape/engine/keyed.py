"""Keyed state: one record a key, in slots handed out in order of first appearance.

A slot that is given back is handed out again before a fresh one. Which is next stands in the place
of the key of each free slot, and the first in the index's word FREE.
"""

from onetape.compiled.index import FREE, count, find, insert, remove
from onetape.compiled.kernel import kernel
from onetape.compiled.recency import begin, is_over, leave, new_links, oldest, see
from onetape.compiled.rows import copy_row, row
from onetape.compiled.timers import NEVER, set_timer
from onetape.engine.layout import DROPPED, EVICTED, FORGOTTEN
from onetape.records.types import UNSET

DIRECT = 1 << 16  # keys below this are found without hashing: instrument ids, mostly
NEW_KEY = 1 << 40  # added to the slot of a key that begins
SWEPT_MOST = 2  # keys an event forgets besides its own: more than it can bring


@kernel
def slot_of(direct, index, keys, state, initial, key):
    """The key's slot; a new key gets a fresh one with the initial state. Room was reserved.

    direct  int64[DIRECT]: slot + 1 by key, for small keys
    """
    if 0 <= key < DIRECT and direct[key] > 0:
        return direct[key] - 1
    slot = find(index, key)
    if slot < 0:
        slot = _new_slot(direct, index, keys, key)
        copy_row(state, slot, initial, 0)
    return slot


@kernel
def slot_known(direct, index, key):
    """The key's slot, or -1: of a key that is new nothing is made."""
    if 0 <= key < DIRECT:
        return direct[key] - 1
    return find(index, key)


@kernel
def slot_only(direct, index, keys, key):
    """As `slot_of`, for state that is not one record a key."""
    slot = slot_known(direct, index, key)
    return _new_slot(direct, index, keys, key) if slot < 0 else slot


@kernel
def place_of(
    direct,
    index,
    keys,
    links,
    timers,
    heap,
    counts,
    words,
    key,
    now_ns,
    ttl_ns,
    limit,
    when_full,
    timed,
):
    """The key's slot, where keys are forgotten or refused; NEW_KEY + a slot for one that begins.

    -1: it would be one too many, and such are left out. A key whose time is over begins anew.

    links      of `recency`; not looked at if keys are neither timed out nor evicted
    timers     heap: not looked at unless `timed`
    counts     from word `words` on: the node's
    when_full  0 halt (room was reserved), 1 leave out, 2 forget the oldest
    """
    if ttl_ns > 0:  # the oldest is first: if it stays, all do
        begin(links, now_ns)
        for _ in range(SWEPT_MOST):
            old = oldest(links)
            if old < 0 or not is_over(links, old, now_ns, ttl_ns):
                break
            forget(direct, index, keys, links, timers, heap, old, True, timed)
            counts[words + FORGOTTEN] += 1
    slot = slot_known(direct, index, key)
    if slot >= 0 and ttl_ns > 0 and is_over(links, slot, now_ns, ttl_ns):
        forget(direct, index, keys, links, timers, heap, slot, True, timed)
        counts[words + FORGOTTEN] += 1
        slot = -1
    if slot < 0:
        if when_full != 0 and count(index) >= limit:
            if when_full == 1:
                counts[words + DROPPED] += 1
                return -1
            forget(direct, index, keys, links, timers, heap, oldest(links), True, timed)
            counts[words + EVICTED] += 1
        slot = _new_slot(direct, index, keys, key)
        if ttl_ns > 0 or when_full == 2:
            see(links, slot, now_ns)
        return NEW_KEY + slot
    if ttl_ns > 0 or when_full == 2:
        see(links, slot, now_ns)
    return slot


@kernel
def forget(direct, index, keys, links, timers, heap, slot, ordered, timed):
    """Give the slot back; its timer is unset."""
    if timed and row(timers, slot).place > 0:
        set_timer(timers, heap, slot, 0, NEVER)
    if ordered:
        leave(links, slot)
    give_back(direct, index, keys, slot)


@kernel
def give_back(direct, index, keys, slot):
    """The slot's key is not known any more. What it held stays until the slot is used again."""
    key = keys[slot]
    remove(index, key)
    if 0 <= key < DIRECT:
        direct[key] = 0
    keys[slot] = index[FREE]
    index[FREE] = slot + 1


@kernel
def clear_cells(numbers, slot, cells):
    """What an earlier key left in the cells of a slot is not this one's."""
    for cell in range(slot * cells, (slot + 1) * cells):
        numbers[cell] = 0


@kernel
def _new_slot(direct, index, keys, key):
    slot = index[FREE] - 1
    if slot >= 0:
        index[FREE] = keys[slot]
    else:
        slot = count(index)
    insert(index, key, slot)
    keys[slot] = key
    if 0 <= key < DIRECT:
        direct[key] = slot + 1
    return slot


@kernel
def rearm(timers, heap, slot, key, wake_ns):
    """Make the slot's timer due at wake_ns (UNSET: never); returns when, or NEVER."""
    timer = row(timers, slot)
    if wake_ns == UNSET:
        if timer.place > 0:
            set_timer(timers, heap, slot, key, NEVER)
        return NEVER
    if timer.place == 0 or timer.wake_ns != wake_ns:
        set_timer(timers, heap, slot, key, wake_ns)
    return wake_ns


@kernel
def rearm_earlier(timers, heap, slot, key, wake_ns):
    """Make the slot's timer due at wake_ns unless it is due earlier; returns when."""
    timer = row(timers, slot)
    if timer.place > 0 and timer.wake_ns <= wake_ns:
        return timer.wake_ns
    set_timer(timers, heap, slot, key, wake_ns)
    return wake_ns


__all__ = [
    "DIRECT",
    "NEW_KEY",
    "begin",
    "clear_cells",
    "forget",
    "give_back",
    "is_over",
    "leave",
    "new_links",
    "place_of",
    "rearm",
    "rearm_earlier",
    "slot_known",
    "slot_of",
    "slot_only",
]
