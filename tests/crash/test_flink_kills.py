"""Processes of a running job are killed, one after another: nothing is lost, nothing comes twice.

`ONETAPE_KILLS=20` kills each kind so often (default: once); ONETAPE_SEED chooses when. What readers
of the topic waited for is printed, a line of JSON a kill, and kept in ONETAPE_KILLS_OUT if it is
set: from the kill to the first row of input that was sent after it, as a reader of everything sees
it (`row_s`) and as a reader of what is committed does (`committed_s`).
"""

import json
import os
import random
import signal
import time

import pytest
from tests import flink_job, servers

from onetape.codecs.block import END, read_header
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.code import Code
from onetape.runtimes.inputs import inputs_of
from onetape.sim.exchange import write_file

pytestmark = [pytest.mark.slow, pytest.mark.crash]
KILLS = int(os.environ.get("ONETAPE_KILLS", "1"))
SEED = int(os.environ.get("ONETAPE_SEED", "1"))
STANDARD = Code("standard")
BLOCKS_PER_S = 8
WITHIN_S = 90


class Killed:
    """A job between two topics, under a steady load, whose processes are killed."""

    def __init__(self, folder, path, *, mode, brokers):
        self.found = flink_job.environment(kafka=True)
        self.server = servers.start("kafka", brokers=brokers)
        self.pipeline, self.path = STANDARD.pipeline(), path
        self.blocks = [
            b for _, b in blocks_of(self.pipeline, inputs_of(self.pipeline, path), events=64)
        ]
        flink_job.topics(self.server, ["in", "out"], 1, copies=brokers)
        self.committed = flink_job.Reader(self.server, "out", 1)
        self.all = flink_job.Reader(self.server, "out", 1, committed=False)
        self.cluster = flink_job.LocalCluster(self.found, folder, slots=1, spares=1)
        self.cluster.start()
        job = flink_job.job_of(
            self.cluster, self.found, STANDARD, self.server, self.blocks, mode=mode
        )
        self.said = []
        self.running = flink_job.start(job, self.found, folder, self.cluster, self.said)
        self.feeder = flink_job.Feeder(self.server, "in", self.blocks, BLOCKS_PER_S)
        self.feeder.start()
        flink_job.run_until(self.running, lambda: len(self.committed.seen) > 5, WITHIN_S)

    def kill(self, kind, rng):
        """Kill one, and wait for what readers wait for; the times, in seconds."""
        victim = self.victim(kind, rng)
        at = [len(self.committed.seen), len(self.all.seen)]
        assert self.feeder.is_alive(), "the input is at its end: give it more, or kill less"
        ts_ns = time.time_ns()
        victim()

        def seen():
            """Either reader may be the one that has to look for another broker."""
            found = [
                reader.first_made_after(ts_ns, n)
                for reader, n in zip((self.all, self.committed), reversed(at))
            ]
            return None if None in found else found

        flink_job.run_until(self.running, lambda: seen() is not None, WITHIN_S)
        row_s, committed_s = ((one - ts_ns) / 1e9 for one in seen())
        told = {"kind": kind, "row_s": round(row_s, 3), "committed_s": round(committed_s, 3)}
        print(json.dumps(told))
        if out := os.environ.get("ONETAPE_KILLS_OUT"):
            with open(out, "a") as file:
                file.write(json.dumps(told) + "\n")
        return told

    def victim(self, kind, rng):
        if kind == "broker":
            member = rng.randrange(len(self.server.members))

            def broker():
                self.server.kill(member)
                self.server.begin(member)

            return broker
        if kind == "jobmanager":
            pid = self.cluster.job_manager.pid
        elif kind == "taskmanager":
            pid = self.busy().pid
        else:
            pid = self.python_worker()
        return lambda: os.kill(pid, signal.SIGKILL)

    def busy(self):
        """The TaskManager that has the job's tasks, by Flink's own word."""
        told = self.cluster.rest.get("/taskmanagers")["taskmanagers"]
        busy = {one["id"] for one in told if one["freeSlots"] == 0}
        for process in self.cluster.task_managers:
            if any(f"taskmanager.resource-id={name}" in process.args for name in busy):
                return process
        raise AssertionError(f"no TaskManager is busy: {told}")

    def python_worker(self):
        for pid in flink_job.children_of(self.busy().pid):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"beam_boot" in (said := file.read()) or b"beam_sdk_worker" in said:
                    return pid
        raise AssertionError("there is no Python worker")

    def check(self):
        """To the end of the input: the answer is that of a run in which nothing happened."""
        self.feeder.per_s = 0
        flink_job.run_until(self.running, self.is_over, 300)
        answer = Answer(self.pipeline)
        for block in self.committed.blocks():
            answer.take(block)
        assert answer.is_complete
        inputs = inputs_of(self.pipeline, self.path)
        engine = batch.make_engine(self.pipeline, inputs.framing, inputs.midnight_ns)
        plain = batch.run(engine, inputs.runs())
        assert answer.digests == plain.digests
        assert answer.state_digests == {0: plain.state_digest}

    def is_over(self):
        return any(read_header(block).kind == END for block in self.committed.blocks()[-3:])

    def stop(self):
        self.feeder.blocks = []
        self.committed.stop()
        self.all.stop()
        self.cluster.stop()
        self.server.stop()


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Long enough to be sent for as long as the kills take."""
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=5, seconds=60.0 + 25 * KILLS, instruments=12, episodes=1)
    return path


@pytest.mark.parametrize(
    ("kind", "mode", "brokers"),
    [
        ("taskmanager", "thread", 1),
        ("jobmanager", "thread", 1),
        ("worker", "process", 1),
        ("broker", "thread", 3),
    ],
)
def test_kills_lose_nothing_and_double_nothing(day, tmp_path, kind, mode, brokers):
    rng = random.Random(f"{kind} {SEED}")
    killed = Killed(tmp_path / "flink", day, mode=mode, brokers=brokers)
    try:
        for _ in range(KILLS):
            flink_job.run_until_passed(killed.running, rng.uniform(1, 4))
            killed.kill(kind, rng)
        killed.check()
    finally:
        killed.stop()
        print("\n".join(killed.said))
