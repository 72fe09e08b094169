"""The input of the comparison and its answers, in NumPy.

    trades    one each 10 us on average, of 100 instruments: some 100 a window and instrument
    cancels   one each 100 us, so one in 10 ms and instrument; and each 100 ms some ten of one
              instrument within 2 ms, a burst

No two events have the same time, and times are whole microseconds, which every engine can hold.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

INSTRUMENTS = 100
WIDTH_US = 100_000  # of a VWAP window: [start, end), aligned to 1970
WITHIN_US = 10_000
MORE_THAN = 5
START_US = 1_767_623_400_000_000  # 2026-01-05 14:30 UTC


@dataclass(frozen=True)
class Events:
    """Columns, in time order. Cancels have no use for price and quantity."""

    ts_us: Any
    instrument: Any
    price_ticks: Any
    qty_lots: Any


def trades(events: int, seed: int = 1) -> Events:
    rng = np.random.default_rng([seed, 0])
    return _events(rng, rng.integers(0, INSTRUMENTS, events), 10)


def cancels(events: int, seed: int = 1) -> Events:
    rng = np.random.default_rng([seed, 1])
    hot = np.repeat(rng.integers(0, INSTRUMENTS, events // 1000 + 1), 1000)[:events]
    is_hot = (np.arange(events) % 1000 < 20) & (rng.random(events) < 0.5)
    return _events(rng, np.where(is_hot, hot, rng.integers(0, INSTRUMENTS, events)), 100)


def _events(rng: Any, instrument: Any, apart_us: int) -> Events:
    count = len(instrument)
    return Events(
        ts_us=START_US + np.cumsum(rng.integers(1, 2 * apart_us, count)),
        instrument=instrument,
        price_ticks=10_000 + rng.integers(-50, 51, count),
        qty_lots=rng.integers(1, 9, count) * 100,
    )


def vwap_answer(t: Events) -> Any:
    """Rows of (end of the window in us, instrument, notional, quantity), sorted."""
    group = (t.ts_us // WIDTH_US + 1) * INSTRUMENTS + t.instrument
    keys, place = np.unique(group, return_inverse=True)
    notional, qty = np.zeros((2, len(keys)), np.int64)
    np.add.at(notional, place, t.price_ticks * t.qty_lots)
    np.add.at(qty, place, t.qty_lots)
    return np.stack([keys // INSTRUMENTS * WIDTH_US, keys % INSTRUMENTS, notional, qty], axis=1)


def bursts_answer(c: Events) -> Any:
    """Rows of (time of the cancel that opens an episode in us, instrument), sorted.

    A cancel is over when more than MORE_THAN lie in [t - WITHIN_US, t]; one that is over opens an
    episode unless another was over in the WITHIN_US before it.
    """
    found = []
    for instrument in range(INSTRUMENTS):
        ts_us = c.ts_us[c.instrument == instrument]
        over = ts_us[MORE_THAN:][ts_us[MORE_THAN:] - ts_us[:-MORE_THAN] <= WITHIN_US]
        opens = over[np.diff(over, prepend=-WITHIN_US) >= WITHIN_US]
        found.append(np.stack([opens, np.full(len(opens), instrument)], axis=1))
    return in_order(np.concatenate(found))


def in_order(rows: Any) -> Any:
    """By time, then by instrument."""
    rows = np.asarray(rows, np.int64)
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))] if len(rows) else rows


ANSWERS = {"vwap": (trades, vwap_answer), "bursts": (cancels, bursts_answer)}
