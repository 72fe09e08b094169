"""Slots that are handed out and come back, in any order: those that came back go out first.

word 0   slots that were never out begin here
word 1   how many came back and wait
word 2.. those
"""

from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel

FRESH, BACK, FIRST = 0, 1, 2


def new_pool(slots: int) -> Any:
    """A pool of `slots` slots, none of them out. Who takes knows that there is one: `left`."""
    return np.zeros(FIRST + slots, np.int64)


@kernel
def take(pool):
    """A slot."""
    if pool[BACK] == 0:
        pool[FRESH] += 1
        return pool[FRESH] - 1
    pool[BACK] -= 1
    return pool[FIRST + pool[BACK]]


@kernel
def give_back(pool, slot):
    pool[FIRST + pool[BACK]] = slot
    pool[BACK] += 1


@kernel
def left(pool):
    """How many can be taken."""
    return pool.shape[0] - FIRST - pool[FRESH] + pool[BACK]
