"""kill -9: at random moments, and at every single fdatasync. Nothing acknowledged is lost.

ONETAPE_KILLS says how many lives (20). The kernel's memory survives a killed process, so this
proves the order of our own steps, not that of the disk: that is what test_power_loss is for.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.tape.recording_child import SMALL, data_frames, payload_of

from onetape.tape.reader import frames

CHILD = Path(__file__).with_name("recording_child.py")
KILLS = int(os.environ.get("ONETAPE_KILLS", "20"))
START_ENV = {"ONETAPE_MODE": "interpreted"}  # starts in a tenth of the time

pytestmark = pytest.mark.crash


def child(folder, count, before=(), env=START_ENV):
    return subprocess.Popen(
        [*before, sys.executable, str(CHILD), str(folder), str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | env,
    )


def acknowledged(output):
    """The last whole line `durable N` that came out."""
    lines = output.decode().splitlines(keepends=True)
    said = [int(line.split()[1]) for line in lines if line.startswith("durable") and "\n" in line]
    return max(said, default=0)


def check(folder, promised):
    """Recover in this process; every promised frame is there and none that was not sent."""
    from onetape.tape.tape import Tape

    if not folder.is_dir():
        assert promised == 0
        return 0
    Tape.open(folder, **SMALL).close()
    found = data_frames(str(folder))
    assert found == [payload_of(n) for n in range(len(found))]
    assert len(found) >= promised, f"{promised} frames were promised, {len(found)} are there"
    assert [h.offset for h, _ in frames(folder)] == list(range(len(list(frames(folder)))))
    return len(found)


def live_and_die(folder, rng, env=START_ENV):
    process = child(folder, 100_000, env=env)
    if rng.random() < 0.9:  # else: while it starts, or recovers
        process.stdout.readline()
    time.sleep(rng.uniform(0, 0.06))
    process.kill()
    output, errors = process.communicate()
    assert process.returncode == -9, errors.decode()
    return acknowledged(output)


def test_killed_at_random_moments(tmp_path):
    rng = random.Random(os.environ.get("ONETAPE_KILL_SEED", "1"))
    folder, kept, lives_that_recorded = tmp_path / "tape", 0, 0
    for _ in range(KILLS):
        promised = live_and_die(folder, rng)
        lives_that_recorded += promised > 0

        kept = check(folder, max(promised, kept))  # what was recovered once is promised too

        if kept > 3000:  # a longer tape only makes the next life start later
            shutil.rmtree(folder)
            kept = 0
    assert lives_that_recorded > KILLS // 2


def test_the_compiled_writer_killed_at_random_moments(tmp_path):
    rng = random.Random(2)
    kept = 0
    for _ in range(max(KILLS // 10, 2)):
        promised = live_and_die(tmp_path / "tape", rng, env={"ONETAPE_MODE": "compiled"})
        kept = check(tmp_path / "tape", max(promised, kept))


@pytest.fixture(scope="module")
def strace(tmp_path_factory):
    """strace, if it is there and may trace."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(
        [program, "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")
    return program


def inject(strace, what):
    calls = what.partition(":")[0]
    return [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={what}"]


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64", "fsync"])
def test_killed_at_every_call(tmp_path, strace, call):
    """k = 1, 2, ... until a run completes; strace counts the calls of each thread on its own."""
    for k in range(1, 200):
        folder = tmp_path / f"tape{k}"
        process = child(folder, 12, before=inject(strace, f"{call}:signal=KILL:when={k}"))
        output, errors = process.communicate(timeout=60)

        check(folder, acknowledged(output))

        if output.endswith(b"done\n"):
            break
        assert process.returncode != 0, errors.decode()
    assert output.endswith(b"done\n")
    assert k > 5


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_a_failing_sync_stops_the_writer_for_good(tmp_path, strace, mode):
    before = inject(strace, "fdatasync:error=EIO:when=3")
    process = child(tmp_path / "tape", 100, before=before, env={"ONETAPE_MODE": mode})
    output, errors = process.communicate(timeout=60)

    assert b"done" not in output
    assert b"fdatasync of a segment failed: Input/output error" in errors
    assert b"does not retry" in errors
    check(tmp_path / "tape", acknowledged(output))


def test_a_slow_disk_only_takes_longer(tmp_path, strace):
    before = inject(strace, "fdatasync:delay_enter=20000")
    output, errors = child(tmp_path / "tape", 12, before=before).communicate(timeout=60)

    assert output.endswith(b"done\n"), errors.decode()
    assert check(tmp_path / "tape", 12) == 12
