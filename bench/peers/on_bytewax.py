"""Bytewax: its tumbling window and its stateful operator, one worker, fed batches from a list."""

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bench.peers.stream import MORE_THAN, WIDTH_US, WITHIN_US, Events
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.testing import TestingSink, TestingSource, run_main

BATCH = 4096  # as onetape's frames; without batches bursts take ten times as long
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)


class _Run:
    def __init__(self, items: list[Any]) -> None:
        self.out: list[Any] = []
        self.flow = Dataflow("peer")
        found = self.asked(op.input("events", self.flow, TestingSource(items, BATCH)))
        op.output("out", found, TestingSink(self.out))

    def asked(self, events: Any) -> Any:
        raise NotImplementedError

    def run(self) -> None:
        run_main(self.flow)


class Vwap(_Run):
    def __init__(self, t: Events) -> None:
        times = [EPOCH + ts_us * US for ts_us in t.ts_us.tolist()]
        trades = zip(times, t.price_ticks.tolist(), t.qty_lots.tolist())
        super().__init__(list(zip(map(str, t.instrument.tolist()), trades)))

    def asked(self, events: Any) -> Any:
        # The system's clock stands still, or events would grow late while they wait in memory.
        clock = EventClock(lambda trade: trade[0], timedelta(0), now_getter=lambda: EPOCH)
        windower = TumblingWindower(length=WIDTH_US * US, align_to=EPOCH)
        return fold_window("vwap", events, clock, windower, lambda: [0, 0], _add, _merge).down

    def rows(self) -> Any:
        return [((n + 1) * WIDTH_US, int(key), *sums) for key, (n, sums) in self.out]


def _add(sums: list[int], trade: Any) -> list[int]:
    _, price, qty = trade
    sums[0] += price * qty
    sums[1] += qty
    return sums


def _merge(a: list[int], b: list[int]) -> list[int]:
    return [a[0] + b[0], a[1] + b[1]]


class Bursts(_Run):
    def __init__(self, c: Events) -> None:
        super().__init__(list(zip(map(str, c.instrument.tolist()), c.ts_us.tolist())))

    def asked(self, events: Any) -> Any:
        return op.stateful_batch("bursts", events, lambda _: _Episodes())

    def rows(self) -> Any:
        return [(ts_us, int(key)) for key, ts_us in self.out]


class _Episodes(op.StatefulBatchLogic):
    """Of one instrument: its last cancels, and when its episode ends."""

    def __init__(self) -> None:
        self.recent: deque[int] = deque([-WITHIN_US] * (MORE_THAN + 1), MORE_THAN + 1)
        self.ends_us = 0

    def on_batch(self, values: list[int]) -> Any:
        recent, opened = self.recent, []
        for ts_us in values:
            recent.append(ts_us)
            if ts_us - recent[0] <= WITHIN_US:
                if ts_us >= self.ends_us:
                    opened.append(ts_us)
                self.ends_us = ts_us + WITHIN_US
        return opened, False

    def snapshot(self) -> Any:
        return self.recent.copy(), self.ends_us
