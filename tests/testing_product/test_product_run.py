"""`testing.Run`: rows in, time on, rows out; and what it says when that cannot be."""

import numpy as np
import pytest

import onetape as ot
from onetape import market as mk
from onetape import testing
from onetape.records import DeclarationError, OperatorError
from onetape.records.market import LAST, WHOLE

SECOND = 10**9
FEED = ot.source("itch")
BOOK = ot.Pipeline(top=FEED.top_of_book(), trade=FEED.trades(), event=FEED.events())


@ot.record
class Quote:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    bid_ticks: ot.i64


@ot.record
class Edge:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ticks: ot.i64


@ot.operator(key="instrument_id")
class Edges:
    bid_ticks: ot.i64 = ot.UNSET

    def on_quote(self, q: Quote) -> None:
        self.bid_ticks = q.bid_ticks

    def on_trade(self, t: mk.Trade) -> Edge | None:
        if self.bid_ticks == ot.UNSET:
            return None
        return Edge(t.ts_event_ns, t.instrument_id, t.price_ticks - self.bid_ticks)


TRADES = ot.source(mk.Trade, name="trades", idle="1s")
QUOTES = ot.source(Quote, name="quotes", idle="1s")
PIPELINE = ot.Pipeline(edge=Edges(QUOTES, TRADES), vwap=mk.vwap(TRADES))


def trade(ts_ns, price, **fields):
    known = {"instrument_id": 1, "qty_lots": 1} | fields
    return testing.row(mk.Trade, ts_event_ns=ts_ns, price_ticks=price, **known)


def test_rows_of_two_sources_come_in_the_order_they_are_fed():
    t = testing.Run(PIPELINE)

    t.feed(quotes=[Quote(0, 1, 90)], trades=[trade(1, 100)])
    assert t.take("edge") == [Edge(1, 1, 10)]
    t.feed(trades=[trade(2, 101)]).feed(quotes=[Quote(3, 1, 95)]).feed(trades=[trade(4, 101)])

    assert t.take("edge") == [Edge(2, 1, 11), Edge(4, 1, 6)]
    assert t.take("edge") == []
    assert [edge.ticks for edge in t.rows("edge")] == [10, 11, 6]


def test_time_goes_on_while_sources_are_silent():
    t = testing.Run(PIPELINE).feed(quotes=[Quote(0, 1, 90)], trades=[trade(SECOND // 2, 100)])

    t.advance("1499ms")  # idle is 1 s: event time is 0.999 s
    assert t.rows("vwap") == []
    t.advance("1ms")
    assert [v.ts_event_ns for v in t.take("vwap")] == [SECOND]
    assert t.now_ns == 2 * SECOND


def test_one_silent_source_does_not_speak_for_the_other():
    t = testing.Run(PIPELINE).feed(trades=[trade(0, 100)])

    t.advance("5s", "trades")
    assert t.rows("vwap") == []
    t.end("quotes").advance("1s", "trades")
    assert len(t.rows("vwap")) == 1


def test_the_end_closes_windows_and_comes_once():
    t = testing.Run(PIPELINE).feed(trades=[trade(0, 100)]).end().end()

    assert len(t.rows("vwap")) == 1
    assert len([step for step in t.steps if type(step).__name__ == "End"]) == 2


def test_late_and_refused_rows_are_counted():
    t = testing.Run(PIPELINE).feed(quotes=[Quote(2**61, 1, 1)])
    t.feed(trades=[trade(2 * SECOND, 1), trade(0, 2), trade(-1, 3)]).end()

    assert (t.late, t.ahead, t.refused) == (1, 0, {"time out of range": 1})
    assert t.counts.late_at_windows == 1


def test_a_block_is_rows_too():
    block = np.zeros(3, mk.Trade.dtype)
    block["qty_lots"] = 7

    t = testing.Run(PIPELINE).feed(trades=block).end()

    assert t.rows("vwap")[0].qty_lots == 21


def test_a_simulated_day_brings_its_date():
    t = testing.Run(BOOK).feed(testing.day(seed=3, seconds=1, messages_per_s=300)).end()

    events = t.rows("event")
    assert len(events) > 100
    assert np.datetime64(events[0].ts_event_ns, "ns") > np.datetime64("2020-01-01")
    assert t.refused == {}


def test_market_events_are_sent_as_the_messages_they_came_from():
    day = testing.Run(BOOK).feed(testing.day(seed=3, seconds=1, messages_per_s=300))
    events = [e for e in day.rows("event") if e.action != ord("N")]

    again = testing.Run(BOOK, midnight_ns=day.midnight_ns).feed(events)

    fields = ("ts_event_ns", "order_id", "price_ticks", "qty_lots", "side", "action", "flags")
    for name in fields:
        assert [getattr(e, name) for e in again.rows("event")] == [getattr(e, name) for e in events]
    assert [top[:5] for top in again.rows("top")] == [top[:5] for top in day.rows("top")]
    assert again.refused == {}


def test_messages_are_bytes_or_a_list_of_bodies():
    body = bytes([ord("D")]) + bytes(18)
    both = [
        testing.Run(BOOK).feed(given) for given in (len(body).to_bytes(2, "big") + body, [body])
    ]

    assert both[0].rows("event") == both[1].rows("event")
    assert both[0].rows("event")[0].flags == WHOLE | LAST


def test_a_row_of_some_fields():
    assert testing.row(Quote, bid_ticks=3) == Quote(0, 0, 3)
    assert testing.row(mk.Depth).bid_price_ticks == [0] * 10


EVENT = testing.row(mk.MarketEvent, action=mk.ADD, side=mk.BID, price_ticks=5, qty_lots=5)

MISTAKES = [
    (lambda t: testing.row(mk.Trade, prise_ticks=1), r"no field 'prise_ticks' \(did you mean 'pri"),
    (lambda t: testing.row(mk.Trade, instrument_id=-1), "Trade.instrument_id of row 0 was -1"),
    (lambda t: testing.row(int, a=1), "row was given <class 'int'>; expected a record"),
    (
        lambda t: t.feed(trade=[]),
        r"no source 'trade' \(did you mean 'trades'\?\); it has quotes, t",
    ),
    (
        lambda t: t.feed([]),
        r"without a name where there is one source; name each: quotes=\[...\], t",
    ),
    (lambda t: t.feed(trades=[EVENT]), "source trades: row 0 was MarketEvent.*expected a Trade"),
    (lambda t: t.feed(trades=[trade(0, 1.5)._replace(side=300)]), "Trade.side of row 0 was 300"),
    (lambda t: t.feed(trades=np.zeros(2)), "takes blocks of Trade .*, was given float64"),
    (lambda t: t.feed(trades=b"abc"), "source trades takes rows of Trade, was given bytes"),
    (lambda t: t.end().feed(trades=[]), "source trades has ended; feed it before"),
    (lambda t: t.advance("0s"), "advance by '0s'; time only goes on"),
    (lambda t: t.advance("5"), "duration '5' is not a whole number and a unit"),
    (lambda t: t.rows("edges"), r"no output 'edges' \(did you mean 'edge'\?\); it has edge, vwap"),
    (lambda t: testing.Run(BOOK).feed(b"\0\5A"), "no whole message at byte 0 of 3"),
    (lambda t: testing.Run(BOOK).feed([3]), "event 0 is no ITCH message: .*; it was 3"),
    (
        lambda t: testing.Run(BOOK).feed([EVENT._replace(price_ticks=ot.UNSET)]),
        "event 0 is no ITCH message: its price is not set; it was MarketEvent",
    ),
    (
        lambda t: testing.Run(BOOK).feed([EVENT._replace(qty_lots=2**40)]),
        "AddOrder.shares was 1099511627776; expected 0 to 4294967295",
    ),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told(mistake, message):
    with pytest.raises((OperatorError, DeclarationError), match=message):
        mistake(testing.Run(PIPELINE))
