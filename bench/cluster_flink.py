"""Kafka to Flink to Kafka: a job on a cluster of this machine, watched from its output topic."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import cluster_topics as topics
from bench.cluster_cpu import Meter
from bench.cluster_topics import Block, Came

from onetape.codecs.block import ROWS, json_of, read_header
from onetape.runtimes.answer import Answer
from onetape.runtimes.code import code_at
from onetape.runtimes.standard import market_watch

LIMIT_S = 600


@dataclass
class Flow:
    """A job that runs, from `topic` to `out`."""

    broker: Any
    cluster: Any
    running: Any
    topic: str
    out: str
    shards: int
    meter: Meter
    answer: Answer = field(default_factory=lambda: Answer(market_watch()))

    def publish(self, blocks: list[Block], per_s: float) -> threading.Thread:
        """In a thread of its own; the output has no end if that fails."""
        given = (self.broker.address, self.topic, blocks, per_s)
        thread = threading.Thread(target=topics.publish, args=given, daemon=True)
        thread.start()
        return thread

    def watch(
        self, *, committed: bool, seen: Callable[[Came], None] = lambda _: None
    ) -> Iterator[None]:
        """Reads all to the end; the job is looked after at each step."""
        looked_s = 0.0
        for came in topics.read(self.broker.address, self.out, self.shards, committed=committed):
            if came is not None:
                seen(came)
            if time.monotonic() - looked_s > 0.25:
                self.running.look()
                looked_s = time.monotonic()
                yield

    def follow_processes(self) -> None:
        """Processes that were started meanwhile are measured too."""
        for process in self.cluster.task_managers:
            self.meter.add("job", process.pid)


@contextmanager
def flow(
    broker: Any,
    blocks: list[Block],
    *,
    shards: int,
    mode: str = "thread",
    checkpoint_ms: int = 1000,
    spares: int = 0,
    is_full: bool = False,
) -> Iterator[Flow]:
    """Topics, a cluster of a TaskManager a shard, and the job.

    is_full  the blocks are in the topic before the job begins
    """
    from onetape.runtimes.flink.cluster import LocalCluster
    from onetape.runtimes.flink.environment import find
    from onetape.runtimes.flink.jobs import Running
    from onetape.runtimes.flink.submit import Job

    environment = find()
    given = topics.make(broker.address, "in", shards)
    out = topics.make(broker.address, "out", shards)
    if is_full:
        topics.publish(broker.address, given, blocks)
    with tempfile.TemporaryDirectory(prefix="onetape-bench-") as folder:
        where = Path(folder)
        with LocalCluster(environment, where, slots=shards, spares=spares) as cluster:
            cluster.start()
            job = Job(
                cluster.rest.address,
                "bench",
                code_at("standard", {}).text(),
                str(environment.python),
                mode=mode,
                parallelism=shards,
                checkpoint_ms=checkpoint_ms,
                manifest=json_of(blocks[0][1]),
                kafka=broker.address,
                topic=given,
                topic_out=out,
                producer={"max.request.size": str(topics.MAX_BYTES)},
            )
            running = Running(job, environment, where, local=cluster)
            running.wait(lambda state: state == "RUNNING", LIMIT_S)
            with Meter(broker=broker.pid(), jobmanager=cluster.job_manager.pid) as meter:
                made = Flow(broker, cluster, running, given, out, shards, meter)
                made.follow_processes()
                yield made


def throughput(broker: Any, blocks: list[Block], *, shards: int, mode: str) -> dict[str, Any]:
    """All blocks are in the topic before the first is taken; from the first row to the last.

    Processor time is of the TaskManagers (Java, Python and the pipeline), between the same moments.
    """
    with flow(broker, blocks, shards=shards, mode=mode, is_full=True) as job:
        arrived_ns: list[int] = []
        cpu_s: list[dict[str, float]] = []

        def seen(came: Came) -> None:
            if not cpu_s:
                cpu_s.append(_cpu(job.meter))
            arrived_ns.append(came.arrived_ns)

        for _ in job.watch(committed=False, seen=seen):
            pass
        cpu_s.append(_cpu(job.meter))
        for _ in job.watch(committed=True, seen=lambda came: job.answer.take(came.block)):
            pass
        sizes = list(_checkpoint_bytes(job.cluster.checkpoints))
        memory_bytes = job.meter.memory_bytes("job")
    events = job.answer.events
    elapsed_s = max((max(arrived_ns) - min(arrived_ns)) / 1e9, 1e-3)
    used_s = {name: max(cpu_s[1][name] - cpu_s[0][name], 1e-3) for name in cpu_s[0]}
    return {
        "digests": job.answer.digests,
        "events_per_s": round(events / elapsed_s),
        "events_per_core_s": round(events / used_s["job"]),
        "cpu_ns_per_event": round(used_s["job"] / events * 1e9, 1),
        "broker_cpu_ns_per_event": round(used_s["broker"] / events * 1e9, 1),
        "memory_mb": round(memory_bytes / 1e6),
        "checkpoint_mb": round(max(sizes, default=0) / 1e6, 1),
    }


def latency(broker: Any, blocks: list[Block], per_s: float) -> dict[str, Any]:
    """Blocks at a rate, each stamped when it is sent: until its rows are at the broker (to the ms),
    and until a reader that takes only what is committed has them, in ms. Without the first fifth,
    which meets a task that is cold."""
    to_row: list[float] = []
    to_commit: list[float] = []
    with flow(broker, blocks, shards=1) as job:
        publishing = job.publish(blocks, per_s)

        def seen(came: Came) -> None:
            header = read_header(came.block)
            job.answer.take(came.block)
            if header.kind == ROWS:
                to_row.append((came.arrived_ns - header.ts_made_ns) / 1e6)
                to_commit.append((came.read_ns - came.arrived_ns) / 1e6)

        for _ in job.watch(committed=True, seen=seen):
            pass
        publishing.join()
    to_row, to_commit = (values[len(values) // 5 :] for values in (to_row, to_commit))
    return {
        "digests": job.answer.digests,
        "events_per_s": per_s,
        "blocks": len(to_row),
        **{f"to_row_ms_p{q}": _quantile(to_row, q) for q in (50, 99, 99.9)},
        **{f"commit_lag_ms_p{q}": _quantile(to_commit, q) for q in (50, 99)},
    }


def _quantile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)], 1)


def _cpu(meter: Meter) -> dict[str, float]:
    return {name: meter.cpu_s(name) for name in ("job", "broker")}


def _checkpoint_bytes(folder: Path) -> Iterator[int]:
    """Of each completed checkpoint that is still there, what its folder holds."""
    for metadata in folder.glob("*/chk-*/_metadata"):
        shared = metadata.parent.parent / "shared"
        yield sum(
            path.stat().st_size
            for where in (metadata.parent, shared)
            for path in where.rglob("*")
            if path.is_file()
        )
