"""What an interval join keeps: for each key and side, the rows that may still have a partner.

A key has two lists, of the left side's rows and of the right's, each in the order of time and, of
equal times, of arrival. Lists are of cells of a side's pool; rows lie in a block at the same cells.

    links   before, after: cell + 1 of the neighbours, 0 at an end; met: has it had a partner?
    ends    int64[4 * slots]: of each key first and last of the left, first and last of the right
    told    int64[2 * slots]: when rows without a partner were last told, and how many were made

Most rows are newer than all before them and go to the end of their list at once.
"""

import numpy as np

from onetape.compiled.index import find, insert, remove
from onetape.compiled.kernel import kernel
from onetape.compiled.pool import give_back, take
from onetape.compiled.rows import row

LINK = np.dtype([("ts_ns", "<i8"), ("before", "<i8"), ("after", "<i8"), ("met", "<i8")])
LEFT, RIGHT = 0, 2  # where a side's ends are, among the four of a key


@kernel
def known_key(index, key):
    """Where the ends of the key's lists are, or -1."""
    slot = find(index, key)
    return 4 * slot if slot >= 0 else -1


@kernel
def any_key(index, pool, told, key):
    """As `known_key`; a key that has no rows yet gets a slot."""
    slot = find(index, key)
    if slot < 0:
        slot = take(pool)
        insert(index, key, slot)
        told[2 * slot] = 0
    return 4 * slot


@kernel
def drop_key(index, pool, ends, at, key):
    """A key of which no row is left is forgotten."""
    if ends[at + LEFT] == 0 and ends[at + RIGHT] == 0:
        remove(index, key)
        give_back(pool, at // 4)


@kernel
def first_from(links, ends, at, side, ts_ns):
    """Cell + 1 of the first row of the key's list that is not before `ts_ns`; 0: none."""
    cell = ends[at + side] if at >= 0 else 0
    while cell > 0 and row(links, cell - 1).ts_ns < ts_ns:
        cell = row(links, cell - 1).after
    return cell


@kernel
def until(links, cell, ts_ns):
    """The same cell + 1, or 0 where its row is after `ts_ns`."""
    return cell if cell > 0 and row(links, cell - 1).ts_ns <= ts_ns else 0


@kernel
def keep(links, pool, ends, at, ts_ns, met):
    """A cell for a row at `ts_ns`, in its place in the list whose ends are at `at`."""
    cell = take(pool)
    link = row(links, cell)
    before = ends[at + 1]
    while before > 0 and row(links, before - 1).ts_ns > ts_ns:
        before = row(links, before - 1).before
    after = row(links, before - 1).after if before > 0 else ends[at]
    link.ts_ns = ts_ns
    link.before = before
    link.after = after
    link.met = met
    if before > 0:
        row(links, before - 1).after = cell + 1
    else:
        ends[at] = cell + 1
    if after > 0:
        row(links, after - 1).before = cell + 1
    else:
        ends[at + 1] = cell + 1
    return cell


@kernel
def first_over(links, pool, ends, at, ts_ns, is_told):
    """Free the list's rows that are not after `ts_ns`; where `is_told`, up to the first that has
    met no partner: its cell, or -1. What lies in it is there until the pool is asked again."""
    while ends[at] > 0 and row(links, ends[at] - 1).ts_ns <= ts_ns:
        cell = ends[at] - 1
        link = row(links, cell)
        ends[at] = link.after
        if link.after > 0:
            row(links, link.after - 1).before = 0
        else:
            ends[at + 1] = 0
        give_back(pool, cell)
        if is_told and link.met == 0:
            return cell
    return -1


@kernel
def next_over(left, right, ends, at, left_ns, right_ns, far, never):
    """When the first of the key's rows can have no partner any more, at most `far`: a row of the
    left `left_ns` after its time, of the right `right_ns`. `never`: there is none."""
    wake = never
    if ends[at + LEFT] > 0:
        wake = min(row(left, ends[at + LEFT] - 1).ts_ns + left_ns, far)
    if ends[at + RIGHT] > 0:
        wake = min(wake, row(right, ends[at + RIGHT] - 1).ts_ns + right_ns, far)
    return wake
