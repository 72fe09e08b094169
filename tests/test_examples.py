"""Every program in examples/ runs by itself, says what it promises, and fits a screen."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
LINES_MAX = 60
TIMEOUT_S = 240  # a cold cache on a slow machine; warm, each takes a second or two

SAYS = {
    "01_replay_a_day.py": "all of 10,499 messages again: the same digests",
    "02_vwap_alert.py": "107 trades were so far away; 15 alerts, one a second each",
    "03_own_operator.py": "plain Python gives the same record",
    "04_own_window.py": "14:30:01.000  bought  3,432  sold  2,837",
    "05_order_book.py": "imbalance +11.9 %, microprice 7.78000",
    "06_two_venues.py": "ACME  2026-01-05 14:30:00.013000000              1      8",
    "07_timer.py": "23 silences of more than 800 ms",
    "08_effective_spread.py": "800 trades: quoted 2.462 ticks, effective 2.643",
    "09_sinks.py": "alerts.jsonl: 4 lines; ZLZT, rule 1",
    "10_burst_cancel.py": "all 3 planted bursts were found, and nothing else",
    "11_test_an_operator.py": "field Volume.qty_lots was given 2147483648",
    "12_live_on_a_bad_network.py": "all equal",
    "13_spoofing_wall.py": "26 walls were pulled after a fill on the other side",
    "14_layering.py": "3 times layers were built and taken away around a fill",
    "15_quote_stuffing.py": "23 times six cancels, all of them in the 3 planted episodes",
    "16_wash_trade.py": "12 pairs of trades cancel each other out",
    "17_momentum_ignition.py": "73 runs went up and came back",
    "18_stop_hunt.py": "79 spikes came back",
    "19_fat_finger.py": "19 large orders went within 50 ms, 16 stayed",
    "20_cancel_after_fill.py": "87 of 1,027 fills had a cancel within 50 ms",
    "21_limits_that_change.py": "account 2: 4,000 lots, 1,000 allowed",
}


GALLERY = (ROOT / "docs" / "GALLERY.md").read_text(encoding="utf-8")
SECTIONS = re.findall(
    r"^## \[(\S+)\]\(\.\./examples/\1\)\n.*?```python no-run\n(.*?)```\n\n```text\n(.*?)```",
    GALLERY,
    re.M | re.S,
)
SHOWN = {name: [x for x in text.splitlines() if x != "..."] for name, _, text in SECTIONS}


def test_the_gallery_shows_every_example_as_it_is():
    assert [name for name, _, _ in SECTIONS] == sorted(SAYS)
    for name, code, _ in SECTIONS:
        source = (ROOT / "examples" / name).read_text(encoding="utf-8")
        known = [line.strip() for line in source.splitlines()]
        assert [x for x in code.splitlines() if x.strip() not in (*known, "...")] == [], name


def test_every_example_is_run_here():
    assert [path.name for path in EXAMPLES] == sorted(SAYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_what_it_promises(path, tmp_path, tmp_path_factory):
    here = tmp_path_factory.mktemp("hypothesis")  # which keeps a folder where it runs
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT / "src"), "HYPOTHESIS_STORAGE_DIRECTORY": str(here)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert SAYS[path.name] in done.stdout
    assert [line for line in SHOWN[path.name] if line not in done.stdout] == []
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_fits_a_screen(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < LINES_MAX
