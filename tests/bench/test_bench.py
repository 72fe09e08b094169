"""The benches say whether the answer was right, and can say that it was not."""

import argparse
import json
import shutil

import numpy as np
import pytest

from bench import itch, run, startup, window
from onetape.records import OperatorError

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def options(name, **chosen):
    return argparse.Namespace(
        **{"name": name, "json": True, "quick": True, "record": False} | chosen
    )


@pytest.fixture
def stub(monkeypatch):
    """Replace all benches by one named 'stub' with this result."""

    def replace(**result):
        monkeypatch.setattr(run, "BENCHES", {"stub": lambda quick: result})

    return replace


@pytest.fixture
def scratch(monkeypatch, tmp_path):
    monkeypatch.setenv("ONETAPE_BENCH", str(tmp_path))


@needs_compiler
@pytest.mark.slow
def test_itch_gives_the_rows_of_the_c_program(scratch):
    result = itch.run(messages=20_000, rounds=1)

    assert result["answer_ok"]
    assert result["messages"] > 19_000
    assert min(result["msgs_per_s"], result["c_msgs_per_s"], result["digest_ns_per_row"]) > 0


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    ("was", "wrong"),
    [("MORE_THAN = 5", "MORE_THAN = 4"), ("g->index = p->made_rows", "g->index = 0")],
    ids=["another row", "another origin"],
)
def test_itch_notices_a_c_program_that_differs(scratch, monkeypatch, tmp_path, was, wrong):
    source = itch.SOURCE.read_text()
    assert was in source
    changed = tmp_path / "itch.c"
    changed.write_text(source.replace(was, wrong))
    monkeypatch.setattr(itch, "SOURCE", changed)

    assert not itch.run(messages=20_000, rounds=1)["answer_ok"]


def test_itch_without_a_compiler_says_what_to_do(scratch, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")

    with pytest.raises(OperatorError, match="no C compiler 'no-such-compiler'.*CC="):
        itch.compiled()


@needs_compiler
def test_itch_shows_what_the_compiler_said(scratch, monkeypatch, tmp_path):
    broken = tmp_path / "itch.c"
    broken.write_text("int itch_turn(void) { return nothing_like_it; }")
    monkeypatch.setattr(itch, "SOURCE", broken)

    with pytest.raises(OperatorError, match="nothing_like_it"):
        itch.compiled()


def test_window_gives_what_numpy_gives():
    result = window.run(events=30_000, rounds=1)

    assert result["answer_ok"]
    assert result["events_per_s"] > 0
    assert min(result["rows"].values()) > 0


def test_window_notices_a_wrong_sum():
    trades = window._trades(5_000, seed=3)
    ends = (trades["ts_event_ns"] // window.WIDTH_NS + 1) * window.WIDTH_NS
    group = ends * window.INSTRUMENTS + trades["instrument_id"]
    keys, place = np.unique(group, return_inverse=True)
    rows = np.zeros(len(keys), window.vwap(window.ot.source(window.Trade)).of.dtype)
    rows["ts_event_ns"], rows["instrument_id"] = np.divmod(keys, window.INSTRUMENTS)
    np.add.at(rows["notional_ticklots"], place, trades["price_ticks"] * trades["qty_lots"])
    bursts = np.concatenate(
        [
            ts_ns[5:][ts_ns[5:] - ts_ns[:-5] <= window.WITHIN_NS]
            for instrument in range(window.INSTRUMENTS)
            for ts_ns in [trades["ts_event_ns"][trades["instrument_id"] == instrument]]
        ]
    )
    right = {"vwap": rows, "burst": bursts}

    assert window._is_right(trades, right)
    rows["notional_ticklots"][7] += 1
    assert not window._is_right(trades, right)
    rows["notional_ticklots"][7] -= 1
    assert not window._is_right(trades, right | {"burst": bursts[:-1]})


@pytest.mark.slow
def test_startup_counts_a_cold_and_a_warm_start():
    result = startup.run(rounds=1)

    assert result["answer_ok"]
    assert result["cold_s"] > 0 and result["warm_s"] > 0


def test_one_bench_prints_its_own_object(stub, capsys):
    stub(answer_ok=True, events_per_s=7)

    assert run.run(options("stub")) == 0
    assert json.loads(capsys.readouterr().out) == {"answer_ok": True, "events_per_s": 7}


def test_all_benches_are_printed_by_name(stub, capsys):
    stub(answer_ok=True)

    assert run.run(options("all")) == 0
    assert json.loads(capsys.readouterr().out) == {"stub": {"answer_ok": True}}


def test_a_wrong_answer_is_the_exit_status(stub):
    stub(answer_ok=False)

    assert run.run(options("stub")) == 1


def test_a_bench_that_is_not_there_is_named():
    with pytest.raises(OperatorError, match="no bench 'speed'; there are itch, window, tape"):
        run.run(options("speed"))


def test_a_record_is_one_line_of_history(stub, monkeypatch, tmp_path):
    stub(answer_ok=True, cold_s=1.5)
    monkeypatch.setattr(run, "HISTORY", tmp_path / "history.jsonl")

    run.run(options("stub", record=True))
    run.run(options("stub", record=True))

    first, second = (tmp_path / "history.jsonl").read_text().splitlines()
    assert first == second
    assert json.loads(first)["results"] == {"stub": {"answer_ok": True, "cold_s": 1.5}}
