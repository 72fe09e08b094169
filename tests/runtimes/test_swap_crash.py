"""kill -9 around swaps: what is on the durable tape decides which version goes on."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.runtimes.swapping import ADDS, Kept, numbers, replayed, version

from onetape.compiled.frame import CONTROL, DATA
from onetape.engine.digest import digests_of, state_digest
from onetape.runtimes.edge.node import EdgeNode
from onetape.tape.reader import frames

KILLS = int(os.environ.get("ONETAPE_KILLS", "2"))
ROOT = Path(__file__).resolve().parents[2]


def killed(folder, after_s):
    """A tape whose node was killed some time after it began to run and to be swapped."""
    command = [sys.executable, "-m", "tests.runtimes.swap_child", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(after_s)
        child.kill()


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_node_goes_on_with_the_version_that_its_tape_says(tmp_path, seed):
    killed(tmp_path, random.Random(seed).uniform(0, 0.6))
    pipeline = version(tmp_path / "a", ADDS.format(times=1))
    node = EdgeNode(pipeline, tmp_path / "tape", resume=True)
    from_checkpoint = digests_of(node.plan)
    node.recover(from_checkpoint)
    swaps = [p for f, p in frames(tmp_path / "tape") if f.kind == CONTROL]
    kept = Kept(node.plan)
    node.when_swapped.append(kept.follow)
    with node:
        data = int(node.engine.run["data_frames"][0])
        for n in range(data, data + 5):
            assert node.push(numbers(n * 100, 100))
        for name, rows, origins in [*node.drain_until_idle(), *node.stop()]:
            from_checkpoint[name].update(rows, origins)
        node.tape.sync()
        state = state_digest(node.engine)
        last = node.version

    again, state_again, ran = replayed(pipeline, tmp_path / "tape")
    assert ran.swaps == len(swaps) > 0
    assert ran.name == last
    assert state_again == state
    assert again.hexes() == {n: d.hexdigest() for n, d in from_checkpoint.items()}
    blocks = [f for f, _ in frames(tmp_path / "tape") if f.kind == DATA]
    events = [row for row in again.rows["sum"] if row[1] >= 0]
    assert len(events) == 100 * len(blocks) == 100 * (data + 5)  # each event once
