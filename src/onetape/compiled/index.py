"""A hash index from 64-bit keys to slots that grows a little at each insertion, never all at once.

Rehashing half a million keys in one go stalls for 57 ms. Here a table that is half full gets a
successor of twice the size, and each further insertion moves a few entries over; while that goes
on a lookup may probe both. All tables live one behind the other in one reserved array (memory
that is not touched costs nothing), so nothing is ever allocated:

    word 0..7   SIZE BASE OLD_SIZE OLD_BASE CURSOR COUNT LIMIT FREE
    word 8..    entries of two words: key, slot + 1   (0: free; MOVED: its entry has moved on)

Linear probing; four neighbouring keys share one cache line, since venues number orders upwards
and the young ones are the ones that change. Deletion shifts back, so there are no tombstones to
clean up. Load is at most one half. Expected cost of a lookup: one cache miss.
"""

from typing import Any

import numpy as np

from onetape.compiled.bits import mul_wrap, shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import prefetch

# FREE is not the index's own: its user keeps there where its free slots begin.
SIZE, BASE, OLD_SIZE, OLD_BASE, CURSOR, COUNT, LIMIT, FREE = range(8)
HEADER_WORDS = 8
FIRST_SIZE = 64
MOVED = -1
MOVES_PER_INSERT = 4  # 2 would do: a table of m entries has m/2 insertions until it must be gone
SCATTER = -7046029254386353131  # 2**64 / golden ratio, odd


def new_index(limit: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """An index for at most `limit` keys. Reserves 64 to 128 bytes a key of untouched memory."""
    if not 0 < limit <= 1 << 32:
        raise ValueError(f"limit was {limit}; expected 1 to {1 << 32} keys")
    entries, size = FIRST_SIZE, FIRST_SIZE
    while size < 2 * limit:
        size *= 2
        entries += size
    words = np.zeros(HEADER_WORDS + 2 * entries, np.int64)
    words[SIZE] = FIRST_SIZE
    words[LIMIT] = limit
    return words


def held_slots(index: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The slots of all keys, upwards. O(size of the index) where slots were given back."""
    if index[FREE] == 0:  # handed out from 0 on, and none came back
        return np.arange(int(index[COUNT]))
    tables = [(index[BASE], index[SIZE]), (index[OLD_BASE], index[OLD_SIZE])]
    words = [HEADER_WORDS + 2 * int(base) + 1 for base, _ in tables]
    ends = [word + 2 * int(size) for word, (_, size) in zip(words, tables, strict=True)]
    held = np.concatenate([index[w:end:2] for w, end in zip(words, ends, strict=True)])
    return np.sort(held[held > 0]) - 1


@kernel
def count(index):
    """Number of keys in the index."""
    return index[COUNT]


@kernel
def home(key, mask):
    """Where the search for a key begins: a scattered group of four, in the key's own order."""
    group = shift_right(mul_wrap(shift_right(key, 2), SCATTER), 32)
    return (group * 4 + (key & 3)) & mask


@kernel
def find(index, key):
    """The key's slot, or -1."""
    size = index[SIZE]
    found = _probe(index, key, index[BASE], size)
    if found < 0 and index[OLD_SIZE] > 0:
        found = _probe(index, key, index[OLD_BASE], index[OLD_SIZE])
    return -1 if found < 0 else index[found + 1] - 1


@kernel
def foresee(index, key):
    """Have the entries that `find` will look at on their way from memory."""
    at = home(key, index[SIZE] - 1)
    prefetch(index, HEADER_WORDS + 2 * (index[BASE] + at))


@kernel
def insert(index, key, slot):
    """Add a key that is not there. The caller keeps the number of keys within the limit."""
    _move_some(index)
    if 2 * (index[COUNT] + 1) > index[SIZE]:
        _move_all(index)
        index[OLD_SIZE] = index[SIZE]
        index[OLD_BASE] = index[BASE]
        index[BASE] += index[SIZE]
        index[SIZE] *= 2
        index[CURSOR] = 0
    _place(index, key, slot + 1)
    index[COUNT] += 1


@kernel
def find_or_add(index, key):
    """The key's slot; a new key gets the next one, counting up from 0. -1 when at the limit."""
    slot = find(index, key)
    if slot < 0:
        slot = index[COUNT]
        if slot >= index[LIMIT]:
            return -1
        insert(index, key, slot)
    return slot


@kernel
def remove(index, key):
    """Take a key out; returns the slot it had, or -1."""
    word = _probe(index, key, index[BASE], index[SIZE])
    if word >= 0:
        slot = index[word + 1] - 1
        _close_gap(index, word)
        index[COUNT] -= 1
        return slot
    if index[OLD_SIZE] > 0:
        word = _probe(index, key, index[OLD_BASE], index[OLD_SIZE])
        if word >= 0:
            slot = index[word + 1] - 1
            index[word + 1] = MOVED
            index[COUNT] -= 1
            return slot
    return -1


@kernel
def _probe(index, key, base, size):
    """Word of the key's entry in one table, or -1."""
    mask = size - 1
    at = home(key, mask)
    for _ in range(size):
        word = HEADER_WORDS + 2 * (base + at)
        held = index[word + 1]
        if held == 0:
            return -1
        if index[word] == key and held > 0:
            return word
        at = (at + 1) & mask
    return -1


@kernel
def _place(index, key, held):
    mask = index[SIZE] - 1
    base = index[BASE]
    at = home(key, mask)
    for _ in range(mask + 1):
        word = HEADER_WORDS + 2 * (base + at)
        if index[word + 1] == 0:
            index[word] = key
            index[word + 1] = held
            return
        at = (at + 1) & mask


@kernel
def _move_some(index):
    if index[OLD_SIZE] > 0:
        until = min(index[CURSOR] + MOVES_PER_INSERT, index[OLD_SIZE])
        for at in range(index[CURSOR], until):
            word = HEADER_WORDS + 2 * (index[OLD_BASE] + at)
            held = index[word + 1]
            if held > 0:
                _place(index, index[word], held)
                index[word + 1] = MOVED
        index[CURSOR] = until
        if until == index[OLD_SIZE]:
            index[OLD_SIZE] = 0


@kernel
def _move_all(index):
    """Finish a move under way. Never has work left: MOVES_PER_INSERT is twice what is needed."""
    for _ in range(index[OLD_SIZE] // MOVES_PER_INSERT + 1):
        _move_some(index)


@kernel
def _close_gap(index, word):
    """Free an entry and shift back the ones behind it that may stand there."""
    mask = index[SIZE] - 1
    base = index[BASE]
    gap = (word - HEADER_WORDS) // 2 - base
    at = gap
    for _ in range(mask):
        at = (at + 1) & mask
        word = HEADER_WORDS + 2 * (base + at)
        if index[word + 1] == 0:
            break
        if ((at - home(index[word], mask)) & mask) >= ((at - gap) & mask):
            hole = HEADER_WORDS + 2 * (base + gap)
            index[hole] = index[word]
            index[hole + 1] = index[word + 1]
            gap = at
    index[HEADER_WORDS + 2 * (base + gap) + 1] = 0
