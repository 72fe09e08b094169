"""Records into topics: each once and in order, or many in a transaction, with where they come from.

Without a transactional id the producer is idempotent: what it sends again after a broken connection
is not written twice. With one, what is put between two commits is seen by readers as a whole or not
at all, an earlier producer of the same id is shut out (what it still sends is refused), and the
offsets reached in an input can be committed with the outputs.

A transaction that the brokers abort (one of them went away at the wrong moment) is put again as a
whole: its records are kept until it is through.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from onetape.codecs.block import read_header
from onetape.connect.kafka.bounded import Bounded, Stuck
from onetape.connect.kafka.errors import Heard, client, error_of, is_fenced, load, may_pass, problem
from onetape.connect.kafka.settings import Settings

PATIENCE_S = 120.0  # how long brokers may be away
LEAVE_S = 5.0  # as long once somebody wants an end
CALL_S, RETRY_S = 5.0, 0.02
STUCK_S = CALL_S + 1.0  # a call that should have come back
# After it the brokers abort what a killed producer left open; and shut out one that had to wait for
# them as long, which then looks as if another had taken over. So it is long.
TRANSACTION_MS = 60_000
# Without transactions a record that is given up while later ones come through would be a gap. So
# none is: whoever waits for them has an end.
ENDLESS = {"message_timeout_ms": 0}


class Record(NamedTuple):
    """What is to be written; partition -1: as the key says."""

    topic: str
    value: bytes | None
    partition: int = -1
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


class Reached(NamedTuple):
    """Where a reader of a partition goes on, and what is to be remembered with it."""

    topic: str
    partition: int
    offset: int
    note: str = ""


class Publisher:
    """Writes records. One thread; use as a context manager.

    transactional_id   of all producers with this one, one writes: the newest
    group              whose offsets say how far an input was read; the transactional id
    written            records that the brokers have confirmed (in transactions: put)
    next_offsets       {(topic, partition): behind the last one confirmed}, without transactions
    between            {(topic, partition): offset of somebody else's record between ours}, likewise
    leaves             once it is set, brokers that are away are waited for no longer

    Calls raise OperatorError: one line of what went wrong.
    """

    def __init__(self, settings: Settings, transactional_id: str = "", group: str = "") -> None:
        self._kafka = load()
        self.settings, self.transactional_id = settings, transactional_id
        self.group = group or transactional_id
        self.next_offsets: dict[tuple[str, int], int] = {}
        self.between: dict[tuple[str, int], int] = {}
        self.leaves, self._leave_s = threading.Event(), float("inf")
        self.heard = Heard()
        more = {
            "transactional_id": transactional_id,
            "transaction_timeout_ms": TRANSACTION_MS,
            "message_timeout_ms": TRANSACTION_MS,
        }
        self._config = settings.producer(**(more if transactional_id else ENDLESS))
        self._config |= {"error_cb": self.heard}
        self._client = client("Producer", self._config)
        self._asking: Any = None  # the consumer that tells what the own group has committed
        self._open: list[Record] | None = None  # the records of the transaction, if one is open
        self._bounded = Bounded()
        self._failure: Any = None
        self._reached: dict[tuple[str, int], Reached] = {}  # by the own group, as far as we know
        self.written = 0
        if transactional_id:
            self._begin_producing()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.close(kind is None)

    def block(self, topic: str, block: bytes) -> None:
        """A block into the partition of its shard."""
        self.put(Record(topic, block, read_header(block).shard))

    def put(self, record: Record) -> None:
        """Hand a record over; waits while too much is under way."""
        if self.transactional_id:
            if self._open is None:
                self._call(self._client.begin_transaction)
                self._open = []
            self._open.append(record)
        try:
            self._produce(record)
        except self._kafka.KafkaException as why:
            if not self.transactional_id:
                raise self._problem(why, record.topic) from None
        self._check(record.topic)

    def flush(self, within_s: float = PATIENCE_S) -> None:
        """Until all that was put is confirmed by the brokers."""
        end_s = time.monotonic() + within_s
        while self._client.flush(min(1.0, within_s)):
            self._check("")
            if self._is_over(end_s):
                raise self._problem(_timed_out(self._kafka))
        self._check("")

    def commit(self, reached: Sequence[Reached] = (), group: Any = None) -> None:
        """Make what was put since the last commit visible, and the offsets of a group with it.

        reached  places that differ from those committed before: what becomes of a commit whose
                 answer was lost is told by what the group has
        group    a member's, as `Subscriber.group` gives it; else the own one
        """
        if self._open is None and not reached:
            return
        records, end_s = self._open or [], time.monotonic() + PATIENCE_S
        is_put, has_offsets, is_lost = self._open is not None, not reached, False
        while True:
            try:
                if is_lost:
                    self._client.abort_transaction(CALL_S)
                    is_put = has_offsets = is_lost = False
                    if self._was_committed(reached, group):
                        break
                if not is_put:
                    self._client.begin_transaction()
                    self._open = records
                    for record in records:
                        self._produce(record)
                    is_put = True
                if reached and not has_offsets:
                    places = [self._kafka.TopicPartition(*one) for one in reached]
                    of = group if group is not None else self._own().consumer_group_metadata()
                    send = self._client.send_offsets_to_transaction
                    self._bounded(send, STUCK_S, places, of, CALL_S)
                    has_offsets = True
                self._client.commit_transaction(CALL_S)
                break
            except Stuck:  # nothing was committed: as if it had been aborted
                if self._is_over(end_s):
                    raise self._problem(_timed_out(self._kafka)) from None
                self._renew()
                is_put = has_offsets = is_lost = False
            except self._kafka.KafkaException as why:
                error = error_of(why)
                if is_fenced(why) or self._is_over(end_s):
                    raise self._problem(why) from None
                if error.fatal():  # as when the transaction had ended already, one way or the other
                    if group is not None or not reached:
                        raise self._problem(why) from None
                    self._leave()
                    self._renew()
                    is_put = has_offsets = is_lost = False
                    if self._was_committed(reached, group):
                        break
                elif error.txn_requires_abort() and error.name() not in _NOT_OURS:
                    is_lost = True
                elif not error.retriable():
                    raise self._problem(why) from None
                time.sleep(RETRY_S)
        self._open = None
        self._failure = None
        self._reached |= {one[:2]: one for one in reached}
        self.written += len(records)

    def note(self, reached: Sequence[Reached], *, wait: bool = True) -> None:
        """Commit offsets of the own group by themselves, without a transaction.

        wait  until the brokers have them; else they are told when they can be
        """
        places = [self._kafka.TopicPartition(*one) for one in reached]
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._own().commit(offsets=places, asynchronous=not wait)
                return
            except self._kafka.KafkaException as why:
                if not may_pass(why) or self._is_over(end_s):
                    raise self._problem(why) from None
                time.sleep(RETRY_S)

    def committed(self, topic: str, partition: int = 0) -> Reached | None:
        """What the own group has reached; None: it has committed none."""
        found = self._asked([self._kafka.TopicPartition(topic, partition)])[0]
        self._reached[topic, partition] = found
        return found if found.offset >= 0 else None

    def abort(self) -> None:
        """What was put since the last commit was never said."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.abort_transaction(CALL_S)
                break
            except self._kafka.KafkaException as why:
                if not error_of(why).retriable() or self._is_over(end_s):
                    raise self._problem(why) from None
        self._open = self._failure = None

    def close(self, is_done: bool = True) -> None:
        """Wait for what is under way. An open transaction is aborted: nobody has committed it."""
        try:
            if self._open is not None:
                self._client.abort_transaction(CALL_S)
            elif is_done:
                self.flush()
        except self._kafka.KafkaException:
            pass  # the brokers abort it, after its time
        finally:
            self._leave()
            self._bounded.close()
            if self._asking is not None:
                self._asking.close()

    def _leave(self) -> None:
        # As it was shut out; or, of the binding, as no broker has answered it at all.
        with contextlib.suppress(self._kafka.KafkaException, SystemError):
            self._client.purge()
            self._client.close()

    def _renew(self) -> None:
        """Another producer of the same name: what this one left is committed or aborted by then."""
        self._client = client("Producer", self._config)
        self._begin_producing()

    def _own(self) -> Any:
        """A client that speaks for the own group."""
        if self._asking is None:
            config = self.settings.consumer(group_id=self.group)
            self._asking = client("Consumer", config | {"error_cb": self.heard})
        return self._asking

    def _asked(self, places: list[Any]) -> list[Reached]:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = self._own().committed(places, CALL_S)
                failed = [one.error for one in found if one.error is not None]
                if failed:
                    raise self._kafka.KafkaException(failed[0])
                return [Reached(o.topic, o.partition, o.offset, o.metadata or "") for o in found]
            except self._kafka.KafkaException as why:
                if not may_pass(why) or self._is_over(end_s):
                    raise self._problem(why) from None
                time.sleep(RETRY_S)

    def _was_committed(self, reached: Sequence[Reached], group: Any) -> bool:
        """Did the commit come through whose answer did not? OperatorError: one of another did."""
        if group is not None or not reached:
            return False
        places = [self._kafka.TopicPartition(one.topic, one.partition) for one in reached]
        found = self._asked(places)
        if found == list(reached):
            return True
        if any(self._reached.get(one[:2], one) != one for one in found):
            raise self._problem(self._kafka.KafkaError(self._kafka.KafkaError._FENCED))
        return False

    def _is_over(self, end_s: float) -> bool:
        """Is what failed not to be tried again?"""
        now_s = time.monotonic()
        if self.leaves.is_set():
            self._leave_s = min(self._leave_s, now_s + LEAVE_S)
        return now_s > min(end_s, self._leave_s)

    def _begin_producing(self) -> None:
        """Shut out who had this id before; what it left open is aborted."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.init_transactions(CALL_S)
                return
            except self._kafka.KafkaException as why:
                self._client.poll(0)
                if not error_of(why).retriable() or self._is_over(end_s):
                    raise self._problem(why) from None

    def _produce(self, record: Record) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=self._delivered,
                    headers=list(record.headers) or None,
                )
                break
            except BufferError:
                self._client.poll(0.05)
                self._check(record.topic)
                if time.monotonic() > end_s and not self.transactional_id:
                    raise self._problem(_timed_out(self._kafka), record.topic) from None
        self._client.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failure = self._failure or error
        elif not self.transactional_id:
            self.written += 1
            self._confirmed((message.topic(), message.partition()), message.offset())

    def _confirmed(self, where: tuple[str, int], offset: int | None) -> None:
        """Records of one writer stand side by side, so a gap is somebody else's record."""
        expected = self.next_offsets.get(where)
        if (
            offset is None or offset < 0
        ):  # it is there; the broker that was asked again forgot where
            offset = expected
        if offset is None:
            return
        if expected is not None and offset > expected:
            self.between.setdefault(where, expected)
        self.next_offsets[where] = offset + 1

    def _check(self, topic: str) -> None:
        """In a transaction what failed is the commit's affair: it puts all of it again."""
        if self._failure is not None and not self.transactional_id:
            raise self._problem(self._failure, topic)

    def _call(self, call: Any) -> None:
        try:
            call()
        except self._kafka.KafkaException as why:
            raise self._problem(why) from None

    def _problem(self, why: Any, topic: str = "") -> Any:
        what = f"writing to topic {topic}" if topic else "writing"
        if self.transactional_id:
            what += f" in transactions of {self.transactional_id}"
        return problem(what, why, self.settings.brokers, self.heard)


# What a member of a group is told when its partitions are another's by now.
_NOT_OURS = ("ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID", "STALE_MEMBER_EPOCH")


def _timed_out(kafka: Any) -> Any:
    return kafka.KafkaError(kafka.KafkaError._TIMED_OUT)
