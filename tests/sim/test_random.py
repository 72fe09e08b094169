"""The generator against its published values and the distributions it promises."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.compiled import mode
from onetape.sim import random as rnd

seeds = st.integers(-(2**63), 2**63 - 1)


def test_draws_what_splitmix64_draws():
    """The first numbers of SplitMix64 from state 0, as in its reference implementation."""
    streams = np.zeros(1, np.int64)

    drawn = [rnd.draw(streams, 0) % 2**64 for _ in range(3)]

    assert drawn == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(seeds, st.integers(1, 2**31 - 1), st.integers(0, 2**40))
def test_plain_python_draws_the_same(seed, n, mean):
    table = rnd.exponential_table()

    def some():
        streams = rnd.new_streams(seed, 2)
        first = [rnd.draw(streams, 0), rnd.below(streams, 1, n)]
        return first + [rnd.exponential(streams, 0, table, mean) for _ in range(3)]

    compiled = some()
    with mode.running("interpreted"):
        interpreted = some()

    assert compiled == interpreted
    assert 0 <= compiled[1] < n
    assert min(compiled[2:]) >= 0


def test_streams_of_one_seed_and_of_neighbouring_seeds_differ():
    states = [word for seed in range(100) for word in rnd.new_streams(seed, 3)]

    assert len(set(states)) == 300


@pytest.mark.parametrize("n", [1, 2, 6, 100])
def test_below_favours_no_number(n):
    streams = rnd.new_streams(1, 1)
    counts = np.bincount([rnd.below(streams, 0, n) for _ in range(20_000)], minlength=n)

    expected = 20_000 / n
    chi_square = ((counts - expected) ** 2 / expected).sum()

    assert chi_square < n - 1 + 4 * math.sqrt(2 * n)


def test_exponential_draws_have_the_quantiles_of_the_distribution():
    streams, table = rnd.new_streams(2, 1), rnd.exponential_table()
    draws = np.array([rnd.exponential(streams, 0, table, 10**6) for _ in range(20_000)])

    assert draws.mean() == pytest.approx(10**6, rel=0.03)
    for part in (0.1, 0.5, 0.9, 0.99, 0.999):
        expected = -math.log(1 - part) * 10**6
        assert np.quantile(draws, part) == pytest.approx(expected, rel=0.15)


def test_the_table_holds_the_quantiles():
    table = rnd.exponential_table()

    expected = [-math.log(1 - k / 256) * 65536 for k in range(256)]

    assert np.abs(table - expected).max() < 0.501
