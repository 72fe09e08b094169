"""Values of a stranger's table: exact, or refused with row, value and what to do."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onetape as ot
from onetape import market as mk
from onetape.connect.frames import numbers
from onetape.records import UNSET, DeclarationError, PeerError

NS = 1_514_903_400_000_000_000  # 2018-01-02T14:30:00Z
STEPS = ["0.01", "0.0001", "0.25", "0.05", "1", "10", "0.00000001", "0.125"]


def block(table, as_=mk.Trade, **options):
    """All rows that `ot.read` makes of a table."""
    blocks = list(ot.read(table, as_=as_, **options).node.table.blocks())
    return np.concatenate(blocks) if blocks else np.empty(0, as_.dtype)


def trades(**columns):
    """A table of trades; what is not given is the same in all rows."""
    rows = max(len(values) for values in columns.values())
    plain = {"ts_event_ns": [NS] * rows, "price_ticks": [1] * rows, "qty_lots": [1] * rows}
    return pa.table(plain | columns)


@given(st.sampled_from(STEPS), st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20))
def test_prices_on_the_grid_are_their_ticks_in_every_form(step, ticks):
    prices = [Decimal(step) * count for count in ticks]
    floats = [float(price) for price in prices]
    grid = numbers.grid("tick", step)
    forms = [
        pa.array([str(price) for price in prices]),
        pa.array([f"{price:f}000" if "." in f"{price:f}" else f"{price:f}" for price in prices]),
        pa.array(prices, pa.decimal128(38, 10)),
        pa.array(floats),
    ]
    for column in forms:
        found = numbers.on_grid(column, grid)
        if column is forms[3] and any(abs(t) * grid.units > 2**53 for t in ticks):
            continue  # too large for a float to be exact
        assert not found.bad.any()
        assert found.values.tolist() == ticks


@given(
    st.sampled_from(STEPS),
    st.lists(st.decimals(-(10**9), 10**9, places=9, allow_nan=False), min_size=1, max_size=20),
)
def test_prices_off_the_grid_are_known_as_decimal_knows_them(step, prices):
    grid = numbers.grid("tick", step)
    found = numbers.on_grid(pa.array([str(price) for price in prices]), grid)
    rounded = numbers.on_grid(pa.array([str(p) for p in prices]), grid, round_off=True)

    for i, price in enumerate(prices):
        count = Fraction(price) / Fraction(step)
        assert found.bad[i] == (count.denominator != 1)
        if not found.bad[i]:
            assert found.values[i] == count
        assert rounded.values[i] == round(count)
        assert not rounded.bad[i]


@given(st.sampled_from(["0.01", "0.0001", "0.125"]), st.floats(-(2.0**40), 2.0**40, width=64))
def test_a_float_is_on_the_grid_when_it_is_the_float_nearest_to_a_price(step, price):
    found = numbers.on_grid(pa.array([price]), numbers.grid("tick", step))

    nearest = round(Fraction(price) / Fraction(step))
    is_on = abs(nearest) < 2**50 and float(nearest * Fraction(step)) == price
    if abs(nearest) < 2**40:
        assert bool(found.bad[0]) == (not is_on)
    if not found.bad[0]:
        assert found.values[0] == nearest


def test_a_price_off_the_grid_is_refused_by_row_value_and_nearest():
    table = trades(price_ticks=["10.00", "10.01", "10.013"])
    with pytest.raises(PeerError) as error:
        block(table, tick="0.01")
    assert str(error.value) == (
        "the pyarrow Table, row 2, column 'price_ticks': 10.013 is not a whole number of ticks of "
        '0.01; the nearest is 10.01: give a finer tick="0.001" or off_grid="round". Rows count '
        'from 0; on_bad="skip" leaves such rows out'
    )
    rounded = block(table, tick="0.01", off_grid="round")
    assert rounded["price_ticks"].tolist() == [1000, 1001, 1001]


def test_a_float_that_arithmetic_moved_is_off_the_grid():
    with pytest.raises(PeerError, match=r"0\.30000000000000004 is not .* nearest is 0\.30"):
        block(trades(price_ticks=[0.1 + 0.2]), tick="0.01")
    assert block(trades(price_ticks=pa.array([0.3], pa.float32())), tick="0.1")["price_ticks"] == 3


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (["ten"], "'ten' is not a number"),
        (["NaN"], "'NaN' is not a number"),
        ([float("inf")], "inf is not a number"),
        ([None], "it is empty"),
        ([float("nan")], "it is empty"),
        (["1e30"], "is too large|is not a number"),
        ([True], None),
    ],
)
def test_what_is_no_price_is_refused(prices, said):
    if said is None:
        with pytest.raises(PeerError):
            block(trades(price_ticks=[None, *map(str, prices)]), tick="0.01")
        return
    with pytest.raises(PeerError, match=said):
        block(trades(price_ticks=prices), tick="0.01")


def test_sizes_are_whole_lots_and_not_below_zero():
    assert block(trades(qty_lots=["0.0020"]), tick=1, lot="0.0001")["qty_lots"] == 20
    with pytest.raises(PeerError, match=r'0\.5 is not a whole number of lots of 1.*lot="0\.1"'):
        block(trades(qty_lots=[0.5]), tick=1)
    with pytest.raises(PeerError, match="below 0"):
        block(trades(qty_lots=[-1]), tick=1)


@pytest.mark.parametrize("step", [0.01, "0", "-1", "cent", None, True, "1e-19"])
def test_a_step_is_text_over_zero(step):
    with pytest.raises(DeclarationError, match="tick was"):
        numbers.grid("tick", step)


MOMENT = datetime(2018, 1, 2, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (pa.array([MOMENT], pa.timestamp("s", "Asia/Tokyo")), {}),
        (pa.array([MOMENT], pa.timestamp("us", "UTC")), {}),
        (pa.array([datetime(2018, 1, 2, 9, 30)], pa.timestamp("ms")), {"tz": "America/New_York"}),
        (["2018-01-02T14:30:00Z"], {}),
        (["2018-01-02 15:30:00.000000000+01:00"], {}),
        (["2018-01-02T09:30:00"], {"tz": "America/New_York"}),
        ([NS // 10**9], {"time_unit": "s"}),
        ([NS // 10**6], {"time_unit": "ms"}),
        ([NS // 10**3], {"time_unit": "us"}),
        ([str(NS // 10**3)], None),
    ],
)
def test_times_of_every_form_are_the_same_ns(times, options):
    table = trades(price_ticks=[1]).drop(["ts_event_ns"]).append_column("when", pa.array(times))
    columns = {"ts_event_ns": "when"}
    if options is None:
        with pytest.raises(DeclarationError, match="times without a zone"):
            block(table, tick=1, columns=columns)
        return
    assert block(table, tick=1, columns=columns, **options)["ts_event_ns"] == NS


def test_a_unit_is_never_guessed_but_told():
    table = pa.table({"T": [1723161255611], "price_ticks": [1], "qty_lots": [1]})
    with pytest.raises(DeclarationError) as error:
        block(table, tick=1, columns={"ts_event_ns": "T"})
    assert str(error.value) == (
        "column 'T' holds integers (the first is 1723161255611); say what they count from 1970 "
        'UTC: time_unit="ms" makes it 2024-08-08 23:54:15+00:00'
    )


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("2018-11-04T01:30:00", "twice or never in America/New_York"),
        ("2018-03-11T02:30:00", "twice or never in America/New_York"),
        ("2018-13-01T00:00:00", "no time in ISO 8601 without a zone"),
        ("2018-01-02T00:00:00Z", "no time in ISO 8601 without a zone"),
        ("1969-01-02T00:00:00", "before 1970"),
        (None, "it is empty"),
    ],
)
def test_a_time_that_is_none_is_refused_by_row(time, said):
    table = trades(ts_event_ns=["2018-01-02T09:30:00", time])
    with pytest.raises(PeerError, match=f"row 1, column 'ts_event_ns': .*{said}"):
        block(table, tick=1, tz="America/New_York")


def test_sides_say_whose_they_are():
    table = trades(side=["buy", "S", "", None])
    with pytest.raises(DeclarationError, match=r'side_of="maker".*side_of="taker"'):
        block(table, tick=1)
    assert bytes(block(table, tick=1, side_of="maker")["side"]) == b"BANN"
    assert bytes(block(table, tick=1, side_of="taker")["side"]) == b"ABNN"
    maker_is_buyer = trades(side=[True, False])
    assert bytes(block(maker_is_buyer, tick=1, side_of="maker")["side"]) == b"BA"
    with pytest.raises(PeerError, match="'long' is no side"):
        block(trades(side=["long"]), tick=1, side_of="maker")


def test_integers_fit_their_field_or_are_refused():
    assert block(trades(order_id=[2.0**52]), tick=1)["order_id"] == 2**52
    assert block(trades(order_id=[str(2**64 - 1)]), tick=1)["order_id"] == 2**64 - 1
    for order_id in ([-1], ["x"], [1.5], [None]):
        with pytest.raises(PeerError, match="row 0, column 'order_id'"):
            block(trades(order_id=order_id), tick=1)


def test_a_quote_may_lack_a_side_and_a_trade_its_order():
    quotes = pa.table(
        {
            "ts_event_ns": [NS],
            "bid_price_ticks": pa.array([None], pa.float64()),
            "bid_qty_lots": pa.array([None], pa.int64()),
            "ask_price_ticks": [10.5],
            "ask_qty_lots": [3],
        }
    )
    (quote,) = block(quotes, mk.TopOfBook, tick="0.5")
    assert (quote["bid_price_ticks"], quote["bid_qty_lots"]) == (UNSET, 0)
    assert quote["ask_price_ticks"] == 21
    (trade,) = block(trades(price_ticks=[1]), tick=1)
    assert (trade["order_id"], trade["side"]) == (0, ord("N"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": {"price": "p"}}, "Trade has no field 'price'; did you mean 'price_ticks'"),
        ({"columns": {"price_ticks": "Prise"}}, "no column 'Prise'; did you mean 'PRICE'"),
        ({"columns": {"price_ticks": "PRICE"}}, "no column 'ts_event_ns', which Trade needs"),
        (
            {"columns": {"price_ticks": "PRICE", "ts_event_ns": "DT"}},
            r"no column 'qty_lots', which Trade needs.*\(None: leave it out\)",
        ),
    ],
)
def test_a_column_that_is_missing_is_told_with_the_nearest(options, said):
    table = pa.table({"DT": [NS], "PRICE": [1.0], "SIZE": [1]})
    with pytest.raises(DeclarationError, match=said):
        ot.read(table, as_=mk.Trade, tick="0.01", **options)


def test_a_price_needs_a_tick_and_options_are_checked():
    with pytest.raises(DeclarationError, match="'price_ticks' is a price; say what one tick is"):
        ot.read(trades(price_ticks=[1]), as_=mk.Trade)
    for options in ({"off_grid": "nearest"}, {"on_bad": "warn"}, {"tz": "Mars/Olympus"}):
        with pytest.raises(DeclarationError, match="was"):
            ot.read(trades(price_ticks=[1]), as_=mk.Trade, tick=1, **options)
    with pytest.raises(DeclarationError, match="cannot read the builtins int"):
        ot.read(1, as_=mk.Trade, tick=1)
