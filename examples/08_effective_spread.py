"""What trading cost: somebody's Parquet of quotes and trades, effective against quoted spread.

The quoted spread is ask less bid; the effective one is twice the distance of a price from the
middle. `asof_join` takes the last quote before the trade.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import onetape as ot
from onetape import c
from onetape import market as mk

START_US = 1767623400_000_000  # 2026-01-05 14:30 UTC


def write(path: Path, times: np.ndarray, **columns: np.ndarray) -> Path:
    when = pa.array(times, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"time": when, "sym": ["ACME"] * len(times)} | columns), path)
    return path


def read(path: Path, of: type, **columns: str | None) -> ot.Stream:
    names = {"ts_event_ns": "time", "instrument_id": "sym", **columns}
    return ot.read(path, of, tick="0.01", columns=names)


rng = np.random.default_rng(1)
times = START_US + np.cumsum(rng.integers(100, 9_000, 5_000))
bids, spreads = 1000 + np.cumsum(rng.integers(-1, 2, 5_000)), rng.integers(1, 5, 5_000)
asks, at = bids + spreads, np.sort(rng.choice(5_000, 800))
prices = np.where(rng.random(800) < 0.5, bids[at], asks[at]) + rng.integers(-1, 2, 800)

with tempfile.TemporaryDirectory() as folder:
    out, no_sizes = Path(folder), {"bid_qty_lots": None, "ask_qty_lots": None}
    file = write(out / "quotes.parquet", times, bid=bids / 100, ask=asks / 100)
    quotes = read(file, mk.TopOfBook, bid_price_ticks="bid", ask_price_ticks="ask", **no_sizes)
    file = write(out / "trades.parquet", times[at] + 50, price=prices / 100)
    trades = read(file, mk.Trade, price_ticks="price", qty_lots=None)
    cost = trades.asof_join(quotes, by=c.instrument_id, max_age="1s").select(
        quoted_ticks=c.ask_price_ticks - c.bid_price_ticks,
        effective_ticks=(2 * c.price_ticks - c.bid_price_ticks - c.ask_price_ticks).abs(),
    )
    rows = ot.run(ot.Pipeline(cost=cost)).cost.rows
quoted, effective = rows["quoted_ticks"], rows["effective_ticks"]
assert (effective == abs(2 * prices - bids[at] - asks[at])).all()  # NumPy says the same
print(f"{len(rows)} trades: quoted {quoted.mean():.3f} ticks, effective {effective.mean():.3f}")
for side in ("inside", "at", "outside"):
    chosen = {"inside": effective < quoted, "at": effective == quoted}.get(side, effective > quoted)
    print(f"  {chosen.mean():6.1%} {side} the quote")
