"""Queries 1 and 2 of the DEBS 2022 Grand Challenge: moving averages of closes, and their crossings.

Windows are tumbling, 5 minutes, aligned; the close of a symbol is its last trade price in one. Each
window in which a symbol traded moves its averages on:

    ema_j = close * 2/(1 + j) + ema_j before * (1 - 2/(1 + j)),  j = 38 and 100, 0 before the first

Query 1 is those averages. Query 2 is a buy where ema_38 comes to lie above ema_100, a sell where it
comes to lie below it, and with each of them the two before it: a desk is shown the last three.

The windows are columns. That a window's close needs what its key carried over from the window
before is an operator over the rows of the windows.
"""

from typing import Any

import onetape as ot
from onetape import c

WIDTH = "5m"
BUY, SELL = ord("B"), ord("S")
FACTOR_38, FACTOR_100 = 2 / 39, 2 / 101
REST_38, REST_100 = 1 - 2 / 39, 1 - 2 / 101
LAST = 3
TICKS_OF = "0.000001"


@ot.record
class Last:
    """An event of the challenge that has a price. One tick is 0.000001 of the currency."""

    ts_event_ns: ot.i64
    price_ticks: ot.i64
    instrument_id: ot.u32
    kind: ot.u8  # 'E' equity, 'I' index


@ot.record
class Averages:
    """Query 1: a symbol's averages when a window closes in which it traded."""

    ts_event_ns: ot.i64  # the window's end
    traded_ts_ns: ot.i64  # its last trade
    close_ticks: ot.i64
    ema_38_ticks: ot.f64
    ema_100_ticks: ot.f64
    was_38_ticks: ot.f64  # the same before this window
    was_100_ticks: ot.f64
    instrument_id: ot.u32
    kind: ot.u8


@ot.record
class Crossings:
    """Query 2: a symbol's last three crossings, newest first; a time of 0 is none."""

    ts_event_ns: ot.i64  # the window's end
    crossed_ts_ns: ot.Array[ot.i64, 3]  # the last trade of the window in which they crossed
    signals: ot.Array[ot.i64, 3]  # BUY or SELL
    instrument_id: ot.u32
    kind: ot.u8


def pipeline_of(lasts: ot.Stream) -> ot.Pipeline:
    """Both queries over a stream of `Last`."""
    closes: Any = lasts.window(WIDTH, by=c.instrument_id).agg(
        close_ticks=c.price_ticks.last(), traded_ts_ns=c.ts_event_ns.last(), kind=c.kind.last()
    )
    averages, crossings = _operators(closes.of)
    q1 = averages(closes)
    return ot.Pipeline(q1=q1, q2=crossings(q1))


def _operators(Close: Any) -> tuple[Any, Any]:
    @ot.operator(key="instrument_id")
    class Ema:
        ema_38_ticks: ot.f64 = 0.0
        ema_100_ticks: ot.f64 = 0.0

        def on_close(self, w: Close) -> Averages:
            was_38, was_100 = self.ema_38_ticks, self.ema_100_ticks
            self.ema_38_ticks = w.close_ticks * FACTOR_38 + was_38 * REST_38
            self.ema_100_ticks = w.close_ticks * FACTOR_100 + was_100 * REST_100
            return Averages(
                w.ts_event_ns,
                w.traded_ts_ns,
                w.close_ticks,
                self.ema_38_ticks,
                self.ema_100_ticks,
                was_38,
                was_100,
                w.instrument_id,
                w.kind,
            )

    @ot.operator(key="instrument_id")
    class Cross:
        crossed_ts_ns: ot.Array[ot.i64, 3]
        signals: ot.Array[ot.i64, 3]

        def on_average(self, a: Averages, out: ot.UpTo[1, Crossings]) -> None:
            signal = 0
            if a.ema_38_ticks > a.ema_100_ticks and a.was_38_ticks <= a.was_100_ticks:
                signal = BUY
            elif a.ema_38_ticks < a.ema_100_ticks and a.was_38_ticks >= a.was_100_ticks:
                signal = SELL
            if signal == 0:
                return
            for i in range(LAST - 1, 0, -1):
                self.crossed_ts_ns[i] = self.crossed_ts_ns[i - 1]
                self.signals[i] = self.signals[i - 1]
            self.crossed_ts_ns[0], self.signals[0] = a.traded_ts_ns, signal
            row = out.row()
            row.ts_event_ns, row.instrument_id, row.kind = a.ts_event_ns, a.instrument_id, a.kind
            for i in range(LAST):
                row.crossed_ts_ns[i] = self.crossed_ts_ns[i]
                row.signals[i] = self.signals[i]

    return Ema, Cross
