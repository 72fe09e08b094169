"""The obvious versions: both queries as one loop over dicts, and as lines of NumPy and Polars.

All of them say (q1, q2): q1 has a row (window's end, symbol's id, ema_38, ema_100) for each window
in which a symbol traded, q2 one (window's end, id, signal) for each crossing; both by time and id.
"""

from typing import Any

import numpy as np

WIDTH_NS = 300 * 10**9
BUY, SELL = ord("B"), ord("S")


def in_python(ts_ns: list[int], ids: list[int], prices: list[int]) -> tuple[Any, Any]:
    """A loop over events in order of time. The reference."""
    closes: dict[tuple[int, int], int] = {}
    for ts, symbol, price in zip(ts_ns, ids, prices, strict=True):
        closes[ts // WIDTH_NS, symbol] = price
    emas: dict[int, tuple[float, float]] = {}
    q1, q2 = [], []
    for (window, symbol), close in sorted(closes.items()):
        was_38, was_100 = emas.get(symbol, (0.0, 0.0))
        ema_38 = close * (2 / (1 + 38)) + was_38 * (1 - 2 / (1 + 38))
        ema_100 = close * (2 / (1 + 100)) + was_100 * (1 - 2 / (1 + 100))
        emas[symbol] = ema_38, ema_100
        end_ns = (window + 1) * WIDTH_NS
        q1.append((end_ns, symbol, ema_38, ema_100))
        if ema_38 > ema_100 and was_38 <= was_100:
            q2.append((end_ns, symbol, BUY))
        if ema_38 < ema_100 and was_38 >= was_100:
            q2.append((end_ns, symbol, SELL))
    return q1, q2


def in_numpy(ts_ns: Any, ids: Any, prices: Any) -> tuple[Any, Any]:
    """Last row of each group of a stable sort; then the n-th window of all symbols at once."""
    windows = ts_ns // WIDTH_NS
    symbols_most = int(ids.max()) + 1
    group = (windows - windows.min()) * symbols_most + ids
    order = np.argsort(group, kind="stable")
    lasts = order[np.flatnonzero(np.diff(group[order], append=-1))]
    symbols, closes, ends = ids[lasts], prices[lasts], (windows[lasts] + 1) * WIDTH_NS
    by_symbol = np.argsort(symbols, kind="stable")
    starts = np.flatnonzero(np.diff(symbols[by_symbol], prepend=-1))
    counts = np.diff(starts, append=len(by_symbol))
    emas = np.zeros((2, len(closes)))
    before = np.zeros((2, len(closes)))
    was = np.zeros((2, len(starts)))
    for n in range(int(counts.max())):
        live = np.flatnonzero(counts > n)
        rows = by_symbol[starts[live] + n]
        before[:, rows] = was[:, live]
        for which, j in enumerate((38, 100)):
            was[which, live] = closes[rows] * (2 / (1 + j)) + was[which, live] * (1 - 2 / (1 + j))
        emas[:, rows] = was[:, live]
    signals = np.where((emas[0] > emas[1]) & (before[0] <= before[1]), BUY, 0)
    signals[(emas[0] < emas[1]) & (before[0] >= before[1])] = SELL
    crossed = signals > 0
    return (ends, symbols, *emas), (ends[crossed], symbols[crossed], signals[crossed])


def in_polars(frame: Any) -> tuple[Any, Any]:
    """A lazy query. Its ewm_mean begins with the first value, so each symbol begins with a 0."""
    import polars as pl

    end, by = ((pl.col("ts_ns") // WIDTH_NS + 1) * WIDTH_NS).alias("end"), "id"
    closes = frame.lazy().group_by(end, by).agg(pl.col("price").last().cast(pl.Float64))
    begins = closes.select(pl.lit(0, pl.Int64).alias("end"), by, price=0.0).unique()
    price = pl.col("price")
    q1 = (
        pl.concat([begins, closes])
        .sort(by, "end")
        .with_columns(
            ema_38=price.ewm_mean(alpha=2 / 39, adjust=False).over(by),
            ema_100=price.ewm_mean(alpha=2 / 101, adjust=False).over(by),
        )
        .with_columns(above=(pl.col("ema_38") - pl.col("ema_100")).sign())
        .with_columns(was=pl.col("above").shift().over(by))
        .filter(pl.col("end") > 0)
        .sort("end", by)
        .collect()
    )
    signal = pl.when(pl.col("above") > 0).then(BUY).otherwise(SELL).alias("signal")
    is_above = (pl.col("above") > 0) & (pl.col("was") <= 0)
    is_below = (pl.col("above") < 0) & (pl.col("was") >= 0)
    q2 = q1.filter(is_above | is_below).select("end", by, signal)
    return q1.select("end", by, "ema_38", "ema_100"), q2
