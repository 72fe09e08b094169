"""VWAP and bars against their definitions: all trades of a window, then one sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import End, Reusable, Rows, frames, run
from tests.naive.windows import bars, on_time, vwap

import onetape as ot
from onetape import market as mk
from onetape.engine.engine import StepError
from onetape.records.market import Trade

LATENESS_NS = 15


@pytest.fixture(scope="module")
def engine():
    trades = ot.source(Trade, lateness=LATENESS_NS)
    return Reusable(
        ot.Pipeline(
            sliding=mk.vwap(trades, width="60ns", every="10ns"),
            tumbling=mk.vwap(trades, width="20ns"),
            bar=mk.bars(trades, width="25ns"),
        )
    )


def trade(ts_ns, price=100, qty=1, instrument=1):
    return Trade(ts_ns, price, qty, 0, 0, 0, instrument, 0, 0, 0)


trades = st.lists(
    st.builds(
        trade,
        st.integers(0, 400),
        st.integers(-3, 200),
        st.integers(1, 10**6),
        st.sampled_from([0, 1, 2, 70_000, 2**32 - 1]),
    ),
    min_size=1,
    max_size=40,
)


@given(trades, st.booleans(), st.booleans())
def test_equal_to_the_definition(engine, some, in_order, ended):
    if in_order:
        some = sorted(some)
    kept, late = on_time(some, LATENESS_NS)
    watermark = 2**62 if ended else max(t.ts_event_ns for t in some) - LATENESS_NS

    ran = engine.run(frames([Rows(0, some), *[End(0)] * ended]), digests=False)

    assert ran.rows["sliding"] == vwap(kept, 60, 10, watermark)
    assert ran.rows["tumbling"] == vwap(kept, 20, until_ns=watermark)
    assert ran.rows["bar"] == bars(kept, 25, watermark)
    assert ran.counts.late == len(late)


def test_a_window_is_from_its_start_to_just_before_its_end(engine):
    some = [trade(19, qty=1), trade(20, qty=2), trade(39, qty=4), trade(40, qty=8), trade(61)]

    ran = engine.run(frames([Rows(0, some)]), digests=False)

    assert [(end, qty) for end, _, _, qty, *_ in ran.rows["tumbling"]] == [(20, 1), (40, 6)]


def test_empty_windows_give_nothing(engine):
    ran = engine.run(frames([Rows(0, [trade(5), trade(10**15)]), End(0)]), digests=False)

    assert [end for end, *_ in ran.rows["tumbling"]] == [20, 10**15 + 20]
    assert len(ran.rows["sliding"]) == 12


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_a_notional_that_would_overflow_halts_the_pipeline(running):
    stream = ot.source(Trade)
    pipeline = ot.Pipeline(vwap=mk.vwap(stream, width=100))
    big = [trade(n, price=2**48, qty=2**13) for n in range(3)]

    with pytest.raises(StepError, match=r"VwapSum_100ns raised OverflowError: the notional .* 2"):
        run(pipeline, frames([Rows(0, big)]), running=running)
