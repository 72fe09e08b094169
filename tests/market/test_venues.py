"""Feeds of venues: instruments, assets and their ids, and prices on a shared grid."""

import zlib
from decimal import Decimal

import pytest

import onetape as ot
from onetape import market as mk
from onetape import testing
from onetape.market.instruments import check_id, instrument_of
from onetape.records import UNSET, DeclarationError
from onetape.runtimes.inputs import ticks_of

ASSETS = {
    "binance:BTCUSDT": "BTC/USD",
    "binance:BTCUSDC": "BTC/USD",
    "kraken:BTC/USD": "BTC/USD",
    "kraken:XBT/USDT": "BTC/USD",
    "binance:ETHBTC": "ETH/BTC",
    "kraken:XDG/EUR": "DOGE/EUR",
    "kraken:XBTUSD": "BTC/USD",
}


@pytest.mark.parametrize(("address", "asset"), ASSETS.items())
def test_an_asset_is_the_same_at_every_venue(address, asset):
    found = instrument_of(address)

    assert found.asset == asset
    assert found.asset_id == zlib.crc32(asset.encode())
    assert found.instrument_id == zlib.crc32(address.encode())


def test_ids_are_pinned():
    """They stand on tapes: another value is another asset."""
    assert instrument_of("kraken:BTC/USD").asset_id == 3031763835


@pytest.mark.parametrize(
    "address",
    ["binance:", "binance:BTC", "binance:btcusdt", "kraken:BTC/", "kraken:/USD", "kraken:€/USD"],
)
def test_a_symbol_that_is_no_pair_is_refused_with_one_that_is(address):
    with pytest.raises(DeclarationError, match=r"no pair of a base and a quote; expected one as '"):
        ot.source(address)


def test_two_names_with_one_id_are_refused():
    names = {}
    check_id("plumless", names)  # two words with one CRC-32
    check_id("plumless", names)

    with pytest.raises(DeclarationError, match="buckeroo and plumless have one id, 1306201125"):
        check_id("buckeroo", names)


def test_an_unknown_venue_is_refused_with_those_that_are_known():
    with pytest.raises(DeclarationError, match="known are itch, itch\\+udp, fix, binance, kraken"):
        ot.source("coinbase:BTC-USD")


GRIDS = [
    (0.01, r"a float is not exactly that; write it as text: \.on_grid\('0.01'\)"),
    ("0", "a grid is over 0"),
    ("-0.01", "a grid is over 0"),
    ("NaN", "a grid is over 0"),
    ("cent", "expected what one tick is, as text"),
    (None, "expected what one tick is, as text"),
    ("0.000000015", "a whole number of the feed's ticks of 0.00000001"),
    ("1e30", "a whole number of the feed's ticks"),
]


@pytest.mark.parametrize(("grid", "says"), GRIDS)
def test_a_grid_that_cannot_be_is_refused(grid, says):
    with pytest.raises(DeclarationError, match=rf"test_venues.py:\d+: on_grid was given .*{says}"):
        ot.source("binance:BTCUSDT").on_grid(grid)


def test_what_a_venue_does_not_send_is_told():
    feed = ot.source("binance:BTCUSDT").on_grid("0.01")

    for what in (feed.events, feed.gaps, feed.depth, lambda: feed.only("AAPL")):
        with pytest.raises(DeclarationError, match=r"it has top_of_book\(\) and trades\(\)"):
            what()


def test_a_venue_needs_a_grid_before_it_gives_prices():
    with pytest.raises(DeclarationError, match=r"say what one tick is: .*\.on_grid\('0.01'\)"):
        ot.source("kraken:BTC/USD").trades()


def test_a_feed_gives_the_same_stream_each_time():
    feed = ot.source("kraken:BTC/USD").on_grid("0.1")

    assert feed.trades() is feed.trades()
    assert ot.Pipeline(a=feed.trades(), b=feed.on_grid("1").trades()).sources == [
        feed.trades().node.inputs[0][1].node
    ]


UNIT = 10**8


def test_quotes_are_put_on_the_grid_or_refused():
    quotes = ot.source("binance:BTCUSDT").on_grid("0.25").top_of_book()
    row = dict(ts_event_ns=1, sequence=5, instrument_id=7, asset_id=9, flags=4)
    rows = [
        testing.row(mk.TopOfBook, bid_price_ticks=bid, ask_price_ticks=ask, **row)
        for bid, ask in [
            (UNIT, 2 * UNIT),
            (UNIT, UNSET),
            (UNIT + UNIT // 4, UNIT + UNIT // 5),  # 1.20 is not on it
            (-UNIT, UNIT + 1),
            (-UNIT // 4, 0),
        ]
    ]

    t = testing.check(ot.Pipeline(top=quotes), binance_btcusdt_top_of_book=rows)

    prices = [(r.bid_price_ticks, r.ask_price_ticks) for r in t.rows("top")]
    assert prices == [(4, 8), (4, UNSET), (-1, 0)]
    same = {
        (r.ts_event_ns, r.sequence, r.instrument_id, r.asset_id, r.flags) for r in t.rows("top")
    }
    assert same == {(1, 5, 7, 9, 4)}


def test_trades_keep_all_but_their_price():
    pipeline = ot.Pipeline(trade=ot.source("kraken:BTC/USD").on_grid("0.01").trades())
    trade = mk.Trade(1, 5 * UNIT, 3, 2**64 - 1, 8, 9, 10, ord("B"), 1, ord("T"), 11, 0)

    t = testing.check(pipeline, kraken_btc_usd_trade=[trade, trade._replace(price_ticks=1)])

    assert t.rows("trade") == [trade._replace(price_ticks=500)]


def test_itch_can_be_put_on_a_grid_too():
    feed = ot.source("itch")
    cents = feed.on_grid("0.01")
    with pytest.raises(DeclarationError, match=r"depth\(\) is as the venue sends it"):
        cents.depth()
    pipeline = ot.Pipeline(raw=feed.trades(), cents=cents.trades())
    assert ticks_of(pipeline) == {"raw": Decimal("0.0001"), "cents": Decimal("0.01")}
    assert feed.on_grid("0.0001").trades().node.name == "Book"  # its own grid costs nothing

    t = testing.Run(pipeline)
    t.feed(testing.day(seconds=0.3, instruments=3)).end()

    on_grid = [r._replace(price_ticks=r.price_ticks // 100) for r in t.rows("raw")]
    whole = [r.price_ticks % 100 == 0 for r in t.rows("raw")]
    assert t.rows("cents") == [r for r, is_whole in zip(on_grid, whole) if is_whole]
    assert any(whole)
