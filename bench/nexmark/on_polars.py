"""Polars: lazy queries over all bids at once, on one thread. A batch engine.

For q5 bids are counted by panes of 2 s first, and each pane's counts go to five windows.
"""

from typing import Any

import polars as pl
from bench.nexmark.stream import EVERY_US, PAUSE_US, WIDTH_US
from bench.peers.on_polars import TS, _Run

AUCTION, BIDDER, BIDS = pl.col("auction"), pl.col("bidder"), pl.col("bids")


def _us(microseconds: int) -> pl.Expr:
    return pl.duration(microseconds=microseconds)


class _Query(_Run):
    def rows(self) -> Any:
        return self.out.select(TS.to_physical(), *self.columns).to_numpy()

    columns: tuple[str, ...] = ()


class Q5(_Query):
    columns = ("auction", "bids")

    def asked(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        panes = frame.group_by(TS.dt.truncate(f"{EVERY_US}us"), AUCTION).agg(pl.len().alias("bids"))
        windows = pl.concat(
            [panes.with_columns(TS + _us(n)) for n in range(EVERY_US, WIDTH_US + 1, EVERY_US)]
        )
        counted = windows.group_by(TS, AUCTION).agg(BIDS.sum())
        return counted.sort(BIDS, AUCTION, descending=[True, False]).group_by(TS).first()


class Q7(_Query):
    columns = ("price",)

    def asked(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        end = TS.dt.truncate(f"{WIDTH_US}us") + _us(WIDTH_US)
        return frame.group_by(end).agg(pl.col("price").max())


class Q11(_Query):
    columns = ("bidder", "bids")

    def asked(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        is_new = (BIDDER.shift() != BIDDER) | (TS - TS.shift() >= _us(PAUSE_US))
        return (
            frame.select(TS, BIDDER)
            .sort(BIDDER, maintain_order=True)
            .with_columns(is_new.fill_null(True).cum_sum().alias("session"))
            .group_by("session")
            .agg(TS.last() + _us(PAUSE_US), BIDDER.last(), pl.len().alias("bids"))
        )
