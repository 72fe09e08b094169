"""Blocks into topics and out of them, with the times that figures are made of.

The topic of the outputs has the broker's own time of arrival (LogAppendTime, whole milliseconds),
so when a row came is known without a reader that has to keep up.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from onetape.codecs.block import END, read_header, stamped
from onetape.connect.kafka.settings import Settings

Block = tuple[int, bytes]
MAX_BYTES = 8 << 20
LIMIT_S = 600.0


class Came(NamedTuple):
    """A block of an output topic."""

    block: bytes
    arrived_ns: int  # at the broker, to the ms
    read_ns: int  # here


def make(address: str, name: str, partitions: int, **config: Any) -> str:
    """A new topic of that name and a number; returns the whole name."""
    from confluent_kafka.admin import AdminClient, NewTopic

    whole = f"{name}-{time.time_ns()}"
    known = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MAX_BYTES)}
    topic = NewTopic(whole, partitions, config=known | config)
    admin = AdminClient({"bootstrap.servers": address})  # it has to live until the topic does
    (made,) = admin.create_topics([topic]).values()
    made.result(60)
    return whole


def publish(address: str, topic: str, blocks: Iterable[Block], per_s: float | None = None) -> None:
    """Each block into the partition of its shard; at so many events a second, and stamped then."""
    from confluent_kafka import Producer

    producer = Producer(Settings(address).producer(message_timeout_ms=int(LIMIT_S * 1000)))
    began_s, events = time.perf_counter(), 0
    for shard, block in blocks:
        if per_s is not None:
            while (early_s := began_s + events / per_s - time.perf_counter()) > 0:
                producer.poll(0)
                time.sleep(min(early_s, 0.001))
            events += read_header(block).count
            block = stamped(block, time.time_ns())
        while True:
            try:
                producer.produce(topic, block, partition=shard)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    assert producer.flush(LIMIT_S) == 0, "the broker does not take the blocks"


def read(address: str, topic: str, shards: int, *, committed: bool = True) -> Iterator[Came | None]:
    """What comes, from the beginning to the END of each shard; None where nothing came for long.

    Whoever reads may look after other things at each None (ten a second).
    """
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, shard, 0) for shard in range(shards)])
        ended, end_s = 0, time.monotonic() + LIMIT_S
        while ended < shards:
            messages = consumer.consume(500, 0.1)
            now_ns = time.time_ns()
            for message in messages:
                if message.error() is None:
                    block = message.value()
                    ended += read_header(block).kind == END
                    yield Came(block, message.timestamp()[1] * 1_000_000, now_ns)
            if not messages:
                yield None
            assert time.monotonic() < end_s, f"{topic}: no end within {LIMIT_S:.0f} s"
    finally:
        consumer.close()
