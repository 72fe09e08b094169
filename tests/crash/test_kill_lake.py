"""kill -9 at random moments of what writes a lake: what is there is a prefix, and nothing twice.

ONETAPE_KILLS=50 pytest tests/crash/test_kill_lake.py
"""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import date

import pytest

import onetape as ot
from onetape.connect.lake import store
from onetape.connect.lake.tape_table import TapeTable
from onetape.runtimes.load import load_pipeline
from onetape.sim import write_file

pytest.importorskip("deltalake", reason='pip install "onetape[lake]"')
pytestmark = [pytest.mark.crash, pytest.mark.slow]
KILLS = int(os.environ.get("ONETAPE_KILLS", "5"))
LIVES = 60  # at most, for a run of several lives to come to its end
DAY = date(2026, 1, 5)
PROGRAM = """
import onetape as ot

feed = ot.source("itch")
pipeline = ot.Pipeline(top=feed.top_of_book(), trade=feed.trades())
"""
# Small commits, so that there are many moments to die at; and a word when work begins.
CHILD = """
import sys
from onetape.connect.lake import output_table, tape_table
from onetape.runtimes.lake import run as lake_run

tape_table.COMMIT_BYTES, output_table.COMMIT_ROWS = 20_000, 2_000
from onetape.cli import main

print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_file(folder / "S010526-v50.txt", seed=5, instruments=30, seconds=4.0, episodes=1)
    (folder / "program.py").write_text(PROGRAM)
    return folder


@pytest.fixture(scope="module")
def whole(files):
    """The answer of a run that nobody kills."""
    pipeline = load_pipeline(str(files / "program.py"))
    return ot.run(pipeline, file=files / "S010526-v50.txt", quiet=True)


def lives(command, rng, most_s):
    """Run it again and again, killed after a random time, until it comes to its end."""
    kills = 0
    for _ in range(LIVES):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        try:
            child.wait(rng.uniform(0, most_s) if kills < KILLS else 120)
            assert child.returncode == 0, child.stderr.read().decode()
            return kills
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
        finally:
            child.stdout.close()
            child.stderr.close()
    raise AssertionError(f"not done after {LIVES} lives")


def test_a_killed_writer_and_a_killed_batch_come_to_the_answer(files, whole, tmp_path):
    seed = int(os.environ.get("ONETAPE_SEED", str(time.time_ns() % 1000)))
    print("seed", seed)
    rng, url, out = random.Random(seed), str(tmp_path / "lake"), str(tmp_path / "rows")
    program, file = files / "program.py", files / "S010526-v50.txt"
    write = ["lake", "write", program, "--file", file, "--to", url, "--shards", "3"]

    killed = lives([*write, "--events", "1000"], rng, 1.0)

    streams = TapeTable(url).streams()
    assert all(stream.is_complete for stream in streams.values())
    assert len(streams) == 3
    killed_too = lives(["batch", program, "--from-lake", url, "--out", out], rng, 4.0)
    print(f"killed {killed} and {killed_too} times")
    for name in whole:
        table = store.open_table(f"{out}/{name}").to_pyarrow_table()
        times = sorted(table["ts_event_ns"].to_pylist())
        assert times == sorted(whole[name].rows["ts_event_ns"].tolist()), f"seed {seed}: {name}"
        assert set(table["day"].to_pylist()) == {DAY}
    from onetape.connect.lake.runs import units_at
    from onetape.runtimes.lake.run import joined_digest

    units = [unit for _, unit in sorted(units_at(f"{out}/_runs").items())]
    assert {name: joined_digest(units, name) for name in whole} == whole.digests
