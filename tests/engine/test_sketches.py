"""Quantile sketches, half-lives and time-weighted means against their definitions."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.naive import windows as naive

from onetape.compiled import mode
from onetape.engine.columns import sketches, timed
from onetape.engine.columns.sketches import CELLS, WORDS
from onetape.records import UNSET

MOST = 2**63 - 1
wide = st.one_of(
    st.integers(-MOST, MOST),
    st.integers(-20, 20),
    st.integers(990_000, 1_010_000),
    st.builds(lambda bits, x: (1 << bits) + x, st.integers(0, 62), st.integers(-1, 1)),
)
many = st.lists(wide, min_size=1, max_size=60)


@pytest.fixture(params=["compiled", "interpreted"])
def either(request):
    with mode.running(request.param):
        yield


def sketch(values):
    span, cells = np.zeros(WORDS, np.int64), np.zeros(CELLS, np.uint32)
    for value in values:
        sketches.sketch_add(span, cells, value)
    return span, cells


def content(span, cells):
    """What a sketch has counted, without where its cells lie."""
    used = np.flatnonzero(cells)
    buckets = {int(span[sketches.BASE] + i): int(cells[i]) for i in used}
    return buckets, span[[sketches.ROWS, sketches.LOW, sketches.HIGH, sketches.SHIFT]].tolist()


def test_places_rise_with_values_and_lead_back(either):
    values = sorted({s * v for b in range(64) for v in (2**b - 1, 2**b, 2**b * 3 // 2) if v <= MOST
                     for s in (1, -1)})  # fmt: skip
    places = [sketches.place_of(v) for v in values]

    assert places == sorted(places)
    assert all(sketches.first_from(p) <= v for v, p in zip(values, places))
    assert all(sketches.first_from(p + 1) > v for v, p in zip(values, places) if v < MOST)
    small = [v for v in values if abs(v) < 2**33]
    assert [sketches.first_from(sketches.place_of(v)) for v in small] == small


@given(many, st.floats(0, 1))
def test_a_quantile_is_within_its_bucket(values, share):
    exact = naive.quantile(values, share)

    told = sketches.sketch_quantile(*sketch(values), share)

    assert abs(told - exact) <= naive.sketch_error(values) * abs(exact) + 1


@given(st.lists(st.integers(995_000, 1_005_000), min_size=1, max_size=200), st.floats(0, 1))
def test_prices_of_a_window_are_almost_exact(values, share):
    """Half a percent around a price: within a tick in fifty thousand."""
    told = sketches.sketch_quantile(*sketch(values), share)

    assert abs(told - naive.quantile(values, share)) <= 20


@given(many, many)
def test_order_and_panes_change_nothing(one, other):
    whole = sketch(one + other)
    merged, later = sketch(one), sketch(other)
    sketches.sketch_merge(*merged, *later)

    assert content(*whole) == content(*merged) == content(*sketch(sorted(one + other)[::-1]))


def test_a_sketch_of_nothing_gives_no_value_and_takes_another(either):
    empty, some = sketch([]), sketch([5, 7])
    assert sketches.sketch_quantile(*empty, 0.5) == UNSET

    sketches.sketch_merge(*some, *empty)
    sketches.sketch_merge(*empty, *some)

    assert content(*empty) == content(*some)
    assert [sketches.sketch_quantile(*some, q) for q in (0.0, 0.5, 1.0)] == [5, 5, 7]


def test_compiled_and_plain_sketches_are_the_same():
    rng = np.random.default_rng(5)
    values = [int(v) for v in rng.lognormal(8, 4, 300)] + [-3, 0, MOST, -MOST]
    made = []
    for running in ("compiled", "interpreted"):
        with mode.running(running):
            span, cells = sketch(values)
            quantiles = [int(sketches.sketch_quantile(span, cells, q / 20)) for q in range(21)]
        made.append((span.tolist(), cells.tolist(), quantiles))

    assert made[0] == made[1]


def test_more_rows_than_a_cell_counts_halt(either):
    span, cells = sketch([1])
    span[sketches.ROWS] = 2**32 - 1
    with pytest.raises(OverflowError, match="more than 2"):
        sketches.sketch_add(span, cells, 1)


@given(st.integers(0, 2**60), st.integers(1, 2**60))
def test_half_lives_are_powers_of_two(age, half_life):
    with localcontext() as context:
        context.prec = 40
        exact = Decimal(2) ** (-Decimal(age) / Decimal(half_life)) if age < 1070 * half_life else 0

    told = timed.half_lives(age, half_life)

    # A double's rounding of the age in half-lives alone is worth as much.
    assert math.isclose(told, float(exact), rel_tol=1e-15 * (1 + age / half_life), abs_tol=1e-307)


def test_half_lives_are_the_same_bits_in_both_modes():
    ages = [0, 1, 7, 999, 10**6, 3 * 10**9, 10**12, 2**40]
    made = []
    for running in ("compiled", "interpreted"):
        with mode.running(running):
            made.append([timed.half_lives(age, half).hex() for age in ages for half in (7, 10**9)])

    assert made[0] == made[1]
    assert timed.half_lives(0, 5) == 1.0 and timed.half_lives(5, 5) == 0.5
