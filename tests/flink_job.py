"""What tests of the Flink runtime share: its environment, topics that are fed, and readers of them.

`onetape flink setup` makes the environment; ONETAPE_FLINK names another. Tests skip without it.
"""

import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from onetape.codecs.block import read_header, stamped
from onetape.records import OnetapeError
from onetape.runtimes.flink.cluster import LocalCluster
from onetape.runtimes.flink.environment import find
from onetape.runtimes.flink.jobs import Running
from onetape.runtimes.flink.recorded import manifest_of
from onetape.runtimes.flink.submit import Job


def environment(*, kafka=False):
    """Flink's; skips the test where there is none."""
    if not shutil.which("java"):
        pytest.skip("no Java: Flink needs 11 or later")
    try:
        found = find()
    except OnetapeError as why:
        pytest.skip(f"no Flink: {why}")
    if kafka and not found.connector.exists():
        pytest.skip("Flink's environment has no Kafka connector: onetape flink setup")
    return found


def topics(server, names, partitions, copies=1):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": server.address})
    wanted = [NewTopic(name, partitions, copies) for name in names]
    for made in admin.create_topics(wanted).values():
        made.result(30)


class Feeder(threading.Thread):
    """Writes blocks into a topic, the partition of each its shard: so many a second."""

    def __init__(self, server, topic, blocks, per_s=0):
        super().__init__(daemon=True)
        from confluent_kafka import Producer

        self._producer = Producer(
            {
                "bootstrap.servers": server.address,
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": 120_000,
                "log_level": 0,
            }
        )
        self.topic, self.blocks, self.per_s, self.sent = topic, blocks, per_s, 0

    def run(self):
        for block in self.blocks:
            made = stamped(block, time.time_ns())
            self._producer.produce(self.topic, made, partition=read_header(made).shard)
            self._producer.poll(0)
            self.sent += 1
            if self.per_s:
                time.sleep(1 / self.per_s)
            elif self.sent % 256 == 0:
                self._producer.flush(60)
        assert self._producer.flush(120) == 0


class Reader(threading.Thread):
    """All that a reader of a topic sees, in its order, with the time it saw each block."""

    def __init__(self, server, topic, partitions, *, committed=True):
        super().__init__(daemon=True)
        from confluent_kafka import Consumer, TopicPartition

        level = "read_committed" if committed else "read_uncommitted"
        self._consumer = Consumer(
            {
                "bootstrap.servers": server.address,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": level,
                "log_level": 0,
                "fetch.wait.max.ms": 20,
                "reconnect.backoff.max.ms": 200,
            }
        )
        self._consumer.assign([TopicPartition(topic, n, 0) for n in range(partitions)])
        self.seen = []  # (time.time_ns(), block)
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                self.seen.append((time.time_ns(), message.value()))
        self._consumer.close()

    def blocks(self):
        return [block for _, block in list(self.seen)]

    def first_made_after(self, ts_ns, at=0):
        """When it saw the first block that was made of input newer than `ts_ns`; None: not yet."""
        for seen_ns, block in self.seen[at:]:
            if read_header(block).ts_made_ns > ts_ns:
                return seen_ns
        return None

    def stop(self):
        self.over.set()
        self.join()


@contextmanager
def cluster_of(found, folder, **options):
    with LocalCluster(found, folder, **options) as cluster:
        cluster.start()
        yield cluster


def job_of(cluster, found, code, server, blocks, **options):
    """A job from topic "in" to topic "out"."""
    given = {"mode": "thread", "parallelism": 1, "checkpoint_ms": 500} | options
    return Job(
        cluster.rest.address,
        "test",
        code.text(),
        str(found.python),
        manifest=manifest_of(blocks[0]),
        kafka=server.address,
        topic="in",
        topic_out="out",
        **given,
    )


def run_until(running, condition, timeout_s):
    """Look after the job until the condition holds."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        running.look()
        assert time.monotonic() < end_s, f"not within {timeout_s} s"
        time.sleep(0.1)


def start(job, found, folder, cluster, said=None):
    said = [] if said is None else said
    return Running(job, found, folder, local=cluster, say=said.append)


def children_of(pid):
    """All processes below one."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found, ahead = [], [pid]
    while ahead:
        below = parents.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def run_until_passed(running, seconds):
    """Look after the job for so long."""
    end_s = time.monotonic() + seconds
    run_until(running, lambda: time.monotonic() > end_s, seconds + 60)
