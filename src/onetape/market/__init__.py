"""Market data: feeds, order books, trades, VWAP, bars."""

from onetape.market.feed import Feed, source
from onetape.market.trades import bars, vwap
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    FILL,
    MODIFY,
    TRADE,
    Alert,
    Bar,
    Depth,
    MarketEvent,
    TopOfBook,
    Trade,
    Vwap,
)

__all__ = [
    "ADD",
    "ASK",
    "BID",
    "CANCEL",
    "FILL",
    "MODIFY",
    "TRADE",
    "Alert",
    "Bar",
    "Depth",
    "Feed",
    "MarketEvent",
    "TopOfBook",
    "Trade",
    "Vwap",
    "bars",
    "source",
    "vwap",
]
