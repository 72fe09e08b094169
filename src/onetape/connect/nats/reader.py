"""The blocks of one shard out of a stream, in order, each once.

A pull consumer hands out what stands behind a place. Where a message that was handed out did not
come (the connection broke, the server was killed) the consumer is made anew behind the last that
did, so the order needs no buffer and the server no memory of us: what it knows of our place (the
acknowledgements, sent when blocks are durable here) is for those who watch it.
"""

import asyncio
import hashlib
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from onetape.connect.nats.link import Link
from onetape.connect.nats.streams import existing, first, messages_in
from onetape.records import OperatorError

FETCH, FETCH_S = 64, 1.0
AGAIN_S = 0.2
AHEAD = 256  # blocks that were read, and not yet taken
FORGOTTEN_S = 86_400.0  # by the server, when nobody reads
ACK_WAIT_S = 86_400.0
STREAM_GONE = 10059
UNACKED_MAX = 1 << 20


def shard_reader(link: Link, stream: str, shard: int, tape: Path) -> "Reader":
    """The blocks of a shard, for the node of a tape."""
    made = existing(link, stream, keeps=True)
    return Reader(link, stream, f"{stream}.shard.{shard}", consumer_of(tape), made)


def consumer_of(tape: Path) -> str:
    """What the server calls the node of a tape: two readers of one name would share messages."""
    return f"onetape-{hashlib.sha256(str(tape.resolve()).encode()).hexdigest()[:12]}"


class Reader:
    """The messages of `subject`, for `run_blocks`. Close it when done; the link is the caller's.

    subject    ">" for all; made: when the stream was
    is_at_end  nothing was there, when it was last asked for more
    """

    def __init__(self, link: Link, stream: str, subject: str, consumer: str, made: str) -> None:
        self._link, self._stream, self._subject = link, stream, subject
        self.name, self.consumer = f"NATS stream {stream} ({subject})", consumer
        self.origin = {"nats": stream, "subject": subject, "made": made}
        self.is_at_end = False
        self._last = 0  # sequence of the last message that came
        self._manifest_at = 0
        self._ready: deque[tuple[int, bytes]] = deque()
        self._has_some = threading.Event()
        self._acks: deque[tuple[int, str]] = deque()
        self._trouble = ""
        self._fault: Exception | None = None
        self._reading: Any = None

    def first(self) -> bytes:
        found = first(self._link, self._stream, self._subject)
        if not found.sequence:
            if many := messages_in(self._link, self._stream):
                raise OperatorError(
                    f"{self.name} holds no blocks, and the stream {many} messages on other "
                    "subjects; one event a message? Say how: --encoding json, avro or protobuf"
                )
            raise OperatorError(
                f"{self.name} is empty; publish an input to it: onetape nats publish"
            )
        self._manifest_at = found.sequence
        return found.data

    def begin(self, after: int, ordinal: int = 1) -> None:
        """Read on behind this sequence; 0: from the first on. The blocks say their ordinals."""
        self._last = max(after, self._manifest_at)
        self._reading = self._link.start(self._read())

    def read(self, wait_s: float) -> list[tuple[int, bytes]]:
        if not self._has_some.wait(wait_s):
            if self._fault is not None:
                raise self._fault
            return []
        self._has_some.clear()
        made = []
        while self._ready:
            made.append(self._ready.popleft())
        return made

    def keep(self, position: int) -> None:
        self._link.start(self._acknowledge(position))

    def trouble(self) -> str:
        said = self._trouble or self._link.last_error
        return f"{self.name}: {said}; it is tried again" if said else ""

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        from nats import errors
        from nats.js.errors import APIError

        while True:
            subscription = None
            try:
                subscription = await self._subscribe()
                await self._take_all(subscription)
                self._trouble = "a message did not come"
            except APIError as why:
                self._trouble = str(why.description or why)
                if why.err_code == STREAM_GONE:
                    self._fault = OperatorError(f"{self.name} is not there any more")
                    return
            except (errors.Error, OSError) as why:
                self._trouble = str(why) or type(why).__name__
            except Exception as why:  # nobody else would hear of it
                self._fault = OperatorError(f"{self.name} cannot be read: {why!r}")
                return
            finally:
                if subscription is not None:
                    await self._leave(subscription)
            await asyncio.sleep(AGAIN_S)

    async def _subscribe(self) -> Any:
        from nats.js import api
        from nats.js.errors import NotFoundError

        await self._link.alive()
        js = self._link.js
        with suppress(NotFoundError):
            await js.delete_consumer(self._stream, self.consumer)
        self._acks.clear()  # they were of the one before
        await js.add_consumer(
            self._stream,
            config=api.ConsumerConfig(
                name=self.consumer,
                durable_name=self.consumer,
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._last + 1,
                filter_subject=None if self._subject == ">" else self._subject,
                ack_policy=api.AckPolicy.ALL,
                ack_wait=ACK_WAIT_S,
                max_ack_pending=UNACKED_MAX,
                inactive_threshold=FORGOTTEN_S,
            ),
        )
        return await js.pull_subscribe_bind(consumer=self.consumer, stream=self._stream)

    async def _take_all(self, subscription: Any) -> None:
        """Until a message is missing between two that came."""
        expected, waiting = 1, 0
        while True:
            while len(self._ready) > AHEAD:
                await asyncio.sleep(0.002)
            began_s = time.monotonic()
            try:  # more than one only if they are there: it would wait for all of them
                messages = await subscription.fetch(max(1, min(FETCH, waiting)), timeout=FETCH_S)
            except TimeoutError:
                if time.monotonic() - began_s < FETCH_S / 2:  # the consumer is not there any more
                    return
                waiting, self.is_at_end = 0, True
                continue
            for message in messages:
                about = message.metadata
                if about.sequence.consumer != expected:
                    return
                expected, waiting = expected + 1, about.num_pending
                if about.sequence.stream > self._last:
                    self._last = about.sequence.stream
                    self._acks.append((self._last, message.reply))
                    self._ready.append((self._last, message.data))
                    self._has_some.set()
            self._trouble, self.is_at_end = "", waiting == 0

    async def _acknowledge(self, position: int) -> None:
        from nats import errors

        reply = ""
        while self._acks and self._acks[0][0] <= position:
            _, reply = self._acks.popleft()
        with suppress(errors.Error, OSError):
            if reply:  # one acknowledgement is for all before it, too
                await self._link.client.publish(reply)

    async def _leave(self, subscription: Any) -> None:
        from nats import errors

        with suppress(errors.Error, OSError):
            await subscription.unsubscribe()
