"""The order book against its twin of dicts: flows as venues send them, and flows of any sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import End, Reusable, Rows, frames, run_engine, tables
from tests.market.flows import event, hostile_flow, sane_flow
from tests.naive import market as naive

import onetape as ot
from onetape.engine.engine import StepError
from onetape.market import words
from onetape.market.book import Book
from onetape.market.view import all_levels, queue
from onetape.records import OperatorError
from onetape.records.market import ADD, ASK, BID, CANCEL, FILL, MODIFY, TRADE, WHOLE, MarketEvent

INSTRUMENTS = 4
CAPACITY = {"orders": 1 << 12, "instruments": INSTRUMENTS, "levels": 1 << 15}
COUNTERS = {
    "unknown": words.UNKNOWN,
    "duplicate": words.DUPLICATE,
    "implausible": words.IMPLAUSIBLE,
    "unpriced": words.UNPRICED,
    "overfill": words.OVERFILL,
}


def book_pipeline(**capacity):
    book = Book(ot.source(MarketEvent), capacity=CAPACITY | capacity)
    return ot.Pipeline(top=book.top, trade=book.trade, depth=book.depth)


@pytest.fixture(scope="module")
def book():
    return Reusable(book_pipeline())


def check(book, events):
    """Run `events` through both; all rows, all counters and all that is left must be equal."""
    twin = naive.Book()
    for e in events:
        twin.on_event(e)

    ran = book.run(frames([Rows(0, events), End(0)]), digests=False)

    assert ran.rows == {"top": twin.top, "trade": twin.trade, "depth": twin.depth}
    made = tables(ran.engine, "Book")
    assert {n: int(made.meta[at]) for n, at in COUNTERS.items()} == {
        n: twin.counts[n] for n in COUNTERS
    }
    assert int(made.meta[words.LIVE]) == len(twin.orders)
    for instrument in range(INSTRUMENTS):
        for side, letter in enumerate((BID, ASK)):
            levels = twin.levels(instrument, letter)
            assert all_levels(made, instrument, side) == levels
            for price, _, _ in levels[:3]:
                signed = [
                    (i - (i >> 63 << 64), q) for i, q in twin.queue(instrument, letter, price)
                ]
                assert queue(made, instrument, side, price) == signed
    return ran


@pytest.mark.parametrize("seed", range(4))
def test_a_venues_flow_gives_what_the_twin_says(book, seed):
    ran = check(book, sane_flow(seed, 1500))

    assert len(ran.rows["top"]) > 100
    assert len(ran.rows["trade"]) > 100
    assert len(ran.rows["depth"]) > 500


def test_a_deep_book_grows_its_chunks_and_gives_them_back(book):
    """A thousand prices a side: far more than the first chunk of levels, found by halving."""
    flow = sane_flow(9, 2500, instruments=2, depth_ticks=1000)
    gone = [e.order_id for e in flow if e.action == ADD]
    flow += [event(flow[-1].ts_event_ns + 1, CANCEL, i, flags=WHOLE) for i in gone]

    ran = check(book, flow)

    made = tables(ran.engine, "Book")
    assert made.sides["chunk"].max() >= 5
    assert made.meta[words.UNKNOWN] > 0  # those of instrument 0 were not of instrument 1


seeds = st.integers(0, 2**32)


@given(seeds, st.integers(1, 120), st.sampled_from([0.02, 0.1, 0.4]))
def test_any_flow_gives_what_the_twin_says(book, seed, count, odd):
    check(book, hostile_flow(seed, count, INSTRUMENTS, odd))


@given(seeds, st.integers(1, 40))
def test_any_flow_on_top_of_a_sane_one(book, seed, count):
    begin = sane_flow(5, 60, step_ns=1)
    last_ns = begin[-1].ts_event_ns
    rest = hostile_flow(seed, count, INSTRUMENTS)

    check(book, begin + [e._replace(ts_event_ns=e.ts_event_ns + last_ns) for e in rest])


def test_an_instrument_beyond_the_capacity_halts(book):
    beyond = event(1, ADD, 7, instrument_id=INSTRUMENTS, side=BID, price_ticks=100, qty_lots=5)

    with pytest.raises(StepError, match="beyond the capacity of the book's instruments"):
        book.run(frames([Rows(0, [beyond])]), digests=False)


def test_hostile_flows_do_all_that_can_be_done():
    twin = naive.Book()
    for e in hostile_flow(1, 600, INSTRUMENTS):
        twin.on_event(e)

    assert min(twin.counts[name] for name in COUNTERS) > 2
    assert min(map(len, (twin.top, twin.trade, twin.depth))) > 30


def test_an_order_is_known_only_to_its_own_instrument(book):
    first = event(1, ADD, 7, instrument_id=1, side=BID, price_ticks=100, qty_lots=5)
    for action in (CANCEL, MODIFY, FILL):
        other = event(2, action, 7, instrument_id=2, other_id=8, price_ticks=9, qty_lots=5)

        ran = check(book, [first, other])

        assert len(ran.rows["top"]) == 1
        assert ran.rows["trade"] == []


def test_ids_are_words_of_64_bits(book):
    """2**64 - 1 is an id like any other, and is not -1's neighbour 0."""
    add = {"side": ASK, "price_ticks": 100, "qty_lots": 5}
    events = [event(1, ADD, 2**64 - 1, **add), event(2, ADD, 0, **add), event(3, ADD, 2**63, **add)]
    events.append(event(4, FILL, 2**64 - 1, qty_lots=5))

    ran = check(book, events)

    assert ran.rows["trade"][0][3] == 2**64 - 1


def test_trades_whose_sums_could_overflow_are_counted_not_printed(book):
    for price, qty, printed in [
        (2**48, 1, True),
        (2**48 + 1, 1, False),
        (-(2**48), 1, True),
        (2**8, 2**40, True),
        (2**8 + 1, 2**40, False),
        (0, 2**40, True),
        (0, 2**40 + 1, False),
        (ot.UNSET, 1, False),
    ]:
        ran = check(book, [event(1, TRADE, 0, side=BID, price_ticks=price, qty_lots=qty)])

        assert len(ran.rows["trade"]) == printed


@pytest.mark.parametrize("what", ["orders", "levels"])
def test_a_full_book_halts_and_says_what_to_raise(what):
    engine = Reusable(book_pipeline(orders=64, levels=256) if what == "orders" else
                      book_pipeline(levels=256)).engine  # fmt: skip
    adds = [
        event(n, ADD, n + 1, side=BID, price_ticks=10 if what == "orders" else n, qty_lots=1)
        for n in range(300)
    ]

    with pytest.raises(OperatorError, match=r"operator Book is at capacity at offset 0, event \d+"):
        run_engine(engine, frames([Rows(0, adds)]), digests=False)

    made = tables(engine, "Book")
    assert 0 < made.meta[words.LIVE] <= 64 if what == "orders" else made.meta[words.LIVE] > 0
    assert np.count_nonzero(made.orders["qty_lots"]) == made.meta[words.LIVE]
