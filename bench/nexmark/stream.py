"""Bids, and the answers to the three queries, in NumPy.

Times are even microseconds and the pause of a session is odd, so nothing hangs on whether a pause
of just that length ends it.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench.peers.stream import START_US, in_order

WIDTH_US, EVERY_US = 10_000_000, 2_000_000
PAUSE_US = 10_000_001
BIDDERS = 50_000
BIDS_AN_AUCTION = 500
clock = time.process_time  # of all threads: what else the machine does is left out


@dataclass(frozen=True)
class Bids:
    """Columns, in time order."""

    ts_us: Any
    auction: Any
    bidder: Any
    price: Any


def bids(events: int, seed: int = 1) -> Bids:
    rng = np.random.default_rng([seed, 5])
    newest = np.arange(events) // BIDS_AN_AUCTION
    others = np.maximum(newest - rng.integers(0, 100, events), 0)
    return Bids(
        ts_us=START_US + 2 * np.cumsum(rng.integers(1, 100, events)),
        auction=np.where(rng.random(events) < 0.5, newest // 10 * 10, others),
        bidder=rng.integers(0, BIDDERS, events),
        price=rng.integers(100, 10_000_000, events),
    )


def q5_answer(b: Bids) -> Any:
    """Rows of (end, auction, bids); of equal counts the auction with the lowest number."""
    most = int(b.auction.max()) + 1
    panes, counts = np.unique(b.ts_us // EVERY_US * most + b.auction, return_counts=True)
    later = range(1, WIDTH_US // EVERY_US + 1)
    ends = np.concatenate([panes + n * most for n in later])
    keys, place = np.unique(ends, return_inverse=True)
    total = np.zeros(len(keys), np.int64)
    np.add.at(total, place, np.tile(counts, len(later)))
    end, auction = keys // most, keys % most
    order = np.lexsort((auction, -total, end))
    first = order[np.flatnonzero(np.diff(end[order], prepend=-1))]
    return np.stack([end[first] * EVERY_US, auction[first], total[first]], axis=1)


def q7_answer(b: Bids) -> Any:
    """Rows of (end, price)."""
    ends, place = np.unique(b.ts_us // WIDTH_US + 1, return_inverse=True)
    highest = np.zeros(len(ends), np.int64)
    np.maximum.at(highest, place, b.price)
    return np.stack([ends * WIDTH_US, highest], axis=1)


def q11_answer(b: Bids) -> Any:
    """Rows of (end: the last bid and the pause, bidder, bids)."""
    order = np.argsort(b.bidder, kind="stable")
    bidder, ts_us = b.bidder[order], b.ts_us[order]
    is_new = np.diff(bidder, prepend=-1) != 0
    is_new |= np.diff(ts_us, prepend=0) >= PAUSE_US
    begins = np.flatnonzero(is_new)
    last = np.append(begins[1:], len(bidder)) - 1
    return in_order(np.stack([ts_us[last] + PAUSE_US, bidder[last], last - begins + 1], axis=1))


ANSWERS = {"q5": (bids, q5_answer), "q7": (bids, q7_answer), "q11": (bids, q11_answer)}
