"""A synthetic week: five trading days whose symbols trade as often as those of a real one.

Nothing of the challenge's data is part of this program: their licence is non-commercial. How often
symbols trade is a model with two facts of the published counts in it; a person who has those counts
(symbols-unique.txt of the evaluator) can give them instead.
"""

from math import exp, log
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from examples.debs2022.queries import Last

SYMBOLS = 5504
MEDIAN, BUSIEST = 13_000, 4_806_284  # rows of a symbol in the week
MONDAY_NS = 1_636_329_600 * 10**9  # 2021-11-08 00:00 UTC
DAY_NS = 86_400 * 10**9
OPEN_NS, CLOSE_NS = 8 * 3600 * 10**9, 16 * 3600 * 10**9 + 1800 * 10**9  # 9:00 to 17:30 CET
TICKS = 1_000_000  # of one unit of the currency


def frequencies(counts: Path | None = None) -> list[tuple[str, float]]:
    """(symbol, share of all events), busiest first: of a file of lines "count symbol", or a model.

    The model: counts are log-normal; half of the symbols have fewer than 13 000 rows in the week,
    and the busiest has 4.8 M. It comes to 45 000 rows a symbol (289 M / 5504 = 52 500 it was).
    """
    if counts is None:
        normal = NormalDist()
        sigma = log(BUSIEST / MEDIAN) / normal.inv_cdf(1 - 0.5 / SYMBOLS)
        ranks = [(k - 0.5) / SYMBOLS for k in range(1, SYMBOLS + 1)]
        found = {
            f"S{k:04d}": MEDIAN * exp(-sigma * normal.inv_cdf(rank))
            for k, rank in enumerate(ranks, 1)
        }
    else:
        lines = (line.split() for line in counts.read_text().splitlines())
        found = {symbol: float(count) for count, symbol in lines}
    total = sum(found.values())
    ordered = sorted(found.items(), key=lambda each: -each[1])
    return [(symbol, count / total) for symbol, count in ordered]


def week(events: int, shares: list[float], seed: int = 1) -> Any:
    """`events` trades in order of time, as Last; the k-th share is of the symbol with id k + 1."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(events, Last.dtype)
    day, of_day = rng.integers(0, 5, events), rng.integers(OPEN_NS, CLOSE_NS, events)
    times = np.sort(MONDAY_NS + day * DAY_NS + of_day)
    rows["ts_event_ns"] = times // 10**6 * 10**6  # the challenge has milliseconds
    ids = 1 + rng.choice(len(shares), events, p=np.asarray(shares) / sum(shares))
    rows["instrument_id"] = ids
    rows["kind"] = np.where(ids % 200, ord("E"), ord("I"))
    order = np.argsort(ids, kind="stable")
    walked = np.cumsum(rng.integers(-10, 11, events))  # each symbol goes on from its own first step
    firsts = np.flatnonzero(np.diff(ids[order], prepend=0))
    begun = np.repeat(walked[firsts], np.diff(firsts, append=events))
    opening = rng.integers(5, 500, len(shares) + 1)[ids[order]] * TICKS
    moved = opening // 10_000 * (walked - begun)
    rows["price_ticks"][order] = opening + np.maximum(moved, TICKS - opening)
    return rows
