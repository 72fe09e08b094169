"""What columns compute, at the borders of 64 bits and where a value is not there."""

import math
import operator
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import End, Reusable, Rows, frames

import onetape as ot
from onetape import c
from onetape.engine.engine import StepError

MOST = 2**63 - 1
UNSET = ot.UNSET


@ot.record
class Pair:
    ts_event_ns: ot.i64
    a: ot.i64
    b: ot.i64
    n: ot.u8
    f: ot.f64
    g: ot.f64
    order_id: ot.u64


EDGES = [0, 1, -1, 2, -2, 3, 7, 2**31, -(2**31), 2**32 + 1, 3037000500, 2**62, -(2**62)]
EDGES += [MOST, -MOST, MOST - 1, MOST // 2, MOST // 2 + 1, UNSET]
numbers = st.sampled_from(EDGES) | st.integers(-MOST, MOST) | st.integers(-9, 9)
floats = st.sampled_from([0.0, -0.0, 1.5, -2.25, 1e300, math.inf, math.nan])
pairs = st.builds(Pair, st.just(1), numbers, numbers, st.integers(0, 255), floats, floats,
                  st.integers(0, 2**64 - 1) | st.sampled_from([2**63 + 1, 5]))  # fmt: skip

GROWING = {"sum": c.a + c.b, "difference": c.a - c.b, "product": c.a * c.b, "plus": c.a + 5,
           "minus": -7 - c.a, "small": c.n * c.n - 300, "long": c.a * 3 - c.b // 2}  # fmt: skip
SHRINKING = {
    "floored": c.a // c.b,
    "rest": c.a % c.b,
    "half": c.a // 2,
    "odd": c.a % -3,
    "over_small": c.a // c.n,
    "negative": -c.a,
    "size": c.a.abs(),
    "least": c.a.min(c.b),
    "greatest": c.a.max(c.b),
    "clipped": c.a.clip(-5, 5),
    "chosen": ot.when(c.a < c.b).then(c.a).otherwise(c.n),
    "ratio": c.a / c.b,
    "float": c.a.to_float() * 0.5,
    "root": c.f.sqrt(),
    "root_of_int": c.a.sqrt(),
    "of_floats": c.f / c.g,
    "floored_floats": c.f // c.g,
    "rest_of_floats": c.f % c.g,
    "below": c.a < c.b,
    "at_most": c.a <= c.b,
    "above": c.a > c.b,
    "at_least": c.a >= 3,
    "same": c.a == c.b,
    "other": c.a != c.b,
    "is_7": c.a == 7,
    "not_7": c.a != 7,
    "opposite": ~(c.a < c.b),
    "there": c.a.is_set(),
    "id": c.order_id == 2**63 + 1,
    "small_id": c.order_id != 5,
}
PLAIN = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "mod": operator.mod, "truediv": operator.truediv, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "min": min, "max": max, "neg": operator.neg, "abs": abs,
}  # fmt: skip


def value(expr, row):
    """The naive twin: None is what is not there."""
    if expr.op == "field":
        found = getattr(row, expr.args[0])
        return None if isinstance(found, int) and found == UNSET else found
    if expr.op == "constant":
        return expr.args[0]
    some = [value(arg, row) for arg in expr.args]
    if expr.op == "when":
        return some[1] if some[0] else some[2]
    if expr.op == "is_set":
        return some[0] is not None
    if expr.op == "not":
        return not some[0]
    if expr.op in ("eq", "ne"):
        return (None not in some and some[0] == some[1]) == (expr.op == "eq")
    if expr.op == "to_float":
        return math.nan if some[0] is None else float(some[0])
    if expr.op == "sqrt":
        return math.nan if some[0] is None or not some[0] >= 0 else math.sqrt(some[0])
    if expr.op == "truediv":
        return math.nan if None in some or some[1] == 0 else float(some[0]) / float(some[1])
    if None in some:
        return False if expr.op in ("lt", "le", "gt", "ge") else None
    if expr.op in ("floordiv", "mod") and some[1] == 0:
        return math.nan if isinstance(some[0], float) else None
    made = PLAIN[expr.op](*some)
    if isinstance(made, int) and not -MOST <= made <= MOST:
        raise OverflowError(made)
    return made


def stored(found):
    return UNSET if found is None else int(found) if isinstance(found, bool) else found


def make(columns):
    return ot.Pipeline(made=ot.source(Pair, name="pairs").select(**columns))


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def running(request):
    return request.param


@pytest.fixture(scope="module")
def shrinking(running):
    return Reusable(make(SHRINKING), running=running)


@pytest.fixture(scope="module")
def growing(running):
    return {n: Reusable(make({n: expr}), running=running) for n, expr in GROWING.items()}


@given(st.lists(pairs, min_size=1, max_size=8))
def test_what_cannot_grow_is_what_plain_python_says(shrinking, rows):
    ran = shrinking.run(frames([Rows(0, rows), End(0)]))

    for row, made in zip(rows, ran.rows["made"], strict=True):
        for found, (name, expr) in zip(made[1:], SHRINKING.items(), strict=True):
            expected = stored(value(expr, row))
            assert found == expected or (found != found and expected != expected), name


@given(pairs, st.sampled_from(sorted(GROWING)))
def test_what_64_bits_do_not_hold_halts_the_pipeline_at_its_line(growing, row, name):
    try:
        expected = stored(value(GROWING[name], row))
    except OverflowError:
        with pytest.raises(StepError, match="over 64 bits at offset 0, event 0") as raised:
            growing[name].run(frames([Rows(0, [row]), End(0)]))
        assert f"test_column_values.py:{GROWING[name].place.line}" in str(raised.value)
        assert repr(GROWING[name]) in str(raised.value)
    else:
        ran = growing[name].run(frames([Rows(0, [row]), End(0)]))
        assert ran.rows["made"] == [(1, expected)]


@pytest.fixture(scope="module")
def windows(running):
    of = ot.source(Pair, name="pairs").window(10, every=5, by=c.n)
    return Reusable(
        ot.Pipeline(
            made=of.agg(
                sum=c.a.sum(),
                least=c.a.min(),
                greatest=c.a.max(),
                mean=c.a.mean(),
                rows=ot.count(),
                first=c.a.first(),
                var=c.a.var(),
                std=c.f.std(),
                mean_f=c.f.mean(),
                least_f=(c.f / c.g).min(),
                sum_f=(c.f / c.g).sum(),
            )
        ),
        running=running,
    )


@given(st.lists(st.sampled_from([UNSET, UNSET, -3, 0, 5, 8]), min_size=1, max_size=12))
def test_a_window_leaves_out_what_is_not_there(windows, values):
    rows = [Pair(2 * i, a, 0, 1, i / 8, i % 3 / 2, 0) for i, a in enumerate(values)]
    ran = windows.run(frames([Rows(0, rows), End(0)]))

    for end_ns, _, total, least, greatest, mean, count, first, var, std, *floats, _ in ran.rows[
        "made"
    ]:
        inside = [r.a for r in rows if end_ns - 10 <= r.ts_event_ns < end_ns]
        there = [a for a in inside if a != UNSET]
        assert (count, first, total) == (len(inside), inside[0], sum(there))
        assert (least, greatest) == ((min(there), max(there)) if there else (UNSET, UNSET))
        assert mean == sum(there) / len(there) if there else mean != mean
        is_known = len(there) > 1
        assert var == pytest.approx(statistics.variance(there)) if is_known else var != var
        mean_f, least_f, sum_f = floats
        parts = [r.f / r.g for r in rows if end_ns - 10 <= r.ts_event_ns < end_ns and r.g]
        assert least_f == min(parts) if parts else least_f != least_f
        assert sum_f == pytest.approx(sum(parts))
        fractions = [r.f for r in rows if end_ns - 10 <= r.ts_event_ns < end_ns]
        assert mean_f == pytest.approx(sum(fractions) / len(fractions))
        is_known = len(fractions) > 1
        assert std == pytest.approx(statistics.stdev(fractions)) if is_known else std != std


def test_a_sum_that_leaves_its_room_in_one_step_halts(windows):
    with pytest.raises(StepError, match="the sum is over 2\\*\\*62"):
        windows.run(frames([Rows(0, [Pair(1, MOST, 0, 1, 0.0, 0.0, 0)]), End(0)]))


def test_an_alert_by_a_key_of_64_bits(running):
    pairs = ot.source(Pair, name="pairs")
    some = Reusable(ot.Pipeline(
        by_id=pairs.alert("far", by=c.order_id, once_per=10), by_a=pairs.alert("far", by="a"),
    ), running=running)  # fmt: skip
    rows = [Pair(t, -5, 0, 1, 0.0, 0.0, 2**64 - k) for t, k in ((1, 1), (2, 2), (3, 1), (12, 1))]

    ran = some.run(frames([Rows(0, rows), End(0)]))

    alerts = [ot.market.Alert(*row) for row in ran.rows["by_id"]]
    assert [alert.events_count for alert in alerts] == [1, 1, 2]
    assert len({alert.alert_id for alert in alerts}) == 3
    assert {alert.instrument_id for alert in alerts} == {0}
    assert len(ran.rows["by_a"]) == 4
