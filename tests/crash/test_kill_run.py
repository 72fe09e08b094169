"""kill -9 at random moments of a recording run: what is on the tape is a prefix, and replays equal.

    ONETAPE_KILLS=200 pytest tests/crash/test_kill_run.py

A child process runs the standard pipeline from a file onto a tape and is killed after a random
time. Then: the frames on the tape are the first reads of the file, in order, byte for byte; their
replay gives the digests and the identities that the same reads of the file give; and a run that is
resumed ends with the answer of a run that was never killed.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from onetape.compiled.frame import DATA, END
from onetape.connect.itch_file import open_itch
from onetape.engine.frames import frames_of
from onetape.runtimes import batch
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.file import CHUNK_BYTES, run_file
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import write_file
from onetape.tape import checkpoint
from onetape.tape.reader import frames, read_segments
from onetape.tape.tape import Tape

KILLS = int(os.environ.get("ONETAPE_KILLS", "6"))
pytestmark = pytest.mark.crash

CHILD = """
import sys
from pathlib import Path
from onetape.connect.itch_file import open_itch
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.file import CHUNK_BYTES, run_file
from onetape.runtimes.standard import market_watch

file = open_itch(sys.argv[1], chunk_bytes=CHUNK_BYTES)
print("ready", flush=True)
run_file(market_watch(), file, Path(sys.argv[2]), progress=Progress(quiet=True), speed=20,
         checkpoint_every_s=0.1)
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=5, instruments=60, seconds=12.0, episodes=3)
    return path


@pytest.fixture(scope="module")
def uninterrupted(day, tmp_path_factory):
    """The facts of a run that nobody kills; also fills the kernel cache for the children."""
    tape = tmp_path_factory.mktemp("whole") / "tape"
    file = open_itch(day, chunk_bytes=CHUNK_BYTES)
    return run_file(market_watch(), file, tape, progress=Progress(quiet=True))


def test_a_killed_run_is_a_prefix_and_resumes_to_the_same_answer(day, uninterrupted, tmp_path):
    seed = int(os.environ.get("ONETAPE_SEED", "1"))
    rng = random.Random(seed)
    reads = [bytes(payload) for _, payload in open_itch(day, chunk_bytes=CHUNK_BYTES)]
    kept = []
    for life in range(KILLS):
        tape = tmp_path / f"tape-{life}"
        after_s = rng.uniform(0.0, 1.5)
        live_for(day, tape, after_s)
        if not (tape / "manifest").exists():
            continue  # killed before the tape was there: nothing was promised
        where = f"seed {seed}, life {life}, killed after {after_s:.3f} s"
        kept.append(check_prefix(tape, reads, day, where))
        if life % 3 == 0:
            check_resume(day, tape, uninterrupted, where)
        shutil.rmtree(tape)

    assert any(0 < count < len(reads) for count in kept), "no life was killed in the middle"


def live_for(day, tape, after_s):
    """Start a child, kill it `after_s` after it began to work."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(day), str(tape)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def check_prefix(tape, reads, day, where):
    """The tape holds the first reads; replaying it equals running those reads."""
    for offset in checkpoint.offsets(tape):
        checkpoint.check(tape, offset)  # the kill may have met one being written or removed
    with Tape.open(tape):
        pass
    kinds = {frame.kind for frame, _ in frames(tape)}
    payloads = [payload for frame, payload in frames(tape) if frame.kind == DATA]
    assert payloads == reads[: len(payloads)], where
    midnight_ns = open_itch(day).midnight_ns

    def fresh():
        return batch.make_engine(market_watch(), midnight_ns=midnight_ns)

    replayed = batch.run(fresh(), read_segments(tape))
    expected = batch.run(fresh(), frames_of(((None, p) for p in payloads), end=END in kinds))
    assert replayed.digests == expected.digests, where
    assert replayed.state_digest == expected.state_digest, where
    return len(payloads)


def check_resume(day, tape, uninterrupted, where):
    file = open_itch(day, chunk_bytes=CHUNK_BYTES)
    facts = run_file(market_watch(), file, tape, progress=Progress(quiet=True), resume=True)
    assert facts["digests"] == uninterrupted["digests"], where
    assert facts["state_digest"] == uninterrupted["state_digest"], where
    assert facts["messages"] == uninterrupted["messages"], where
