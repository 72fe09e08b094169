"""csp: nodes in C++ only, simulated time; one curve of NumPy arrays an instrument and column.

So csp need not find the instrument of an event. Of the forms that its nodes allow, the fastest:
sums that are reset beat sums over an interval (by a fifth), and times delayed by five ticks beat a
count over an interval (by a third).
"""

from datetime import datetime, timedelta
from typing import Any

import csp
import csp.stats
import numpy as np
from bench.peers.stream import INSTRUMENTS, MORE_THAN, WIDTH_US, WITHIN_US, Events

EPOCH = datetime(1970, 1, 1)
US = timedelta(microseconds=1)


class _Run:
    def build(self, graph: Any, start_us: int, end_us: int) -> None:
        self.times = {"starttime": EPOCH + start_us * US, "endtime": EPOCH + end_us * US}
        self.graph = csp.build_graph(graph, **self.times)

    def run(self) -> None:
        self.out = csp.run(self.graph, **self.times, output_numpy=True)


class Vwap(_Run):
    def __init__(self, t: Events) -> None:
        columns = [
            (_times(t, of), t.price_ticks[of].astype(float), t.qty_lots[of].astype(float))
            for of in _by_instrument(t)
        ]

        @csp.graph
        def graph() -> None:
            # The last microsecond of a window, and the first one of the next.
            last = csp.timer(WIDTH_US * US)
            when = {"trigger": last, "reset": csp.delay(last, US)}
            for i, (times, prices, qtys) in enumerate(columns):
                price, qty = csp.curve(float, (times, prices)), csp.curve(float, (times, qtys))
                csp.add_graph_output(("notional", i), csp.stats.sum(price * qty, **when))
                csp.add_graph_output(("qty", i), csp.stats.sum(qty, **when))

        first_us = int(t.ts_us[0]) // WIDTH_US * WIDTH_US
        self.build(graph, first_us - 1, int(t.ts_us[-1]) + WIDTH_US)

    def rows(self) -> Any:
        rows = []
        for i in range(INSTRUMENTS):
            times, notional = self.out["notional", i]
            _, qty = self.out["qty", i]
            columns = [_to_us(times) + 1, np.full(len(times), i), notional, qty]
            rows.append(np.stack(columns, axis=1).astype(np.int64)[qty > 0])
        return np.concatenate(rows)


class Bursts(_Run):
    def __init__(self, c: Events) -> None:
        columns = [(_times(c, of), c.qty_lots[of]) for of in _by_instrument(c)]

        @csp.graph
        def graph() -> None:
            for i, column in enumerate(columns):
                now = csp.times_ns(csp.curve(int, column))
                over = csp.filter(now - csp.delay(now, MORE_THAN) <= WITHIN_US * 1000, now)
                since = over - csp.default(csp.delay(over, 1), 0)
                csp.add_graph_output(i, csp.filter(since >= WITHIN_US * 1000, over))

        self.build(graph, int(c.ts_us[0]), int(c.ts_us[-1]))

    def rows(self) -> Any:
        found = [_to_us(self.out[i][0]) for i in range(INSTRUMENTS)]
        return np.concatenate([np.stack([t, np.full(len(t), i)], 1) for i, t in enumerate(found)])


def _by_instrument(events: Events) -> list[Any]:
    return [events.instrument == i for i in range(INSTRUMENTS)]


def _times(events: Events, of: Any) -> Any:
    return (events.ts_us[of] * 1000).astype("datetime64[ns]")


def _to_us(times: Any) -> Any:
    return times.astype("datetime64[us]").astype(np.int64)
