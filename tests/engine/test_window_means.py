"""Quantiles, time-weighted and exponential means of windows against their definitions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import End, Reusable, Rows, frames
from tests.naive import windows as naive

import onetape as ot
from onetape import c
from onetape.records import UNSET, DeclarationError

WIDTH_NS, EVERY_NS, HALF_NS = 20, 5, 7


@ot.record
class Quote:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    share: ot.f64
    order_id: ot.u64
    key: ot.u32


def means():
    return {
        "half": c.price_ticks.quantile(0.5),
        "most": c.price_ticks.quantile(0.9) + 0,
        "twap": c.price_ticks.twap(),
        "ema": c.price_ticks.ema(HALF_NS),
        "rows": ot.count(),
        "start": ot.start_ns(),
        "part": c.share.twap(),
    }


def make_pipeline():
    quotes = ot.source(Quote, name="quotes")
    return ot.Pipeline(
        slides=quotes.window(WIDTH_NS, every=EVERY_NS, by=c.key).agg(**means()),
        tumbles=quotes.window(WIDTH_NS, by=c.key).agg(**means()),
        visits=quotes.session(9, by=c.key).agg(**means()),
        fours=quotes.batches(4, by=c.key).agg(**means()),
    )


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def engine(request):
    return Reusable(make_pipeline(), running=request.param)


@st.composite
def quotes(draw):
    """In order of time: a price, now and then none."""
    now, rows = 0, []
    prices = st.one_of(st.integers(9_900, 10_100), st.integers(-(2**40), 2**40), st.just(UNSET))
    for _ in range(draw(st.integers(1, 30))):
        now += draw(st.integers(0, 12))
        price, key = draw(prices), draw(st.integers(0, 1))
        rows.append(Quote(now, price, draw(st.sampled_from([0.5, float("nan")])), 1, key))
    return rows


def points(rows, field="price_ticks"):
    """(time, value) of the rows that have one."""
    found = [(r.ts_event_ns, getattr(r, field)) for r in rows]
    return [(t, v) for t, v in found if v != UNSET and v == v]


def near(told, exact, scale=1.0):
    if exact is None:
        return math.isnan(told)
    return math.isclose(told, exact, rel_tol=1e-9, abs_tol=1e-9 * scale)


def check(row, inside, earlier, start_ns, end_ns):
    """A row of any kind of window against the definitions, for the rows in it and before it."""
    _, _, half, most, twap, ema, count, start, part, _ = row
    some, past = points(inside), points(earlier)
    values = [v for _, v in some]
    assert (count, start) == (len(inside), start_ns)
    if values:
        for told, share in ((half, 0.5), (most, 0.9)):
            exact = naive.quantile(values, share)
            assert abs(told - exact) <= naive.sketch_error(values) * abs(exact) + 1
    else:
        assert (half, most) == (UNSET, UNSET)
    scale = max((abs(v) for _, v in some + past), default=1.0)
    assert near(twap, naive.twap(some, start_ns, end_ns, past[-1][1] if past else None), scale)
    assert near(ema, naive.ema(past + some, HALF_NS), scale)
    shares, before = points(inside, "share"), points(earlier, "share")
    assert near(part, 0.5 if shares or before else None)


@given(quotes())
def test_equal_to_the_definitions(engine, rows):
    ran = engine.run(frames([Rows(0, rows), End(0)]), digests=False)

    for output, every_ns in (("slides", EVERY_NS), ("tumbles", WIDTH_NS)):
        windows = naive.windows(rows, WIDTH_NS, every_ns, key="key")
        assert [(r[0], r[1]) for r in ran.rows[output]] == [
            (end, key) for key, _, end, _ in windows
        ]
        for row, (key, start, end, inside) in zip(ran.rows[output], windows):
            earlier = [r for r in rows if r.key == key and r.ts_event_ns < start]
            check(row, inside, earlier, start, end)
    for row in ran.rows["visits"]:
        inside = [r for r in rows if r.key == row[1] and row[7] <= r.ts_event_ns < row[0]]
        check(row, inside, [], row[7], row[0])
    for key in (0, 1):
        own = [r for r in rows if r.key == key]
        told = [row for row in ran.rows["fours"] if row[1] == key]
        assert len(told) == len(own) // 4
        for n, row in enumerate(told):
            four = own[4 * n : 4 * n + 4]
            check(row, four, [], four[0].ts_event_ns, four[3].ts_event_ns)


def test_the_value_in_force_at_the_start_came_before_the_window(engine):
    rows = [Quote(t, price, 0.5, 1, 0) for t, price in ((3, 100), (75, 300))]

    ran = engine.run(frames([Rows(0, rows), End(0)]), digests=False)

    told = {row[0]: row[4] for row in ran.rows["tumbles"]}
    assert told == {20: 100.0, 80: (100 * 15 + 300 * 5) / 20}  # 100 was in force since 3


def test_a_row_older_than_one_that_is_there_is_not_in_force_any_more():
    quotes = ot.source(Quote, name="quotes", lateness=50)
    pipeline = ot.Pipeline(mean=quotes.window(20, by=c.key).agg(mean=c.price_ticks.twap()))
    rows = [Quote(t, price, 0.5, 1, 0) for t, price in ((0, 10), (10, 20), (5, 99))]

    ran = Reusable(pipeline, running="interpreted").run(frames([Rows(0, rows), End(0)]))

    assert ran.rows["mean"][0][2] == 15.0


def test_quantiles_of_one_expression_share_a_sketch():
    window = ot.source(Quote).window("1s", by=c.key)
    spec = window.agg(a=c.price_ticks.quantile(0.1), b=c.price_ticks.quantile(0.9)).node.spec

    assert spec.state.itemsize < 2_200


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: c.price_ticks.quantile(1.5), r"quantile\(1.5\); expected a share, 0 to 1"),
        (lambda: c.price_ticks.quantile(True), "expected a share"),
        (lambda: c.price_ticks.ema("0s"), "expected more than 0 ns"),
        (lambda: agg(c.share.quantile(0.5)), r"quantile\(\) of a float; expected a whole number"),
        (lambda: agg(c.order_id.twap()), r"twap\(\) of an id; expected numbers"),
        (lambda: agg(c.order_id.ema(5)), r"ema\(\) of an id; expected numbers"),
        (lambda: ot.source(Quote).filter(c.price_ticks.twap() > 1.0), "over the rows of a window"),
    ],
)
def test_what_cannot_be_says_why(make, message):
    with pytest.raises(DeclarationError, match=message):
        make()


def agg(expression):
    return ot.source(Quote).window("1s", by=c.key).agg(x=expression)
