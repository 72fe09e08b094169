"""The benches check their own answers; here that they do, on small runs. No figure is asserted."""

import shutil

import numpy as np
import pytest
from bench import closing, columns, itch, own_orders, window


def test_the_window_bench_finds_what_numpy_finds():
    result = window.run(events=20_000, rounds=1)

    assert result["answer_ok"]
    assert result["rows"]["vwap"] > 0
    assert result["rows"]["burst"] > 0


def test_every_key_closes_and_does_so_in_turns():
    result = closing.run(keys=3_000, rounds=1)

    assert result["answer_ok"]
    assert [one["turns"] for one in result["of"].values()] == [3, 3, 3]


def test_columns_classes_and_kernels_give_equal_digests():
    result = columns.run(events=40_000, rounds=1)

    assert result["answer_ok"]
    assert result["rows"] > 1000


def test_own_orders_are_joined_alike_in_another_split():
    result = own_orders.run(messages=4_000, rounds=1)

    assert result["answer_ok"]
    assert result["reports"] > 100


def test_the_window_bench_notices_a_wrong_answer():
    trades = window._trades(5_000, 1)
    kept = {"vwap": np.zeros(1, window.vwap(window.ot.source(window.Trade)).of.dtype)}

    assert not window._is_right(trades, kept)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, cc")
def test_the_c_program_gives_the_same_rows_byte_for_byte():
    assert itch.run(messages=150_000, rounds=1)["answer_ok"]
