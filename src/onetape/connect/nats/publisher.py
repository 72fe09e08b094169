"""The blocks of an input into a stream: each once, in order, also when it was cut short before."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from onetape.codecs.block import read_header
from onetape.codecs.stream_there import There
from onetape.connect.nats.link import Away, Link, Overtaken
from onetape.connect.nats.streams import Message, ensure, first, last, publish

TRIES = 30  # for one block, some ten seconds each


@dataclass
class Published:
    """What a stream has been given now, and what it had."""

    blocks: int = 0
    events: int = 0
    size_bytes: int = 0
    there_before: int = 0
    _behind: dict[str, tuple[int, int]] = field(default_factory=dict)  # ordinal, sequence


def publish_blocks(
    link: Link, stream: str, blocks: Iterable[tuple[int, bytes]], replicas: int = 1
) -> Published:
    """Put (shard, block) into the stream, behind those of them that are there.

    OperatorError: another input is there. Away: the server was gone for minutes; begin again, and
    it goes on.
    """
    ensure(link, stream, replicas)
    made, there = Published(), dict[str, There]()
    for shard, block in blocks:
        subject, header = f"{stream}.shard.{shard}", read_header(block)
        if subject not in there:
            found = _last(link, stream, subject)
            first_of = first(link, stream, subject).data if found.sequence else b""
            there[subject] = There(f"stream {stream}", first_of, found.data)
            made._behind[subject] = (there[subject].ordinal, found.sequence)
        if there[subject].has(block):
            made.there_before += 1
            continue
        _put(link, stream, subject, block, header.ordinal, made)
        made.blocks += 1
        made.events += header.count
        made.size_bytes += len(block)
    for one in there.values():
        one.check_end()
    return made


def _put(
    link: Link, stream: str, subject: str, block: bytes, ordinal: int, made: Published
) -> None:
    for _ in range(TRIES):
        before, sequence = made._behind[subject]
        if before >= ordinal:  # it had arrived, and we were not told
            return
        try:
            at = publish(link, stream, subject, block, after=sequence, key=f"{subject}.{ordinal}")
            made._behind[subject] = (ordinal, at)
            return
        except (Away, Overtaken):
            made._behind[subject] = _behind(link, stream, subject)
    raise Away(f"no answer from NATS at {link.settings.url}; publish again, and it goes on")


def _behind(link: Link, stream: str, subject: str) -> tuple[int, int]:
    """(ordinal, sequence) of the last block there; (-1, 0) if there is none."""
    found = _last(link, stream, subject)
    return (read_header(found.data).ordinal, found.sequence) if found.sequence else (-1, 0)


def _last(link: Link, stream: str, subject: str) -> Message:
    """The last message there; a server that is away is waited for."""
    for tries_left in reversed(range(TRIES)):
        try:
            return last(link, stream, subject)
        except Away:
            if not tries_left:
                raise
    raise AssertionError("unreachable")
