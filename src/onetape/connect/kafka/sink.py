"""Rows of any run into a topic: `stream >> ot.kafka("HOST:PORT/TOPIC")`.

Rows leave through an outbox, some hundred a transaction, and the transaction commits beside them
how many rows there are in all: as the offset of the group `onetape.TOPIC`. So what a crash left in
doubt is looked up, and readers of what is committed see each row once.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError

ROWS_AT_ONCE = 1000
ENCODINGS = ("json", "avro", "protobuf")


@dataclass(frozen=True)
class KafkaSink(OpenableSink):
    """Rows into a Kafka topic, one a record, exactly once for readers of what is committed.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.kafka("127.0.0.1:9092/trades"))
    ```

    encoding  "json", "avro" or "protobuf"
    registry  address of a schema registry, where the record's schema is registered: its id then
              stands before each record

    A topic of one output. The key is the instrument's number as text. Who we are to the brokers is
    said in the environment (docs/KAFKA.md). Needs `pip install 'onetape[kafka]'`.
    """

    address: str
    encoding: str = "json"
    registry: str = ""
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        from onetape.connect.kafka.settings import settings

        brokers, slash, topic = self.address.partition("/")
        if not (slash and topic) or "/" in topic:
            raise DeclarationError(f"kafka was given {self.address!r}; expected 'HOST:PORT/TOPIC'")
        if self.encoding not in ENCODINGS:
            expected = ", ".join(ENCODINGS)
            raise DeclarationError(f"encoding was {self.encoding!r}; expected one of {expected}")
        try:
            settings(brokers, environment={})
        except OperatorError as why:
            raise DeclarationError(str(why)) from None

    def open(self, output: Output) -> Taker:
        from onetape.connect.kafka.errors import load
        from onetape.connect.sinks.rows_outbox import RowsOutbox

        load()
        writer = _Writer(self, output)
        named = f"kafka {self.address}"
        return RowsOutbox(output, writer.deliver, named, rows_at_once=ROWS_AT_ONCE)


class _Writer:
    def __init__(self, sink: KafkaSink, output: Output) -> None:
        self._sink, self._of = sink, output.of
        self._brokers, _, self._topic = sink.address.partition("/")
        self._publisher: Any = None
        self._encode: Any = None
        self._there = 0  # rows that the topic has

    def deliver(self, batch: Any) -> list[str]:
        """One transaction. Raises where it was not committed, or is not known to be."""
        from onetape.connect.kafka.publisher import Reached

        if self._publisher is None:
            self._connect()
        if batch.first > self._there:
            raise OperatorError(
                f"topic {self._topic} has {self._there:,} rows, and the next is number "
                f"{batch.first:,}: it was made anew; give another topic"
            )
        rows = np.ascontiguousarray(batch.rows[self._there - batch.first :])
        if not len(rows):
            return []
        try:
            for record in self._records(rows):
                self._publisher.put(record)
            there = batch.first + len(batch)
            self._publisher.commit([Reached(self._topic, 0, there)])
        except BaseException:
            publisher, self._publisher = self._publisher, None  # what is there is asked for again
            publisher.close(False)
            raise
        self._there = there
        return []

    def _connect(self) -> None:
        from onetape.connect.kafka.publisher import Publisher
        from onetape.connect.kafka.settings import settings
        from onetape.connect.kafka.topics import Admin, last_record

        to, name = settings(self._brokers), f"onetape.{self._topic}"
        Admin(to).make(self._topic, 1, {}, exact=False)
        publisher = Publisher(to, name)
        try:
            found = publisher.committed(self._topic)
            if found is None and last_record(to, self._topic, 0) is not None:
                raise OperatorError(
                    f"topic {self._topic} holds records of somebody else; give another"
                )
            self._encode = self._encoder()
        except BaseException:
            publisher.close(False)
            raise
        self._there = found.offset if found is not None else 0
        self._publisher = publisher

    def _encoder(self) -> Any:
        from onetape.codecs.event import encoder
        from onetape.connect.registry import Registry
        from onetape.records.schemas import avro_schema, json_schema, protobuf_text

        schema_id = None
        if self._sink.registry:
            kinds: dict[str, tuple[str, Any]] = {
                "avro": ("AVRO", avro_schema),
                "json": ("JSON", json_schema),
                "protobuf": ("PROTOBUF", protobuf_text),
            }
            kind, schema_of = kinds[self._sink.encoding]
            registry = Registry(self._sink.registry)
            schema_id = registry.register(f"{self._topic}-value", schema_of(self._of), kind)
        return encoder(self._of, self._sink.encoding, schema_id=schema_id)

    def _records(self, rows: Any) -> Any:
        from onetape.connect.kafka.events import keyed

        return keyed(self._topic, rows, self._encode(rows))
