"""The DEBS 2022 example: the engine, the loop over dicts and NumPy say the same, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from examples.debs2022 import naive, queries
from examples.debs2022.run import answers, is_same, look_up
from examples.debs2022.ticks import lasts
from examples.debs2022.week import BUSIEST, SYMBOLS, frequencies, week
from hypothesis import given
from hypothesis import strategies as st

import onetape as ot

ROOT = Path(__file__).resolve().parent.parent
HEADING = "ID,SecType,Date,Time," + ",".join(f"c{n}" for n in range(4, 21))
HEADING += ",Last,Last volume,Trading time,Total volume,Mid price,Trading date"


def line(symbol, kind, at, last="", trading=""):
    cells = [
        symbol,
        kind,
        "08-11-2021",
        at,
        *[""] * 17,
        last,
        "",
        trading,
        "",
        "",
        "08-11-2021",
        "",
    ]
    return ",".join(cells)  # one comma more than the heading has


LINES = [
    "# a licence",
    HEADING,
    "#'Unique ID','Security type'",
    line("AAA.FR", "E", "09:01:00.000"),
    line("AAA.FR", "E", "09:01:02.000", "10.500000", "09:01:01.250"),
    line("BBB.NL", "I", "09:00:00.000", "0.000000"),
    line("BBB.NL", "I", "09:00:59.000", "7.000000"),
    line("CCC.NL", "X", "09:00:59.000", "9.000000"),
    line("AAA.FR", "E", "09:06:00.000", "11.000000", "09:06:00.000"),
]


def columns(trades):
    return [trades[n].tolist() for n in ("ts_event_ns", "instrument_id", "price_ticks")]


def test_a_week_of_a_few_symbols_gives_what_the_loop_gives():
    trades = week(4_000, [3, 2, 1, 1, 1], seed=2)
    found, _ = answers(trades)
    expected = naive.in_python(*columns(trades))
    assert is_same(found, expected)
    assert len(expected[1]) > 10

    q1, q2 = naive.in_numpy(*(np.array(column) for column in columns(trades)))
    assert list(zip(*(c.tolist() for c in q1), strict=True)) == expected[0]
    assert list(zip(*(c.tolist() for c in q2), strict=True)) == expected[1]

    crossed = [row for row in expected[1] if row[1] == 1][-3:][::-1]
    shown = look_up(found, {1: "ONE"}, "ONE")["crossings"]
    assert [signal for *_, signal in shown] == [
        "Buy" if signal == queries.BUY else "Sell" for *_, signal in crossed
    ]


def test_another_answer_is_noticed():
    trades = week(500, [1, 1], seed=3)
    found, _ = answers(trades)
    expected = naive.in_python(*columns(trades))
    found["q1"]["ema_38_ticks"][7] = np.nextafter(found["q1"]["ema_38_ticks"][7], 0)
    assert not is_same(found, expected)


@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 3), st.integers(1, 9)), max_size=60)
)
def test_numpy_and_the_loop_agree_on_any_rows(rows):
    rows = sorted((ts * 10**9, symbol, price * 10**6) for ts, symbol, price in rows)
    if rows:
        found = naive.in_numpy(*np.array(rows).T)
        expected = naive.in_python(*zip(*rows, strict=True))
        for ours, theirs in zip(found, expected, strict=True):
            assert list(zip(*(c.tolist() for c in ours), strict=True)) == theirs


def test_rows_with_a_price_are_read_and_the_others_left_out(tmp_path):
    (tmp_path / "debs2022-gc-trading-day-08-11-21.csv").write_text("\n".join(LINES))
    read = ot.run(ot.Pipeline(lasts=lasts(tmp_path)), quiet=True).lasts.to_dicts()
    assert [(r["symbol"], r["price_ticks"], r["kind"]) for r in read] == [
        ("BBB.NL", 7_000_000, "I"),
        ("AAA.FR", 10_500_000, "E"),
        ("AAA.FR", 11_000_000, "E"),
    ]
    # 9:01:01.250 in Paris, in winter
    assert read[1]["ts_event_ns"] == 1_636_358_461_250_000_000


def test_the_model_of_frequencies_is_as_skewed_as_the_counts():
    model = frequencies()
    assert len(model) == SYMBOLS
    assert sum(share for _, share in model) == pytest.approx(1)
    assert model[0][1] / model[SYMBOLS // 2][1] == pytest.approx(BUSIEST / 13_000, rel=0.01)


def test_counts_can_be_given(tmp_path):
    (tmp_path / "counts.txt").write_text("   1 B.NL\n   3 A.FR\n")
    assert frequencies(tmp_path / "counts.txt") == [("A.FR", 0.75), ("B.NL", 0.25)]


def test_the_program_says_that_the_answers_are_equal():
    done = subprocess.run(
        [sys.executable, ROOT / "examples/debs2022/run.py", "--events", "3000", "--json"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["equal_to_the_loop"]
