"""Own orders with their book, against dicts and sorted(): any arrival order, any split."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import End, Reusable, Rows, frames
from tests.market.flows import event, hostile_flow, sane_flow
from tests.naive import own_book as naive

import onetape as ot
from onetape import market as mk
from onetape import testing
from onetape.codecs.feed import word_of
from onetape.market.own_book import WithBook
from onetape.records import DeclarationError
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    FILL,
    MODIFY,
    NO_SIDE,
    OTHER,
    REJECT,
    MarketEvent,
    OwnOrder,
)
from onetape.records.types import UNSET

OWN, PUBLIC = 0, 1  # numbers of the sources in the pipeline
CAPACITY = {"orders": 1 << 12, "instruments": 8, "levels": 1 << 15, "own": 1 << 10}
WORDS = [word_of(symbol) for symbol in ("AAPL", "MSFT", "ZZZZ", "NOBODY")]
SAID = (
    "order_id", "level_median_lots", "ahead_lots", "bid_price_ticks", "ask_price_ticks",
    "bid_qty_lots", "ask_qty_lots", "instrument_id", "action", "flags",
)  # fmt: skip


@pytest.fixture(scope="module")
def joined():
    orders, events = ot.source(OwnOrder, name="own"), ot.source(MarketEvent, name="public")
    return Reusable(ot.Pipeline(mine=WithBook(orders=orders, events=events, capacity=CAPACITY)))


def own(ts_ns, order_id, action, leaves, **fields):
    values = dict.fromkeys(OwnOrder._fields, 0)
    values |= {"ts_event_ns": ts_ns, "order_id": order_id, "action": action}
    values |= {"leaves_lots": leaves, "side": BID, "symbol_word": WORDS[0], "price_ticks": UNSET}
    return OwnOrder(**(values | fields))


def directory():
    return [
        event(0, OTHER, 0, kind=ord("R"), other_id=word, instrument_id=n)
        for n, word in enumerate(WORDS[:3])
    ]


def mixed(seed, public, own_share=0.3):
    """The public events and reports of some of their orders, each a little before or behind."""
    rng = random.Random(seed)
    told = [(n, 1, e) for n, e in enumerate([*directory(), *public])]
    for n, _, e in list(told):
        if e.action not in (ADD, MODIFY, CANCEL, FILL) or rng.random() > own_share:
            continue
        place = n + rng.uniform(-3, 3)
        fields = {
            "side": rng.choice([BID, ASK, NO_SIDE]),
            "price_ticks": e.price_ticks if abs(e.price_ticks) < 2**40 else UNSET,
            "symbol_word": WORDS[e.instrument_id] if rng.random() < 0.9 else WORDS[3],
        }
        leaves = rng.choice([0, 100]) if e.action in (CANCEL, FILL) else 100
        ref = e.other_id if e.action == MODIFY else e.order_id
        told.append((place, 0, own(n, ref, rng.choice([e.action, REJECT]), leaves, **fields)))
    told.sort(key=lambda t: t[:2])
    return [e._replace(ts_event_ns=n) for n, (_, _, e) in enumerate(told)]


def said(rows, of):
    places = [of._fields.index(name) for name in SAID]
    return [tuple(row[place] for place in places) for row in rows]


def steps(arrivals):
    """Runs of one source after another, as they arrive."""
    found = []
    for e in arrivals:
        source = OWN if isinstance(e, OwnOrder) else PUBLIC
        if found and found[-1].source == source:
            found[-1].rows.append(e)
        else:
            found.append(Rows(source, [e]))
    return [*found, End(0), End(1)]


def check(joined, arrivals, cuts=None, feeds=()):
    twin = naive.WithBook()
    for e in arrivals:
        twin.on_order(e) if isinstance(e, OwnOrder) else twin.on_event(e)

    ran = joined.run(frames(steps(arrivals), cuts), feeds=feeds, digests=False)

    assert said(ran.rows["mine"], mk.OwnOrderInBook) == twin.rows
    return twin


@pytest.mark.parametrize("seed", range(3))
def test_own_orders_in_a_venues_flow_are_what_the_twin_says(joined, seed):
    twin = check(joined, mixed(seed, sane_flow(seed, 700)))

    medians = {row[1] for row in twin.rows}
    assert len(twin.rows) > 150
    assert len(medians) > 10
    assert naive.LOTS_MAX in medians
    assert max(row[2] for row in twin.rows) > 1000


@given(st.integers(0, 2**32), st.integers(1, 80), st.sampled_from([0.02, 0.2]), st.integers(1, 9))
def test_any_flow_in_any_split_gives_what_the_twin_says(joined, seed, count, odd, step):
    flow = [
        e._replace(price_ticks=e.price_ticks if abs(e.price_ticks) < 2**40 else UNSET)
        for e in hostile_flow(seed, count, 3, odd)
    ]
    arrivals = mixed(seed, flow, own_share=0.5)

    check(joined, arrivals, cuts=lambda rows: range(step, rows, step))


def level(ref, price, lots, side=BID):
    fields = {"side": side, "price_ticks": price, "qty_lots": lots, "instrument_id": 0}
    return event(0, ADD, ref, **fields)


def joined_rows(joined, *arrivals):
    timed = [e._replace(ts_event_ns=n) for n, e in enumerate([*directory(), *arrivals])]
    check(joined, timed)
    ran = joined.run(frames(steps(timed)), digests=False)
    return [mk.OwnOrderInBook(*row) for row in ran.rows["mine"]]


def test_the_median_is_of_what_others_have_and_the_lower_of_two(joined):
    book = [level(1, 100, 10), level(2, 99, 40), level(3, 98, 20), level(4, 97, 30)]

    (row,) = joined_rows(joined, *book, own(0, 9, ADD, 5, price_ticks=98))

    assert (row.level_median_lots, row.ahead_lots) == (20, 50)
    assert (row.bid_price_ticks, row.bid_qty_lots) == (100, 10)
    assert (row.ask_price_ticks, row.ask_qty_lots) == (UNSET, 0)


@pytest.mark.parametrize("first", ["report", "public"])
def test_the_order_itself_is_left_out_whichever_feed_is_first(joined, first):
    book = [level(1, 100, 10), level(2, 99, 40)]
    told, wall = own(0, 9, ADD, 5_000, price_ticks=99), level(9, 99, 5_000)
    arrivals = [told, wall] if first == "report" else [wall, told]

    rows = joined_rows(joined, *book, *arrivals, own(0, 9, FILL, 4_000, price_ticks=99))

    assert [row.level_median_lots for row in rows] == [10, 10]
    assert [row.ahead_lots for row in rows] == [10, 10]


def test_what_replaces_an_own_order_is_own(joined):
    moved = event(0, MODIFY, 9, other_id=10, price_ticks=98, qty_lots=700, instrument_id=0)

    rows = joined_rows(
        joined, level(1, 100, 10), own(0, 9, ADD, 5), level(9, 99, 5), moved, own(0, 10, MODIFY, 7)
    )

    assert [row.level_median_lots for row in rows] == [10, 10]


def test_where_there_is_nothing_to_compare_with_nothing_is_large(joined):
    alone = own(0, 9, ADD, 5)
    elsewhere = own(0, 8, ADD, 5, symbol_word=WORDS[3])

    rows = joined_rows(joined, level(9, 99, 5), alone, elsewhere)

    assert [row.level_median_lots for row in rows] == [mk.LOTS_MAX] * 2
    assert not any(row.qty_lots > 10 * row.level_median_lots for row in rows)


# --- declarations ---------------------------------------------------------------------------------


def with_book(address):
    return ot.source("fix:a").orders().with_book(ot.source(address))


MISTAKES = [
    (lambda: ot.source("itch").orders(), r"come by a drop copy: ot\.source\('fix://HOST:PORT'\)"),
    (
        lambda: ot.source("fix:a").orders().with_book(ot.source("fix:b")),
        "expected a feed of orders",
    ),
    (
        lambda: ot.source("fix:a").orders().with_book(ot.source("binance:BTCUSDT")),
        "expected a feed",
    ),
    (lambda: ot.source("fix:a").trades(), "a drop copy has no trades"),
    (lambda: ot.source("fix:a", patience="1s"), "patience"),
]


@pytest.mark.parametrize(("declare", "says"), MISTAKES)
def test_what_cannot_be_says_what_can(declare, says):
    with pytest.raises(DeclarationError, match=says):
        declare()


def test_a_drop_copy_in_a_pipeline_with_two_is_named():
    a, b = (ot.source(f"fix:{name}", name=name).orders() for name in "ab")

    pipeline = ot.Pipeline(mine=ot.merge(a, b))

    assert [source.name for source in pipeline.sources] == ["a", "b"]


def test_own_orders_in_a_test_of_ones_own():
    """Rows of both feeds by hand, in every way of running."""
    mine = ot.source("fix://dropcopy:9880").orders().with_book(ot.source("itch"))
    t = testing.Run(ot.Pipeline(mine=mine))
    order = testing.row(
        OwnOrder, ts_event_ns=5, order_id=9, symbol_word=WORDS[0], account_id=word_of("ACC1"),
        price_ticks=99, qty_lots=500, leaves_lots=500, sequence=1, action=ADD, side=BID,
    )  # fmt: skip

    t.feed(itch=[level(1, 100, 10)._replace(ts_event_ns=1)])
    t.feed(fix=[order, order._replace(sequence=3, ts_event_ns=7)]).end()
    testing.check(t)

    first, second = t.rows("mine")
    assert (first.order_id, first.account_id, first.qty_lots) == (9, word_of("ACC1"), 500)
    assert first.level_median_lots == mk.LOTS_MAX  # nobody has said which instrument AAPL is
    assert not first.flags & mk.STALE
    assert second.flags & mk.STALE  # number 2 is missing
