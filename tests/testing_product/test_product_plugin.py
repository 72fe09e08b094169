"""The pytest plugin: its fixture, its option, and lists of records told apart."""

import os
import subprocess
import sys

import pytest

import onetape as ot
from onetape.testing.table import difference

FILE = """
import os

import onetape as ot
from onetape.compiled import mode


@ot.record
class Tick:
    ts_event_ns: ot.i64
    value: ot.i64


@ot.operator
def double(t: Tick) -> Tick | None:
    return Tick(t.ts_event_ns, 2 * t.value)


AT_IMPORT = mode.current()
pipeline = ot.Pipeline(out=double(ot.source(Tick)))


def test_mode():
    assert AT_IMPORT == mode.current() == os.environ.get("ONETAPE_MODE", "compiled")
    print("mode is", mode.current())


def test_rows(run_pipeline):
    t = run_pipeline(pipeline, tick=[Tick(1, 5), Tick(2, 6)])
    assert t.rows("out") == [Tick(1, 10), Tick(2, 13)]
"""


def run_pytest(folder, *options):
    (folder / "test_it.py").write_text(FILE, encoding="utf-8")
    plugins = ["-p", "onetape.testing.plugin", "-p", "no:cacheprovider"]
    env = {k: v for k, v in os.environ.items() if k not in ("ONETAPE_MODE", "PYTEST_ADDOPTS")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-rP", *options, "test_it.py"],
        cwd=folder,
        env=env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_rows_that_differ_are_shown_as_a_table(tmp_path):
    done = run_pytest(tmp_path, "--onetape-mode=interpreted")

    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line.removeprefix("E").strip() for line in done.stdout.splitlines()]
    assert "onetape: interpreted" in lines
    assert "mode is interpreted" in lines
    assert (
        "assert 2 and 2 rows of Tick, 1 of them not the same (- left, + right, * differs)" in lines
    )
    assert "row  ts_event_ns  value" in lines
    assert "-    1            2    *12" in lines
    assert "+    1            2    *13" in lines
    assert "1 failed, 1 passed" in lines[-1]


def test_without_the_option_the_mode_is_as_ever(tmp_path):
    done = run_pytest(tmp_path, "-k", "mode")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "mode is compiled" in done.stdout


def test_a_mode_that_is_none_is_refused(tmp_path):
    done = run_pytest(tmp_path, "--onetape-mode=quick")

    assert done.returncode == 4
    assert "invalid choice: 'quick'" in done.stderr


@ot.record
class Tick:
    ts_event_ns: ot.i64
    value: ot.i64


def test_only_what_differs_is_shown_and_not_too_much_of_it():
    left = [Tick(n, n) for n in range(30)]
    right = [Tick(n, n + (n > 9)) for n in range(29)]

    lines = difference(left, right)

    assert lines[0].startswith("30 and 29 rows of Tick, 20 of them not the same")
    assert len(lines) == 2 + 2 * 12 + 1
    assert lines[2].split() == ["-", "10", "10", "*10"]
    assert lines[-1] == "... and 8 more"


def test_a_row_too_many_is_shown_alone():
    assert difference([], [Tick(1, ot.UNSET)])[2].split() == ["+", "0", "1", "UNSET"]


@pytest.mark.parametrize("pair", [([1], [2]), ([], []), ([Tick(1, 1)], "x"), ([Tick(1, 1)], [3])])
def test_other_lists_are_left_to_pytest(pair):
    assert difference(*pair) is None
