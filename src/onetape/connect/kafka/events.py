"""Topics with one event a record, as others write and read them.

In: each record's bytes become a row of a pipeline's record; rows are gathered into blocks by count
and by time. What cannot be read goes to a dead-letter topic, with the reason. Out: each row becomes
one record, its key the instrument, so that readers of a partition see an instrument in order.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from onetape.connect.kafka.publisher import Record
from onetape.connect.kafka.subscriber import Subscriber, Taken

EVENTS = 4096
WAIT_S = 0.005


class Decode(Protocol):
    """As `onetape.codecs.event.decoder` makes it."""

    def rows(self, messages: Sequence[bytes]) -> tuple[Any, Mapping[int, str]]:
        """The good ones as a block of rows, and {index: why} of the others."""


Encode = Callable[[Any], list[bytes]]  # a block of rows -> a message each


class Gathered(NamedTuple):
    """Rows of records that stand next to each other in a partition.

    first, next   offsets: of the first record, and behind the last
    """

    partition: int
    rows: Any
    first: int
    next: int


class Gatherer:
    """`gather()` again and again; each partition's rows in order, whole.

    events   that make a block, or as many as there are `wait_s` after the first
    refuse   is told of what cannot be read, and why, before the rows around it are handed over
    """

    def __init__(
        self,
        incoming: Subscriber,
        decode: Decode,
        *,
        refuse: Callable[[Taken, str], None],
        events: int = EVENTS,
        wait_s: float = WAIT_S,
    ) -> None:
        self.incoming, self.events, self.wait_s = incoming, events, wait_s
        self._decode, self._refuse = decode, refuse
        self._waiting: dict[int, list[Taken]] = {}
        self._began_s: dict[int, float] = {}
        self.refused = 0

    def gather(self) -> list[Gathered]:
        """What is ready by now; waits for `wait_s` at most."""
        found = []
        for taken in self.incoming.take(self.wait_s, self.events):
            waiting = self._waiting.setdefault(taken.partition, [])
            if not waiting:
                self._began_s[taken.partition] = time.monotonic()
            waiting.append(taken)
            if len(waiting) == self.events:
                found.append(self._block(taken.partition))
        return found + self._older(time.monotonic() - self.wait_s)

    def rest(self) -> list[Gathered]:
        """What waits, however few."""
        return self._older(time.monotonic())

    def _older(self, due_s: float) -> list[Gathered]:
        due = [n for n, began_s in self._began_s.items() if began_s <= due_s]
        return [self._block(n) for n in due]

    def _block(self, partition: int) -> Gathered:
        waiting = self._waiting.pop(partition)
        del self._began_s[partition]
        rows, reasons = self._decode.rows([taken.value for taken in waiting])
        for index, why in reasons.items():
            self._refuse(waiting[index], why)
        self.refused += len(reasons)
        return Gathered(partition, rows, waiting[0].offset, waiting[-1].offset + 1)


def dead_letter(topic: str, of_topic: str, taken: Taken, reason: str) -> Record:
    """The record as it came, and why it was refused and where it stood, as headers."""
    told = {
        "onetape.reason": reason,
        "onetape.topic": of_topic,
        "onetape.partition": str(taken.partition),
        "onetape.offset": str(taken.offset),
        "onetape.timestamp_ms": str(taken.ts_ms),
    }
    headers = [*(taken.headers or []), *((name, text.encode()) for name, text in told.items())]
    return Record(topic, taken.value, key=taken.key, headers=headers)


class Spreader:
    """Rows of outputs as records of their own: output `top` to the topic TOPIC.top.

    encoders   {output: how one of its rows is written}
    """

    def __init__(self, topic: str, encoders: Mapping[str, Encode]) -> None:
        self.topic, self.encoders = topic, encoders

    def topics(self) -> list[str]:
        return [f"{self.topic}.{name}" for name in self.encoders]

    def records(self, name: str, rows: Any) -> list[Record]:
        """One a row. The key is the instrument's number as text, where the record has one."""
        return keyed(f"{self.topic}.{name}", rows, self.encoders[name](rows))


def keyed(topic: str, rows: Any, messages: Sequence[bytes]) -> list[Record]:
    """A record a row, under its instrument: readers of a partition see it in order."""
    keys: Any = [None] * len(rows)
    if "instrument_id" in rows.dtype.names:
        keys = [str(number).encode() for number in rows["instrument_id"].tolist()]
    return [Record(topic, message, key=key) for message, key in zip(messages, keys, strict=True)]
