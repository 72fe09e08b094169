"""The partial matches of a key: rows of a block, in a chain, in the order of preference.

First come those that began first; of one beginning, the preferred first. Cells of a key are
numbered from 1; 0 ends a chain. `base` is where the key's cells begin in the block `runs`.

    KEY   one row a key: head and told begin chains, free that of cells given back, fresh counts
          cells ever used, open those in the chain of head, events those that the key has seen
    RUN   one row a partial match: the step it stands at, how many events it has there, gap (an
          event was passed over since the last it took), done (it is a match, and waits its turn)
"""

from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.compiled.rows import copy_row, row
from onetape.engine.columns.values import col_add
from onetape.engine.layout import FAR
from onetape.records import UNSET

KEY_WORDS = ("head", "told", "free", "fresh", "open", "events", "wake_ns")
RUN_WORDS = ("next", "step", "count", "gap", "done", "start_ns", "first", "resume")
KEY = np.dtype([(name, "<i8") for name in KEY_WORDS])


@kernel
def new_cell(key, runs, base):
    """A cell for one more partial match; there are enough."""
    key.open += 1
    cell = key.free
    if cell == 0:
        key.fresh += 1
        return key.fresh
    key.free = row(runs, base + cell - 1).next
    return cell


@kernel
def copy_of(key, runs, base, at):
    """A cell with the same partial match."""
    cell = new_cell(key, runs, base)
    copy_row(runs, base + cell - 1, runs, base + at - 1)
    return cell


@kernel
def let_go(key, runs, base, at):
    """Give a cell back; returns the one behind it in its chain."""
    run = row(runs, base + at - 1)
    following = run.next
    run.next = key.free
    key.free = at
    key.open -= 1
    return following


@kernel
def keep(key, runs, base, last, at):
    """Put a cell behind `last` in the chain (0: make it the head); returns it, the new last."""
    _put_behind(runs, base, last, at)
    if last == 0:
        key.head = at
    return at


@kernel
def _put_behind(runs, base, last, at):
    """The cell ends its chain; `last`, if any, comes before it."""
    row(runs, base + at - 1).next = 0
    if last != 0:
        row(runs, base + last - 1).next = at


@kernel
def end(key, runs, base, last, at, is_match):
    """A partial match can go no further: it is a match, or let go. Returns the chain's last."""
    if is_match:
        row(runs, base + at - 1).done = 1
        return keep(key, runs, base, last, at)
    let_go(key, runs, base, at)
    return last


@kernel
def tell_each(key, runs, base):
    """Every match is told: into the chain of `told`, which is empty."""
    at, last, told = key.head, 0, 0
    key.head = 0
    while at != 0:
        run = row(runs, base + at - 1)
        following = run.next
        if run.done != 0:
            told = _tell(key, runs, base, told, at)
        else:
            last = keep(key, runs, base, last, at)
        at = following


@kernel
def tell_best(key, runs, base):
    """Of one beginning the preferred match is told, once nothing before it can become one."""
    at, last, told, cut, open_ = key.head, 0, 0, -1, -1
    key.head = 0
    while at != 0:
        run = row(runs, base + at - 1)
        following = run.next
        if run.first == cut:  # less than a match of the same beginning
            let_go(key, runs, base, at)
        elif run.done != 0:
            cut = run.first
            if run.first == open_:
                last = keep(key, runs, base, last, at)
            else:
                told = _tell(key, runs, base, told, at)
        else:
            open_ = run.first
            last = keep(key, runs, base, last, at)
        at = following


@kernel
def tell_in_turn(key, runs, base):
    """As in SQL: the first beginning is decided first, and the next is looked for from `resume`."""
    told = 0
    while key.head != 0 and row(runs, base + key.head - 1).done != 0:
        at = key.head
        run = row(runs, base + at - 1)
        behind = run.next
        told = _tell(key, runs, base, told, at)
        last = 0
        key.head = 0
        while behind != 0:
            other = row(runs, base + behind - 1)
            if other.first == run.first or other.first < run.resume:
                behind = let_go(key, runs, base, behind)
            else:
                following = other.next
                last = keep(key, runs, base, last, behind)
                behind = following
    at, last, cut = key.head, 0, -1
    key.head = 0
    while at != 0:
        run = row(runs, base + at - 1)
        following = run.next
        if run.first == cut:
            let_go(key, runs, base, at)
        else:
            cut = run.first if run.done != 0 else cut
            last = keep(key, runs, base, last, at)
        at = following


@kernel
def _tell(key, runs, base, last, at):
    _put_behind(runs, base, last, at)
    if last == 0:
        key.told = at
    return at


@kernel
def drop_oldest(key, runs, base, at_most):
    """Keep the `at_most` that began last; returns how many are lost."""
    lost = max(key.open - at_most, 0)
    for _ in range(lost):
        if key.head == 0:
            no_such_step()
        key.head = let_go(key, runs, base, key.head)
    return lost


@kernel
def drop_newest(key, runs, base, at_most):
    """Keep the `at_most` that began first; returns how many are lost."""
    lost = max(key.open - at_most, 0)
    if lost > 0:
        last = key.head
        for _ in range(at_most - 1):
            if last == 0:
                no_such_step()
            last = row(runs, base + last - 1).next
        if last == 0:
            no_such_step()
        at = row(runs, base + last - 1).next
        row(runs, base + last - 1).next = 0
        while at != 0:
            at = let_go(key, runs, base, at)
    return lost


@kernel
def no_such_step():
    """What a key holds is not of this pattern: halt, before anything is written beside it."""
    raise ValueError(
        "the partial matches of a key are not of this pattern: it has no such step, or the key "
        "has fewer open than it counts; its state is not to be gone on with"
    )


@kernel
def halt(key, runs, base, at_most):
    """Lose none."""
    if key.open > at_most:
        raise ValueError(
            "more partial matches of one key are open than the pattern's at_most; raise it, "
            "shorten within, or say which to drop: when_full='drop_oldest'"
        )
    return 0


@kernel
def first_end(key, runs, base, within):
    """When the time of one that is not decided is over, the first; UNSET where none is open."""
    wake, at = UNSET, key.head
    while at != 0:
        run = row(runs, base + at - 1)
        if run.done == 0:
            ends = end_ns(run.start_ns, within)
            wake = ends if wake == UNSET else min(wake, ends)
        at = run.next
    return wake


@kernel
def begin_ns(ts_ns):
    """A time as one that sums with durations are safe of."""
    return min(max(ts_ns, 0), FAR - 1)


@kernel
def end_ns(start_ns, within_ns):
    """When a match that began then has no more time."""
    return min(start_ns + within_ns, FAR)


@kernel
def sum_of(total, value):
    """With one more value; those that are not known are left out."""
    if total == UNSET or value == UNSET:
        return value if total == UNSET else total
    return col_add(total, value)


@kernel
def min_of(least, value):
    if least == UNSET or value == UNSET:
        return value if least == UNSET else least
    return min(least, value)


@kernel
def max_of(most, value):
    return max(most, value)  # UNSET is the smallest number there is


@kernel
def sum_of_floats(total, value):
    if total != total or value != value:
        return value if total != total else total
    return total + value


@kernel
def min_of_floats(least, value):
    if least != least or value != value:
        return value if least != least else least
    return min(least, value)


@kernel
def max_of_floats(most, value):
    if most != most or value != value:
        return value if most != most else most
    return max(most, value)


def canonical_key(keys: Any, runs: Any, slot: int, cells: int) -> Any:
    """The partial matches of a key, in order, without where they lie."""
    found, at = [], int(keys[slot]["head"])
    while at != 0:
        found.append(slot * cells + at - 1)
        at = int(runs[found[-1]]["next"])
    made = runs[found].copy()
    made["next"] = 0
    return made
