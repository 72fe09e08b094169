"""onetape: frames of 4096 records in memory, the batch runtime; rows are copied out."""

from typing import Any

import numpy as np
from bench.peers.stream import MORE_THAN, WIDTH_US, WITHIN_US, Events

import onetape as ot
from onetape.engine.frames import frames_of
from onetape.market import vwap
from onetape.records.market import CANCEL, OPEN, MarketEvent, Trade
from onetape.runtimes import batch
from onetape.surveillance import burst_cancel

BLOCK = 4096


class _Run:
    def __init__(self, records: Any, pipeline: ot.Pipeline) -> None:
        payloads = ((None, records[i : i + BLOCK].tobytes()) for i in range(0, len(records), BLOCK))
        self.frames = [(buffer.copy(), begin, end) for buffer, begin, end in frames_of(payloads)]
        self.engine = batch.make_engine(pipeline)
        self.blocks: list[Any] = []

    def run(self) -> None:
        self.blocks = [block.copy() for _, block, _ in batch.rows_of(self.engine, self.frames)]


class Vwap(_Run):
    def __init__(self, t: Events) -> None:
        pipeline = ot.Pipeline(vwap=vwap(ot.source(Trade), width=WIDTH_US * 1000))
        super().__init__(_records(Trade, t), pipeline)

    def rows(self) -> Any:
        found = np.concatenate(self.blocks)
        columns = ("instrument_id", "notional_ticklots", "qty_lots")
        return np.stack([found["ts_event_ns"] // 1000, *(found[c] for c in columns)], axis=1)


class Bursts(_Run):
    def __init__(self, c: Events) -> None:
        records = _records(MarketEvent, c)
        records["action"] = CANCEL
        events = ot.source(MarketEvent)
        alert = burst_cancel(events, more_than=MORE_THAN, within=WITHIN_US * 1000)
        super().__init__(records, ot.Pipeline(alert=alert))

    def rows(self) -> Any:
        found = np.concatenate(self.blocks)
        found = found[found["state"] == OPEN]
        return np.stack([found["ts_event_ns"] // 1000, found["instrument_id"]], axis=1)


def _records(schema: Any, events: Events) -> Any:
    records = np.zeros(len(events.ts_us), schema.dtype)
    records["ts_event_ns"] = events.ts_us * 1000
    records["instrument_id"] = events.instrument
    records["price_ticks"] = events.price_ticks
    records["qty_lots"] = events.qty_lots
    return records
