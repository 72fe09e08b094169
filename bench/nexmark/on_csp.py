"""csp: the highest of a curve that is reset, in its C++ nodes."""

from datetime import timedelta
from typing import Any

import csp
import csp.stats
import numpy as np
from bench.nexmark.stream import WIDTH_US, Bids
from bench.peers.on_csp import US, _Run, _to_us


class Q7(_Run):
    def __init__(self, b: Bids) -> None:
        column = ((b.ts_us * 1000).astype("datetime64[ns]"), b.price.astype(float))

        @csp.graph
        def graph() -> None:
            last = csp.timer(timedelta(microseconds=WIDTH_US))
            highest = csp.stats.max(
                csp.curve(float, column), trigger=last, reset=csp.delay(last, US)
            )
            csp.add_graph_output(0, highest)

        first_us = int(b.ts_us[0]) // WIDTH_US * WIDTH_US
        self.build(graph, first_us - 1, int(b.ts_us[-1]) + WIDTH_US)

    def rows(self) -> Any:
        times, highest = self.out[0]
        return np.stack([_to_us(times) + 1, highest], axis=1).astype(np.int64)
