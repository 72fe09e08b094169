"""What trades add up to: VWAP and bars, over event-time windows.

Over executions, printable executions at another price, and trades against hidden orders; auction
crosses and non-printable executions are left out (the book's `trade` output holds just these).
"""

from typing import overload

from onetape.engine import Stream, aggregate, window
from onetape.engine.columns import Expr, c
from onetape.records.market import Bar, Trade, Vwap
from onetape.records.types import i64

# Trades of more than 2**48 ticklots are refused by the book, so 2**14 of the largest fit one
# window. Beyond that the sum would wrap: the pipeline halts there instead.
SUM_MAX = 1 << 62


@aggregate
class VwapSum:
    """Notional and volume of a window; the average is left to the reader."""

    notional_ticklots: i64 = 0
    qty_lots: i64 = 0
    trades_count: i64 = 0

    def add(self, t: Trade) -> None:
        self.notional_ticklots += t.price_ticks * t.qty_lots
        self.qty_lots += t.qty_lots
        self.trades_count += 1
        if not -SUM_MAX < self.notional_ticklots < SUM_MAX:
            raise OverflowError("the notional of one window is over 2**62 ticklots")

    def merge(self, later: "VwapSum") -> None:
        self.notional_ticklots += later.notional_ticklots
        self.qty_lots += later.qty_lots
        self.trades_count += later.trades_count
        if not -SUM_MAX < self.notional_ticklots < SUM_MAX:
            raise OverflowError("the notional of one window is over 2**62 ticklots")

    def result(self, key: int, start_ns: int, end_ns: int) -> Vwap | None:
        if self.trades_count == 0:
            return None
        return Vwap(
            end_ns,
            end_ns - start_ns,
            self.notional_ticklots,
            self.qty_lots,
            key,
            self.trades_count,
            0,
            0,
        )


@aggregate
class BarSum:
    """Open, high, low, close and volume of a window."""

    open_ticks: i64 = 0
    high_ticks: i64 = 0
    low_ticks: i64 = 0
    close_ticks: i64 = 0
    qty_lots: i64 = 0
    trades_count: i64 = 0

    def add(self, t: Trade) -> None:
        price = t.price_ticks
        if self.trades_count == 0:
            self.open_ticks = price
            self.high_ticks = price
            self.low_ticks = price
        self.high_ticks = max(self.high_ticks, price)
        self.low_ticks = min(self.low_ticks, price)
        self.close_ticks = price
        self.qty_lots += t.qty_lots
        self.trades_count += 1

    def result(self, key: int, start_ns: int, end_ns: int) -> Bar | None:
        if self.trades_count == 0:
            return None
        return Bar(
            end_ns,
            end_ns - start_ns,
            self.open_ticks,
            self.high_ticks,
            self.low_ticks,
            self.close_ticks,
            self.qty_lots,
            key,
            self.trades_count,
            0,
            0,
        )


@overload
def vwap() -> Expr: ...
@overload
def vwap(trades: Stream, *, width: str = "1s", every: str | None = None) -> Stream: ...
def vwap(
    trades: Stream | None = None, *, width: str = "1s", every: str | None = None
) -> Stream | Expr:
    """VWAP per instrument over windows of `width`, moved every `every` (default: tumbling).

    ```python
    exact = mk.vwap(trades, width="1s", every="100ms")  # a stream of Vwap: notional and lots
    rounded = trades.window("1s", by=c.instrument_id).agg(vwap=mk.vwap())
    ```

    Without a stream, for `agg`: the volume-weighted price of a window's trades, in whole ticks,
    rounded half up.
    """
    if trades is None:
        notional, lots = (c.price_ticks * c.qty_lots).sum(), c.qty_lots.sum()
        return (2 * notional + lots) // (2 * lots)
    return window(trades, VwapSum, width=width, every=every, key="instrument_id")


def bars(trades: Stream, *, width: str = "1s") -> Stream:
    """Open, high, low, close and volume per instrument, tumbling.

    ```python
    pipeline = ot.Pipeline(bar=mk.bars(trades, width="1m"))
    ```
    """
    return window(trades, BarSum, width=width, key="instrument_id")
