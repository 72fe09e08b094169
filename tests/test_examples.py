"""Every program in examples/ runs by itself, says what it promises, and fits a screen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
LINES_MAX = 60
TIMEOUT_S = 240  # a cold cache on a slow machine; warm, each takes a second or two

SAYS = {
    "01_replay_a_day.py": "all 3 planted bursts were found, and nothing else",
    "02_own_operator.py": "plain Python gives the same record",
    "03_own_window.py": "  1.00  bought  3,432  sold  2,837",
    "04_order_book_at_full_depth.py": "ZNQF: 33 bid levels, 27 ask levels",
    "05_two_sources.py": "edge [(13000000, 1, 8)]",
    "06_timer.py": "23 silences of more than 800 ms",
}


def test_every_example_is_run_here():
    assert [path.name for path in EXAMPLES] == sorted(SAYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_promises(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert SAYS[path.name] in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_a_screen(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < LINES_MAX
