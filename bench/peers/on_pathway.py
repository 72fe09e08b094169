"""Pathway: a static table and its tumbling window; bursts by a Python function over sorted times.

The table is a CSV file of which the reading is timed: that takes half as long as a table which is
made in memory from pandas. A rule like burst cancel has no operator; in a live table the function
would see all times of an instrument again at each change.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pathway as pw
from bench.peers.stream import MORE_THAN, WIDTH_US, WITHIN_US, Events
from pathway.internals.parse_graph import G

logging.disable(logging.WARNING)


class _Run:
    def __init__(self, events: Events) -> None:
        G.clear()
        self.out: list[Any] = []
        self.folder = tempfile.TemporaryDirectory()
        file = Path(self.folder.name) / "events.csv"
        columns = vars(events)
        np.savetxt(
            file,
            np.stack(list(columns.values()), axis=1),
            fmt="%d",
            delimiter=",",
            header=",".join(columns),
            comments="",
        )
        schema = pw.schema_from_types(**dict.fromkeys(columns, int))
        found = self.asked(pw.io.csv.read(file, schema=schema, mode="static"))
        pw.io.subscribe(found, lambda key, row, time, is_addition: self.out.append(row))

    def asked(self, events: pw.Table) -> pw.Table:
        raise NotImplementedError

    def run(self) -> None:
        pw.run(monitoring_level=pw.MonitoringLevel.NONE)

    def rows(self) -> Any:
        return [tuple(row.values()) for row in self.out]


class Vwap(_Run):
    def asked(self, events: pw.Table) -> pw.Table:
        window = pw.temporal.tumbling(duration=WIDTH_US, origin=0)
        return events.windowby(events.ts_us, window=window, instance=events.instrument).reduce(
            end_us=pw.this._pw_window_end,
            instrument=pw.this._pw_instance,
            notional=pw.reducers.sum(pw.this.price_ticks * pw.this.qty_lots),
            qty=pw.reducers.sum(pw.this.qty_lots),
        )


class Bursts(_Run):
    def asked(self, events: pw.Table) -> pw.Table:
        times = events.groupby(events.instrument).reduce(
            events.instrument, times=pw.reducers.sorted_tuple(events.ts_us)
        )
        opened = times.select(ts_us=_opened(times.times), instrument=times.instrument)
        return opened.flatten(opened.ts_us)


@pw.udf(deterministic=True)
def _opened(times: tuple[int, ...]) -> list[int]:
    """When the episodes of one instrument open."""
    opened, ends_us = [], 0
    for sixth_last_us, ts_us in zip(times, times[MORE_THAN:]):
        if ts_us - sixth_last_us <= WITHIN_US:
            if ts_us >= ends_us:
                opened.append(ts_us)
            ends_us = ts_us + WITHIN_US
    return opened
