"""The pipeline that `onetape demo` and `onetape replay` run: a venue watched from its ITCH feed.

Outputs, all per instrument and in event time:
    top_of_book  one record each time a best price or its size changes, after the message
    trade        executions, printable executions at another price, trades with hidden orders
    vwap         of those trades: sliding 1 s windows every 100 ms, and tumbling 1 ms windows
    bar          one-second bars of the same trades
    alert        burst cancel: more than 5 cancel messages within any 10 ms
"""

from onetape import market as mk
from onetape.engine import Pipeline, merge
from onetape.surveillance import burst_cancel


def market_watch(address: str = "itch") -> Pipeline:
    """The standard pipeline over one ITCH feed."""
    feed = mk.source(address)
    trades = feed.trades()
    return Pipeline(
        top_of_book=feed.top_of_book(),
        trade=trades,
        vwap=merge(
            mk.vwap(trades, width="1s", every="100ms"),
            mk.vwap(trades, width="1ms"),
        ),
        bar=mk.bars(trades, width="1s"),
        alert=burst_cancel(feed.events(), more_than=5, within="10ms"),
    )


pipeline = market_watch()
