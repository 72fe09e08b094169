"""Records out of a topic: those that are committed, of each partition in order, with their offset.

Where a reader has got to is not kept by the client: it is what the reader did with the records that
counts. A node keeps it on its tape; a member of a group commits it with what it made of them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from onetape.connect.kafka.errors import Heard, client, load, may_pass, problem
from onetape.connect.kafka.publisher import PATIENCE_S, RETRY_S, Reached
from onetape.connect.kafka.settings import Settings
from onetape.records import OperatorError

ASK_S = 10.0
PROBE_S = 5.0
AT_ONCE = 512  # records of one call at most


class Taken(NamedTuple):
    """A record of the topic. ts_ms: when it was written, ms since the epoch."""

    partition: int
    offset: int
    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]] | None
    ts_ms: int


class Subscriber:
    """Reads one topic: `assign` fixed partitions, or `subscribe` as a member of a group.

    next_offsets   {partition: of the record that is taken next}, of what it has now
    at_end         partitions all of which has been taken, as far as it is committed
    read_committed False: also what is in open and in aborted transactions

    Calls raise OperatorError: one line of what went wrong.
    """

    def __init__(
        self, settings: Settings, topic: str, *, group: str = "", read_committed: bool = True
    ) -> None:
        self._kafka = load()
        self.settings, self.topic, self.heard = settings, topic, Heard()
        level = "read_committed" if read_committed else "read_uncommitted"
        config = settings.consumer(group_id=group or "onetape", isolation_level=level)
        self._client = client("Consumer", config | {"error_cb": self.heard})
        self.next_offsets: dict[int, int] = {}
        self.at_end = set[int]()
        self._away_since_s: float | None = None
        self._when_lost: Callable[[bool], None] | None = None
        self._fault: OperatorError | None = None

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def group(self) -> Any:
        """This member of its group, for `Publisher.commit`."""
        return self._client.consumer_group_metadata()

    def assign(self, starts: Mapping[int, int | None]) -> None:
        """Read these partitions from these offsets on; None: from the oldest record there is."""
        kafka = self._kafka
        places = [
            kafka.TopicPartition(self.topic, n, kafka.OFFSET_BEGINNING if at is None else at)
            for n, at in starts.items()
        ]
        self.next_offsets = {n: at for n, at in starts.items() if at is not None}
        self.at_end.clear()
        self._client.assign(places)

    def subscribe(self, when_lost: Callable[[bool], None]) -> None:
        """Read a share of the partitions, from where the group has committed.

        when_lost  called, inside `take`, before partitions go to other members: with True while
                   they are still ours, and what was made of their records can be committed; with
                   False when they are another's already, and it must be thrown away
        """
        self._when_lost = when_lost
        self._client.subscribe(
            [self.topic],
            on_assign=self._assigned,
            on_revoke=lambda *_: self._lost(True),
            on_lost=lambda *_: self._lost(False),
        )

    def committed(self, partition: int) -> Reached | None:
        """Where the group has got to, and the note that was left with it; None: it has nothing."""
        found = self._ask([self._kafka.TopicPartition(self.topic, partition)])[0]
        if found.offset < 0:
            return None
        return Reached(self.topic, partition, found.offset, found.metadata or "")

    def take(self, timeout_s: float = 0.1, at_most: int = AT_ONCE) -> list[Taken]:
        """The next records, as soon as there is one; empty when there was none for that long.

        A member of a group is given one at a time: before the next one its partition may go.
        """
        message = self._client.poll(timeout_s)
        self._raise()
        if message is None:
            self._check_away()
            return []
        messages = [message]
        if at_most > 1 and self._when_lost is None:
            messages += self._client.consume(at_most - 1, 0)
        return [taken for one in messages if (taken := self._taken(one)) is not None]

    def reached(self) -> list[Reached]:
        """Behind all records that were taken, for `Publisher.commit`."""
        return [Reached(self.topic, n, at) for n, at in sorted(self.next_offsets.items())]

    def close(self) -> None:
        """Leave the group, if it is of one."""
        self._client.close()

    def _taken(self, message: Any) -> Taken | None:
        error, partition = message.error(), message.partition()
        if error is not None:
            self._judge(error, partition)
            return None
        self._away_since_s = None
        self.heard.clear()
        self.at_end.discard(partition)
        offset = message.offset()
        self.next_offsets[partition] = offset + 1
        value, key, headers = message.value(), message.key(), message.headers()
        return Taken(partition, offset, value or b"", key, headers, message.timestamp()[1])

    def _judge(self, error: Any, partition: int) -> None:
        name = error.name()
        if name == "_PARTITION_EOF":
            self.at_end.add(partition)
            self._away_since_s = None
        elif name in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            asked = self.next_offsets.get(partition, "the beginning")
            raise OperatorError(
                f"topic {self.topic}, partition {partition}: offset {asked} is not there any more "
                "(retention removed it, or the topic was made anew); keep it longer "
                "(retention.ms), or begin on a new tape"
            )
        elif not may_pass(error):
            raise self._problem(error)

    def _check_away(self) -> None:
        """Brokers may go and come back; not for ever."""
        cause, _ = self.heard.cause()
        timed_out = self._kafka.KafkaError(self._kafka.KafkaError._TIMED_OUT)
        if cause in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_SSL"):
            raise self._problem(timed_out)
        if not cause:
            return
        now_s = time.monotonic()
        self._away_since_s = self._away_since_s or now_s
        away_s = now_s - self._away_since_s
        if away_s > PROBE_S:
            try:
                self._client.list_topics(self.topic, timeout=2.0)
            except self._kafka.KafkaException:
                if away_s > PATIENCE_S:
                    raise self._problem(timed_out) from None
            else:  # they are there: it is the topic that is silent
                self._away_since_s = None
                self.heard.clear()

    def _assigned(self, client: Any, places: Sequence[Any]) -> None:
        kafka = self._kafka
        try:
            found = self._ask(list(places)) if places else []
        except OperatorError as why:  # raised in a callback it would be lost
            self._fault, found = why, []
        self.next_offsets = {one.partition: one.offset for one in found if one.offset >= 0}
        self.at_end.clear()
        client.assign(
            [
                kafka.TopicPartition(
                    one.topic,
                    one.partition,
                    one.offset if one.offset >= 0 else kafka.OFFSET_BEGINNING,
                )
                for one in found
            ]
        )

    def _lost(self, is_ours: bool) -> None:
        try:
            if self._when_lost is not None:
                self._when_lost(is_ours)
        except OperatorError as why:
            self._fault = why
        self.next_offsets = {}
        self.at_end.clear()

    def _ask(self, places: list[Any]) -> list[Any]:
        """What the group has committed. What a transaction has still open is waited for."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = list(self._client.committed(places, ASK_S))
                failed = [one.error for one in found if one.error is not None]
                if not failed:
                    return found
                if not may_pass(failed[0]) or time.monotonic() > end_s:
                    raise self._problem(failed[0])
                time.sleep(RETRY_S)
            except self._kafka.KafkaException as why:
                if not may_pass(why) or time.monotonic() > end_s:
                    raise self._problem(why) from None

    def _raise(self) -> None:
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def _problem(self, why: Any) -> OperatorError:
        return problem(f"reading topic {self.topic}", why, self.settings.brokers, self.heard)
