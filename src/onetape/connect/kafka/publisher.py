"""Records into topics: each once and in order, or many in a transaction, with where they come from.

Without a transactional id the producer is idempotent: what it sends again after a broken connection
is not written twice. With one, what is put between two commits is seen by readers as a whole or not
at all, an earlier producer of the same id is shut out (what it still sends is refused), and the
offsets reached in an input can be committed with the outputs.

A transaction that the brokers abort (one of them went away at the wrong moment) is put again as a
whole: its records are kept until it is through.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from onetape.codecs.block import read_header
from onetape.connect.kafka.errors import Heard, client, error_of, is_fenced, load, problem
from onetape.connect.kafka.settings import Settings

PATIENCE_S = 60.0  # how long brokers may be away
CALL_S, RETRY_S = 5.0, 0.02
TRANSACTION_MS = 15_000  # after it, the brokers abort what a killed producer left open


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
    written            records that the brokers have confirmed (in transactions: put)

    Calls raise OperatorError: one line of what went wrong.
    """

    def __init__(self, settings: Settings, transactional_id: str = "") -> None:
        self._kafka = load()
        self.settings, self.transactional_id = settings, transactional_id
        self.heard = Heard()
        more = {
            "transactional_id": transactional_id,
            "transaction_timeout_ms": TRANSACTION_MS,
            "message_timeout_ms": TRANSACTION_MS,
        }
        config = settings.producer(**(more if transactional_id else {}))
        self._client = client("Producer", config | {"error_cb": self.heard})
        self._open: list[Record] | None = None  # the records of the transaction, if one is open
        self._failure: Any = None
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
            if time.monotonic() > end_s:
                error = self._kafka.KafkaError(self._kafka.KafkaError._TIMED_OUT)
                raise self._problem(error)
        self._check("")

    def commit(self, reached: Sequence[Reached] = (), group: Any = None) -> None:
        """Make what was put since the last commit visible, and the offsets of the group with it.

        group  as `Subscriber.group` gives it
        """
        if self._open is None and not reached:
            return
        records, end_s = self._open or [], time.monotonic() + PATIENCE_S
        is_put, has_offsets = self._open is not None, not reached
        while True:
            try:
                if not is_put:
                    self._client.begin_transaction()
                    self._open = records
                    for record in records:
                        self._produce(record)
                    is_put = True
                if not has_offsets:
                    places = [self._kafka.TopicPartition(*one) for one in reached]
                    self._client.send_offsets_to_transaction(places, group, CALL_S)
                    has_offsets = True
                self._client.commit_transaction(CALL_S)
                break
            except self._kafka.KafkaException as why:
                error = error_of(why)
                if is_fenced(why) or error.fatal() or time.monotonic() > end_s:
                    raise self._problem(why) from None
                if error.txn_requires_abort() and error.name() not in _NOT_OURS:
                    self.abort()
                    is_put, has_offsets = False, not reached
                elif not error.retriable():
                    raise self._problem(why) from None
                time.sleep(RETRY_S)
        self._open = None
        self._failure = None
        self.written += len(records)

    def abort(self) -> None:
        """What was put since the last commit was never said."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.abort_transaction(CALL_S)
                break
            except self._kafka.KafkaException as why:
                if not error_of(why).retriable() or time.monotonic() > end_s:
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
            with contextlib.suppress(self._kafka.KafkaException):  # as it was shut out
                self._client.purge()
                self._client.close()

    def _begin_producing(self) -> None:
        """Shut out who had this id before; what it left open is aborted."""
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._client.init_transactions(CALL_S)
                return
            except self._kafka.KafkaException as why:
                self._client.poll(0)
                if not error_of(why).retriable() or time.monotonic() > end_s:
                    raise self._problem(why) from None

    def _produce(self, record: Record) -> None:
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
        self._client.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failure = self._failure or error
        elif not self.transactional_id:
            self.written += 1

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
