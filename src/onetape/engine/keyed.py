"""Keyed state: one record a key, in slots handed out in order of first appearance."""

from onetape.compiled.index import count, find, insert
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import copy_row, row
from onetape.compiled.timers import NEVER, set_timer
from onetape.records.types import UNSET

DIRECT = 1 << 16  # keys below this are found without hashing: instrument ids, mostly


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
    if 0 <= key < DIRECT and direct[key] > 0:
        return direct[key] - 1
    slot = find(index, key)
    return _new_slot(direct, index, keys, key) if slot < 0 else slot


@kernel
def _new_slot(direct, index, keys, key):
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
