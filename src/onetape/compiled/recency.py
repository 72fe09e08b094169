"""Slots in the order in which they were last seen: a ring of links, closed by a row of its own.

`links` is a block of LINK rows: row 0 closes the ring, row slot + 1 is the slot's. `older` and
`newer` are rows. To see a slot again is O(1), and so is to name the oldest. Times must not go back,
so whose time is over is at the old end.
"""

from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row

# In row 0, seen_ns is the first time that was known.
LINK = np.dtype([("older", "<i8"), ("newer", "<i8"), ("seen_ns", "<i8")])


def new_links(slots: int) -> Any:
    """Links for slots 0 to `slots` - 1, of which none has been seen."""
    return np.zeros(slots + 1, LINK)


@kernel
def begin(links, now_ns):
    """It is `now_ns`: slots that were seen before any time was known, are seen now."""
    end = row(links, 0)
    if end.seen_ns == 0 and now_ns > 0:
        end.seen_ns = now_ns


@kernel
def see(links, slot, now_ns):
    """The slot is the newest from now on."""
    end = row(links, 0)
    own = row(links, slot + 1)
    own.seen_ns = now_ns
    if end.older == slot + 1:
        return
    if own.newer != 0:
        _take_out(links, own)
    own.older = end.older
    own.newer = 0
    row(links, end.older).newer = slot + 1
    end.older = slot + 1


@kernel
def leave(links, slot):
    """The slot is not in the order any more."""
    own = row(links, slot + 1)
    _take_out(links, own)
    own.newer = 0


@kernel
def oldest(links):
    """The slot that was seen longest ago, or -1."""
    return row(links, 0).newer - 1


@kernel
def is_over(links, slot, now_ns, ttl_ns):
    """Was the slot last seen `ttl_ns` ago or longer?"""
    return max(row(links, slot + 1).seen_ns, row(links, 0).seen_ns) + ttl_ns <= now_ns


@kernel
def ranks(links, into):
    """into[slot] = how many slots are older, of those in the order."""
    at = row(links, 0).newer
    rank = 0
    while at != 0:
        into[at - 1] = rank
        rank += 1
        at = row(links, at).newer


@kernel
def _take_out(links, own):
    row(links, own.older).newer = own.newer
    row(links, own.newer).older = own.older
