"""The strategies give what they promise: rows that fit, time in order, consistent orders."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onetape as ot
from onetape import market as mk
from onetape import testing
from onetape.market import orders
from onetape.records import DeclarationError, block_of
from onetape.records import market as records
from onetape.testing import strategies as ots

quick = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)

SHIPPED = {
    mk.Trade: ots.trades,
    mk.TopOfBook: ots.top_of_books,
    mk.Depth: ots.depths,
    mk.Vwap: ots.vwaps,
    mk.Bar: ots.bars,
    mk.Alert: ots.alerts,
    mk.MarketEvent: ots.market_events,
    records.Gap: ots.gaps,
    mk.OwnOrder: ots.own_orders,
    mk.OwnOrderInBook: lambda: ots.own_orders(mk.OwnOrderInBook),
}


@ot.record
class Odd:
    ts_event_ns: ot.i64
    small: ot.u8
    ratio: ot.f64
    cells: ot.Array[ot.i32, 3]


def test_every_shipped_record_has_a_strategy():
    shipped = {thing for thing in vars(records).values() if ot.records.is_record(thing)}

    assert shipped == set(SHIPPED)


@pytest.mark.parametrize("of", SHIPPED, ids=lambda of: of.__name__)
def test_streams_of_shipped_records_fit_and_are_in_order(of):
    @quick
    @given(SHIPPED[of]())
    def check(rows):
        assert all(type(row) is of for row in rows)
        block = block_of(of, rows)
        assert (block["ts_event_ns"][1:] >= block["ts_event_ns"][:-1]).all()

    check()


@quick
@given(st.one_of(ots.rows_of(of) for of in (*SHIPPED, Odd)))
def test_any_row_fits_its_fields(row):
    block = block_of(type(row), [row])

    assert 0 <= block["ts_event_ns"][0] < 1 << 62


@quick
@given(ots.rows_of(Odd, small=3, ratio=st.just(0.5)))
def test_fields_are_chosen(row):
    assert (row.small, row.ratio, len(row.cells)) == (3, 0.5, 3)


@quick
@given(ots.streams_of(mk.Trade, keys=[7], late="2us", step="1us", side=mk.BID))
def test_a_stream_is_late_by_no_more_than_it_may(rows):
    newest_ns = 0
    for number, row in enumerate(rows, start=1):
        assert row.ts_event_ns >= newest_ns - 2_000
        assert (row.instrument_id, row.side, row.sequence) == (7, mk.BID, number)
        newest_ns = max(newest_ns, row.ts_event_ns)


FEED = ot.source("itch")
BOOK = ot.Pipeline(top=FEED.top_of_book(), trade=FEED.trades())


@quick
@given(ots.market_events(max_size=60))
def test_orders_are_consistent(events):
    t = testing.Run(BOOK).feed(events)
    number = next(n for n, node in enumerate(BOOK.nodes) if node.name == "Book")
    meta = t.engine.arrays[f"n{number}_meta"]

    assert t.refused == {}
    for wrong in (orders.UNKNOWN, orders.DUPLICATE, orders.IMPLAUSIBLE, orders.OVERFILL):
        assert meta[wrong] == 0
    for top in t.rows("top"):
        if ot.UNSET not in (top.bid_price_ticks, top.ask_price_ticks):
            assert top.bid_price_ticks < top.ask_price_ticks
    filled = [e for e in events if e.action in (mk.FILL, mk.TRADE)]
    assert [trade.qty_lots for trade in t.rows("trade")] == [e.qty_lots for e in filled]


TRADES = ot.source(mk.Trade, name="trades")
VWAP = ot.Pipeline(vwap=mk.vwap(TRADES, width="2s", every="1s"))


@settings(quick, max_examples=8)
@given(ots.trades(late="2s"))
def test_a_pipeline_is_checked_over_any_stream(rows):
    t = testing.check(VWAP, trades=rows, splits=2)

    assert all(v.qty_lots > 0 for v in t.rows("vwap"))


def test_mistakes_are_told():
    with pytest.raises(DeclarationError, match="rows_of was given 3; expected a record"):
        ots.rows_of(3)
    with pytest.raises(DeclarationError, match=r"Trade has no field 'prize_ticks' \(did you mean"):
        ots.rows_of(mk.Trade, prize_ticks=3)


def test_without_hypothesis_it_says_what_to_install():
    code = """
import sys
sys.modules["hypothesis"] = None
from onetape import testing
from onetape.market import orders
testing.Run
try:
    testing.strategies
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == (
        "onetape.testing.strategies needs Hypothesis; install it with: pip install "
        "'onetape[testing]'"
    )


def test_what_is_not_there_is_told():
    with pytest.raises(AttributeError, match=r"'onetape.testing' has no attribute 'strategy'"):
        getattr(testing, "strategy")  # noqa: B009
