"""onetape: columns, and one class for the window over windows."""

from typing import Any

import numpy as np
from bench.nexmark.stream import EVERY_US, PAUSE_US, WIDTH_US, Bids
from bench.peers.on_onetape import _Run

import onetape as ot
from onetape import c


@ot.record
class Bid:
    ts_event_ns: ot.i64
    price: ot.i64
    auction: ot.u32
    bidder: ot.u32


@ot.record
class Hot:
    ts_event_ns: ot.i64
    auction: ot.i64
    bids: ot.i64


BIDS = ot.source(Bid)
COUNTED = BIDS.window(WIDTH_US * 1000, every=EVERY_US * 1000, by=c.auction).agg(bids=ot.count())


@ot.aggregate
class Hottest:
    """Of the auctions' counts at one moment, which come in the order of auctions."""

    auction: ot.i64 = 0
    bids: ot.i64 = 0

    def add(self, w: COUNTED.of) -> None:
        if w.bids > self.bids:
            self.auction = w.auction
            self.bids = w.bids

    def result(self, key: int, start_ns: int, end_ns: int) -> Hot | None:
        return Hot(start_ns, self.auction, self.bids)


class _Query(_Run):
    columns: tuple[str, ...] = ()

    def __init__(self, b: Bids) -> None:
        records = np.zeros(len(b.ts_us), Bid.dtype)
        records["ts_event_ns"] = b.ts_us * 1000
        for name in ("auction", "bidder", "price"):
            records[name] = getattr(b, name)
        super().__init__(records, ot.Pipeline(rows=self.asked()))

    def asked(self) -> ot.Stream:
        raise NotImplementedError

    def rows(self) -> Any:
        found = np.concatenate(self.blocks)
        ends_us = found["ts_event_ns"] // 1000
        return np.stack([ends_us, *(found[name] for name in self.columns)], axis=1)


class Q5(_Query):
    columns = ("auction", "bids")

    def asked(self) -> ot.Stream:
        return ot.window(COUNTED, Hottest, width="1ns")


class Q7(_Query):
    columns = ("highest",)

    def asked(self) -> ot.Stream:
        return BIDS.window(WIDTH_US * 1000).agg(highest=c.price.max())


class Q11(_Query):
    columns = ("bidder", "bids")

    def asked(self) -> ot.Stream:
        return BIDS.session(PAUSE_US * 1000, by=c.bidder).agg(bids=ot.count())
