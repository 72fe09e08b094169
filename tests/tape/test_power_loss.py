"""Power loss, kill -9 and failing syncs, at any call, again and again, on a simulated disk.

ONETAPE_POWER_SEEDS says how many seeds (200; the slow variant takes 10 000 or that number). A
failing seed is in the name of the test: run it alone with -k.
"""

import os
import random

import pytest

from onetape.compiled import mode
from onetape.compiled.frame import DATA
from onetape.native import files
from onetape.records.errors import OperatorError
from onetape.sim.disk import PowerCut, SimDisk
from onetape.tape.reader import frames
from onetape.tape.tape import Tape

SEEDS = int(os.environ.get("ONETAPE_POWER_SEEDS", "200"))
SEEDS_SLOW = int(os.environ.get("ONETAPE_POWER_SEEDS", "10000"))
OPTIONS = {"ring_bytes": 1024, "segments_ahead": 1, "threads": False}
GROUP = 10


def open_or_create(disk):
    if "tape" in disk.root.seen:
        return Tape.open("/tape", **OPTIONS)
    return Tape.create("/tape", {"n": 1}, segment_bytes=2048, **OPTIONS)


class Life:
    """From switching the machine on until the power goes. `said` are the payloads of all lives."""

    def __init__(self, disk, rng, said):
        self.disk, self.rng, self.said = disk, rng, said
        self.promised = len(said)  # frames of `said` that were acknowledged as durable

    def run(self):
        tape = open_or_create(self.disk)
        offsets = []
        for _ in range(self.rng.randint(0, 40)):
            payload = self.rng.randbytes(self.rng.choice((0, 1, 7, 8, 60, 200, 400)))
            self.said.append(payload)
            offsets.append(tape.append(1, DATA, payload, ts_recv_ns=self.rng.randrange(1 << 40)))
            if self.rng.random() < 0.4:
                tape.turn()
            undurable = sum(1 for offset in offsets if offset >= tape.durable_offset)
            self.promised = len(self.said) - undurable
        tape.close()  # not by `with`: nothing is closed when the power goes
        self.promised = len(self.said)


def recover(disk, rng):
    """Open the tape; maybe the power goes again while it recovers, and again."""
    disk.fail_sync_at = None
    while True:
        disk.power_calls = rng.randrange(1, 40) if rng.random() < 0.5 else None
        try:
            open_or_create(disk).close()
        except PowerCut:
            disk.crash()
        else:
            disk.power_calls = None
            return


def run_lives(seed):
    rng, disk, said = random.Random(seed), SimDisk(seed), []
    with mode.running("interpreted"), files.using(disk):
        for _ in range(rng.randint(1, 4)):
            life = Life(disk, rng, said)
            disk.power_calls = rng.randrange(1, 160)
            disk.fail_sync_at = disk.syncs + rng.randrange(1, 60) if rng.random() < 0.2 else None
            try:
                life.run()
            except (PowerCut, OperatorError, OSError) as why:
                assert isinstance(why, PowerCut) or "nput/output error" in str(why)
            if rng.random() < 0.7:
                disk.crash()
            else:
                disk.kill()
            recover(disk, rng)
            if rng.random() < 0.5:
                disk.crash()  # what recovery kept is as durable as it said
                recover(disk, rng)
            found = [payload for header, payload in frames("/tape") if header.kind == DATA]

            assert found == said[: len(found)], "a frame was invented, lost or moved"
            assert len(found) >= life.promised, "a durable frame was lost"
            said[:] = found  # what was recovered once is durable from now on


def run_seeds(seeds):
    for seed in seeds:
        try:
            run_lives(seed)
        except BaseException as why:
            why.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("first", range(0, SEEDS, GROUP))
def test_no_durable_frame_is_lost_and_none_invented(first):
    run_seeds(range(first, min(first + GROUP, SEEDS)))


@pytest.mark.slow
def test_no_durable_frame_is_lost_with_many_seeds():
    run_seeds(range(SEEDS_SLOW))
