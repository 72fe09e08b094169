"""Topics: made with the partitions a stream needs, and what stands at the end of each."""

import time
from collections.abc import Generator, Mapping
from typing import Any

from onetape.connect.kafka.errors import Heard, client, error_of, load, may_pass, problem
from onetape.connect.kafka.settings import RECORD_MAX_BYTES, Settings
from onetape.connect.kafka.subscriber import Subscriber, Taken
from onetape.records import OperatorError

WITHIN_S = 10.0
KEPT = {"retention.ms": "-1", "max.message.bytes": str(RECORD_MAX_BYTES)}  # of a stream of blocks


class Admin:
    """What is asked of the brokers themselves; one line where they do not answer."""

    def __init__(self, settings: Settings) -> None:
        load()
        from confluent_kafka.admin import AdminClient

        self.settings, self.heard = settings, Heard()
        self._client = AdminClient(settings.admin() | {"error_cb": self.heard})

    def partitions(self, topic: str) -> int:
        """How many the topic has; 0: there is no such topic. Asking does not make one."""
        found = self._describe(topic)
        return len(found.partitions) if found is not None else 0

    def existing(self, topic: str, *, makes: str = "onetape publish does") -> int:
        """As `partitions`; OperatorError if there is no such topic.

        makes  who makes such topics, for the message
        """
        count = self.partitions(topic)
        if not count:
            raise OperatorError(
                f"topic {topic} is not on {self.settings.brokers}; make it ({makes}), or look "
                "at its name"
            )
        return count

    def identity(self, topic: str) -> str:
        """That of this topic, not of another that has its name later."""
        found = self._describe(topic)
        return str(found.topic_id) if found is not None else ""

    def make(
        self, topic: str, partitions: int, settings: Mapping[str, str] = KEPT, *, exact: bool = True
    ) -> bool:
        """The topic is there with that many partitions; True if it was made now.

        exact  a topic of another number of partitions is refused
        """
        from confluent_kafka import KafkaException
        from confluent_kafka.cimpl import NewTopic

        has = self.partitions(topic)
        if not has:
            new = NewTopic(topic, partitions, -1, config=dict(settings))
            try:
                asked = self._client.create_topics([new], request_timeout=WITHIN_S)
                asked[topic].result(2 * WITHIN_S)
            except KafkaException as why:
                if error_of(why).name() != "TOPIC_ALREADY_EXISTS":
                    raise self._problem(f"topic {topic} cannot be made", why) from None
            self._await_leaders(topic, partitions)
            return True
        if exact and has != partitions:
            raise OperatorError(
                f"topic {topic} has {has} partitions, and the stream {partitions} shards, one in "
                f"each; give another topic, or as many shards ({has})"
            )
        return False

    def _describe(self, topic: str) -> Any:
        from confluent_kafka import KafkaException, TopicCollection

        try:
            asked = self._client.describe_topics(TopicCollection([topic]), request_timeout=WITHIN_S)
            return asked[topic].result(2 * WITHIN_S)
        except KafkaException as why:
            if error_of(why).name() == "UNKNOWN_TOPIC_OR_PART":
                return None
            raise self._problem(f"topic {topic}", why) from None

    def _await_leaders(self, topic: str, partitions: int) -> None:
        end_s = time.monotonic() + WITHIN_S
        while time.monotonic() < end_s:
            found = self._describe(topic)
            if (
                found is not None
                and len(found.partitions) == partitions
                and all(one.leader is not None and one.leader.id >= 0 for one in found.partitions)
            ):
                return
            time.sleep(0.02)
        raise OperatorError(f"topic {topic} was made, and within {WITHIN_S:g} s has no leaders")

    def _problem(self, what: str, why: Any) -> OperatorError:
        self._client.poll(0)  # what its threads have to say
        return problem(what, why, self.settings.brokers, self.heard)


def last_record(settings: Settings, topic: str, partition: int) -> Any:
    """The last committed record of a partition, as a message; None if it has none.

    Behind it are marks of transactions and what was aborted, so it is looked for further and
    further back.
    """
    kafka, heard = load(), Heard()
    consumer = client("Consumer", settings.consumer(group_id="onetape") | {"error_cb": heard})
    try:
        at = kafka.TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(at, timeout=WITHIN_S)
        back = 8
        while high > low:
            begin = max(low, high - back)
            found = _last_since(kafka, consumer, kafka.TopicPartition(topic, partition, begin))
            if found is not None or begin == low:
                return found
            back *= 16
        return None
    except kafka.KafkaException as why:
        raise problem(f"topic {topic}", why, settings.brokers, heard) from None
    finally:
        consumer.close()


def first_record(settings: Settings, topic: str, partition: int) -> Any:
    """The first committed record of a partition that is still there; None if it has none."""
    kafka, heard = load(), Heard()
    consumer = client("Consumer", settings.consumer(group_id="onetape") | {"error_cb": heard})
    try:
        at = kafka.TopicPartition(topic, partition)
        low, _ = consumer.get_watermark_offsets(at, timeout=WITHIN_S)
        begin = kafka.TopicPartition(topic, partition, low)
        return next(_records_since(kafka, consumer, begin), None)
    except kafka.KafkaException as why:
        raise problem(f"topic {topic}", why, settings.brokers, heard) from None
    finally:
        consumer.close()


def end_of(settings: Settings, topic: str) -> int:
    """The offset behind the last record of partition 0."""
    kafka, heard = load(), Heard()
    consumer = client("Consumer", settings.consumer(group_id="onetape") | {"error_cb": heard})
    try:
        at = kafka.TopicPartition(topic, 0)
        return int(consumer.get_watermark_offsets(at, timeout=WITHIN_S)[1])
    except kafka.KafkaException as why:
        raise problem(f"topic {topic}", why, settings.brokers, heard) from None
    finally:
        consumer.close()


def records_behind(
    settings: Settings, topic: str, offset: int
) -> Generator[Taken | None, None, None]:
    """The committed records of partition 0 from an offset on; None where there are no more now.

    It does not end by itself; if neither a record nor the end comes for long, it raises.
    """
    with Subscriber(settings, topic) as incoming:
        incoming.assign({0: offset})
        end_s = time.monotonic() + WITHIN_S
        while True:
            found = incoming.take(0.05)
            yield from found
            if found:
                end_s = time.monotonic() + WITHIN_S
            elif 0 in incoming.at_end:
                began_s = time.monotonic()
                yield None
                end_s += time.monotonic() - began_s  # what the caller did meanwhile
            if time.monotonic() > end_s:
                raise OperatorError(
                    f"topic {topic}: no record behind offset {incoming.next_offsets[0]} within "
                    f"{WITHIN_S:g} s, where one is expected; are its brokers well?"
                )


def _last_since(kafka: Any, consumer: Any, at: Any) -> Any:
    """The last record from there to the end of what is committed."""
    found = None
    for message in _records_since(kafka, consumer, at):
        found = message
    return found


def _records_since(kafka: Any, consumer: Any, at: Any) -> Generator[Any, None, None]:
    """The records from there to the end of what is committed."""
    consumer.assign([at])
    end_s = time.monotonic() + WITHIN_S
    while time.monotonic() < end_s:
        message = consumer.poll(0.2)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield message
        elif error.name() == "_PARTITION_EOF":
            return
        elif not may_pass(error):
            raise kafka.KafkaException(error)
    raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._TIMED_OUT))
