"""Which parts of reserved memory were ever used, without touching the rest.

State is reserved as address space and mostly never touched. To read it, only to see that it is
zero, has the system map page after page; its page table says which are there, some 3 ms a gigabyte.
Where the system does not tell (not Linux; memory that is a file's), every part counts as used:
slower, and as right.
"""

import os
from typing import Any

import numpy as np

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
SMALL_BYTES = 1 << 20  # not worth a look
_PRESENT_OR_SWAPPED = 62
_LOOKS = 1 << 17  # pages a read of the page table


def touched(data: Any, part_bytes: int) -> Any:
    """bool[parts]: may this part of `data` (uint8, contiguous) hold anything but zeros?

    False is certain: no page of it was ever written.
    """
    parts = -(-len(data) // part_bytes)
    every = np.ones(parts, bool)
    if len(data) < SMALL_BYTES or not _is_own_memory(data):
        return every
    try:
        fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    except OSError:
        return every
    try:
        begin = data.__array_interface__["data"][0]
        first, last = begin // PAGE_BYTES, (begin + len(data) - 1) // PAGE_BYTES
        there = [np.zeros(1, np.int64)]
        for at in range(first, last + 1, _LOOKS):
            count = min(_LOOKS, last + 1 - at)
            words = np.frombuffer(os.pread(fd, 8 * count, 8 * at), np.uint64)
            if len(words) < count:
                return every
            there.append((words >> np.uint64(_PRESENT_OR_SWAPPED)) != 0)
    finally:
        os.close(fd)
    before = np.cumsum(np.concatenate(there))  # pages in use before page n
    begins = begin + np.arange(parts) * part_bytes
    ends = np.minimum(begins + part_bytes, begin + len(data))
    return before[(ends - 1) // PAGE_BYTES - first + 1] > before[begins // PAGE_BYTES - first]


def copy_touched(target: Any, given: Any) -> None:
    """`target[...] = given`, but what is zero in both is left alone: it takes no memory.

    Both contiguous, of one dtype and shape.
    """
    to, by = (array.reshape(-1).view(np.uint8) for array in (target, given))
    part = 1 << 16
    used, wanted = touched(to, part), touched(by, part)
    for n in np.flatnonzero(used | wanted).tolist():
        here = slice(n * part, (n + 1) * part)
        if wanted[n]:
            to[here] = by[here]
        else:
            to[here] = 0


def _is_own_memory(array: Any) -> bool:
    """Was it allocated for NumPy, rather than mapped from a file?"""
    while isinstance(array, np.ndarray) and not array.flags.owndata:
        array = array.base
    return isinstance(array, np.ndarray)
