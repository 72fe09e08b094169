"""kill -9, again and again, of a TaskManager, a Python worker, one of three brokers.

Blocks come at a rate. After a kill: until rows of input that came after it are at the brokers
(`to_row`), and until a reader of what is committed has them (`to_commit`). At the end nothing may
be lost or doubled, and the digests are those of the plain run.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import cluster_here as here
from bench.cluster_flink import Flow, flow
from bench.cluster_topics import Came

from onetape.codecs.block import ROWS, read_header
from onetape.records import OperatorError

BLOCK = 1024
BETWEEN_S = 10.0  # kills, so that each is recovered from before the next
CHECKPOINT_MS = 1000


def lacks() -> str:
    """What is missing for a job on Kafka and Flink, as a sentence; else ""."""
    from tests import servers

    from onetape.runtimes.flink.environment import find

    try:
        find()
    except OperatorError as why:
        return str(why)
    return servers.missing("kafka")


def run(day: Path, kills: int, seed: int = 7) -> dict[str, Any]:
    """{kind: seconds}; the day lasts as long as the kills take."""
    digests = here.direct(day, 1)[1]
    found, answer_ok = {}, True
    for kind, (mode, kill) in KINDS.items():
        told = _killed(day, kills, mode, kill, random.Random(seed))
        answer_ok &= told.pop("digests") == digests
        found[kind] = told
    return {"answer_ok": answer_ok, "kills": found}


def _killed(
    day: Path, kills: int, mode: str, kill: Callable[[Flow, random.Random], None], draw: Any
) -> dict[str, Any]:
    from tests import servers

    blocks = here.made(day, BLOCK)
    events = sum(read_header(block).count for _, block in blocks)
    broker = servers.start("kafka", brokers=3)
    killed_ns: list[int] = []
    came: list[tuple[int, int, int]] = []  # made, arrived, read

    def seen(one: Came) -> None:
        job.answer.take(one.block)
        header = read_header(one.block)
        if header.kind == ROWS:
            came.append((header.ts_made_ns, one.arrived_ns, one.read_ns))

    try:
        with flow(
            broker, blocks, shards=1, mode=mode, checkpoint_ms=CHECKPOINT_MS, spares=1
        ) as job:
            job.publish(blocks, events / (BETWEEN_S * (kills + 1)))
            due_s = time.monotonic() + BETWEEN_S
            for _ in job.watch(committed=True, seen=seen):
                if len(killed_ns) < kills and time.monotonic() >= due_s:
                    killed_ns.append(time.time_ns())
                    kill(job, draw)
                    due_s += BETWEEN_S
            digests = job.answer.digests
    finally:
        broker.stop()
    to_row, to_commit = [], []
    for at_ns in killed_ns:
        after = [one for one in came if one[0] > at_ns]
        if after:
            to_row.append((min(arrived for _, arrived, _ in after) - at_ns) / 1e9)
            to_commit.append((min(read for *_, read in after) - at_ns) / 1e9)
    return {"digests": digests, "kills": len(killed_ns)} | {
        f"{name}_s_{word}": round(of(values), 2)
        for name, values in (("to_row", to_row), ("to_commit", to_commit))
        for word, of in (("median", _median), ("worst", max))
        if values
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


WORKERS, WORKER_S = (b"beam_boot", b"beam_sdk_worker"), 60.0  # PyFlink's, and how long to start


def _task_manager(job: Flow, draw: random.Random) -> None:
    """One that has a slot in use, or the spare: as it comes."""
    os.kill(draw.choice(job.cluster.task_managers).pid, signal.SIGKILL)


def _python_worker(job: Flow, draw: random.Random) -> None:
    """The process in which the pipeline runs."""
    end_s = time.monotonic() + WORKER_S
    workers: list[int] = []
    while not workers:  # a task that begins again has none for a while
        assert time.monotonic() < end_s, "there is no Python worker"
        time.sleep(0.05)
        of = {process.pid for process in job.cluster.task_managers}
        workers = [pid for pid in _under(of) if any(name in _words(pid) for name in WORKERS)]
    os.kill(draw.choice(workers), signal.SIGKILL)


def _broker(job: Flow, draw: random.Random) -> None:
    """One of three; the one that was killed before is started again."""
    for member in job.broker.members:
        if member not in job.broker._processes:
            job.broker.begin(member)
    job.broker.kill(draw.choice(list(job.broker._processes)))


def _under(roots: set[int]) -> list[int]:
    """All processes below these."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found: list[int] = []
    for pid, parent in parents.items():
        above = parent
        while above in parents and above not in roots:
            above = parents[above]
        if above in roots:
            found.append(pid)
    return found


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


KINDS: dict[str, tuple[str, Callable[[Flow, random.Random], None]]] = {
    "taskmanager": ("thread", _task_manager),
    "python worker": ("process", _python_worker),
    "broker": ("thread", _broker),
}
