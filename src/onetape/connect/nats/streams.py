"""Streams of JetStream: made to lose nothing, read at their end, written behind what stands there.

A message is published with the sequence of the one that must stand before it on its subject, so the
server takes it once, however often it is sent and whoever else tries (its own window for doubles,
Nats-Msg-Id, is two minutes long, and is used besides).
"""

from dataclasses import dataclass, field
from typing import Any

from onetape.connect.nats.link import Link, Overtaken
from onetape.connect.nats.settings import check_name
from onetape.records import OperatorError

WRONG_LAST = (10071, 10164)  # another message stands there than was said
DOUBLES_S = 120.0


@dataclass(frozen=True)
class Message:
    """What stands on a subject; sequence 0: nothing does."""

    sequence: int = 0
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def ensure(link: Link, stream: str, replicas: int = 1) -> str:
    """The stream is there, and keeps what it is given; returns when it was made.

    A new one keeps all, on the disk; when it is full it refuses, and drops nothing.
    OperatorError: one that is there drops messages by itself.
    """
    from nats.js import api
    from nats.js.errors import NotFoundError

    check_name(stream)

    async def made() -> Any:
        try:
            return await link.js.stream_info(stream)
        except NotFoundError:
            return await link.js.add_stream(
                name=stream,
                subjects=[f"{stream}.shard.>", f"{stream}.event.>"],
                retention=api.RetentionPolicy.LIMITS,
                storage=api.StorageType.FILE,
                discard=api.DiscardPolicy.NEW,
                duplicate_window=DOUBLES_S,
                num_replicas=replicas,
            )

    return _checked(stream, link.call(made()))


def existing(link: Link, stream: str, *, keeps: bool) -> str:
    """When the stream was made; OperatorError if there is none, or one that drops messages by
    itself where it `keeps` them."""
    from nats.js.errors import NotFoundError

    check_name(stream)

    async def found() -> Any:
        try:
            return await link.js.stream_info(stream)
        except NotFoundError:
            makes = "onetape nats publish does" if keeps else "its writer does"
            raise OperatorError(
                f"there is no stream {stream} at {link.settings.url}; make it ({makes}), or look "
                "at its name"
            ) from None

    info = link.call(found())
    return _checked(stream, info) if keeps else str(info.created)


def messages_in(link: Link, stream: str) -> int:
    """How many the stream holds now, on all its subjects."""

    async def found() -> Any:
        return await link.js.stream_info(stream)

    return int(link.call(found()).state.messages)


def first(link: Link, stream: str, subject: str) -> Message:
    """The oldest message of a subject."""
    return _message(link, stream, seq=1, subject=subject, next=True)


def last(link: Link, stream: str, subject: str) -> Message:
    """The newest message of a subject."""
    return _message(link, stream, subject=subject)


def publish(
    link: Link, stream: str, subject: str, data: bytes, *, after: int, key: str, **headers: str
) -> int:
    """Put one message behind the message `after` of its subject (0: as the first); its sequence.

    key  by which the server drops a double within its window

    Returns when it is on the server's disk. Overtaken: something else stands there. Away: nobody
    said whether it was taken; look at what is last before another try.
    """
    from nats.js.errors import APIError

    said = {"Nats-Msg-Id": key, "Nats-Expected-Last-Subject-Sequence": str(after)}
    said |= {f"Onetape-{name.title()}": value for name, value in headers.items()}

    async def sent() -> Any:
        try:
            return await link.js.publish(subject, data, stream=stream, headers=said)
        except APIError as why:
            if why.err_code in WRONG_LAST:
                raise Overtaken(f"{subject}: another message came between") from None
            raise

    answer = link.call(sent())
    if answer.duplicate:
        raise Overtaken(f"{subject}: the message {key} is there already")
    return int(answer.seq)


def _checked(stream: str, info: Any) -> str:
    of = info.config
    drops = [
        said
        for said, is_so in (
            ("retention is not by limits", of.retention not in (None, "limits")),
            ("it drops old messages at a size", of.discard == "old" and _some(of.max_bytes)),
            ("it drops old messages at a number", of.discard == "old" and _some(of.max_msgs)),
            ("it keeps few messages a subject", _some(of.max_msgs_per_subject)),
            ("it is in memory", of.storage == "memory"),
        )
        if is_so
    ]
    if drops:
        raise OperatorError(
            f"stream {stream} does not keep what it is given ({'; '.join(drops)}); give another, "
            "or change it"
        )
    return str(info.created)


def _some(limit: Any) -> bool:
    return limit is not None and limit > 0


def _message(link: Link, stream: str, **which: Any) -> Message:
    from nats.js.errors import NotFoundError

    async def got() -> Message:
        try:
            found = await link.js.get_msg(stream, **which)
        except NotFoundError:
            return Message()
        return Message(int(found.seq), found.data or b"", dict(found.headers or {}))

    made: Message = link.call(got())
    return made
