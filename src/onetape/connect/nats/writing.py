"""Rows of an output into a stream, each once.

What stands last on the output's subject says how many of its rows are there, so nothing else has to
remember it: whatever a crash left in doubt, the next rows go behind the last that are there, and
only there. A stream that has rows of another run is refused; the rows then wait.
"""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onetape.codecs.block import END, Header, encode_json, read_header
from onetape.connect.nats.link import Link, load
from onetape.connect.nats.settings import settings
from onetape.connect.nats.sink import NatsSink
from onetape.connect.nats.streams import ensure, last, publish
from onetape.connect.sinks.outbox import key_of
from onetape.connect.sinks.rows_outbox import RowsOf, RowsOutbox
from onetape.connect.sinks.taking import Output, Taker
from onetape.engine.blocks import encode_rows
from onetape.records import OperatorError

ROWS_AT_ONCE, EVENTS_AT_ONCE = 4096, 100


def opened(sink: NatsSink, output: Output) -> Taker:
    """The sink of one output; nobody has to be there yet."""
    load()
    writer = (_Events if sink.events else _Blocks)(sink, output)
    many = EVENTS_AT_ONCE if sink.events else ROWS_AT_ONCE
    return _Nats(output, writer, f"nats {sink.stream} ({output.name})", many)


class _Nats(RowsOutbox):
    def __init__(self, output: Output, writer: "_Writer", named: str, rows_at_once: int) -> None:
        self._writer = writer
        super().__init__(output, writer.deliver, named, rows_at_once=rows_at_once)

    def close(self) -> None:
        super().close()
        self._writer.close()


class _Writer:
    """Rows as messages on one subject, behind those that are there."""

    def __init__(self, sink: NatsSink, output: Output) -> None:
        self._sink, self._output = sink, output
        self._settings = settings(sink.url)
        self._run = _run_of(output)
        self._link: Link | None = None
        self._sequence = -1  # of the last message there; -1: look
        self._rows = self._ordinal = 0  # how many rows and messages are there

    def subject(self) -> str:
        raise NotImplementedError

    def messages(self, batch: RowsOf) -> list[tuple[int, str, bytes]]:
        """(how many rows, key, body) of each message."""
        raise NotImplementedError

    def deliver(self, batch: RowsOf) -> list[str]:
        try:
            link = self._link or self._connected()
            if self._sequence < 0:
                self._look(link)
            skip = max(0, self._rows - batch.first)
            if batch.first > self._rows:
                raise OperatorError(
                    f"{self.subject()} has {self._rows} rows, and {batch.first} were delivered: "
                    "were messages removed? Give a new stream, and a new tape"
                )
            left = RowsOf(batch.first + skip, batch.rows[skip:], batch.origins[skip:])
            for many, key, body in self.messages(left):
                self._sequence = publish(
                    link,
                    self._sink.stream,
                    self.subject(),
                    body,
                    after=self._sequence,
                    key=f"{self.subject()}.{key}",
                    rows=str(self._rows + many),
                    run=self._run,
                )
                self._rows += many
                self._ordinal += 1
        except Exception:
            self._sequence = -1
            raise
        return []

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    def _connected(self) -> Link:
        self._link = link = Link(self._settings)
        ensure(link, self._sink.stream, self._sink.replicas)
        return link

    def _look(self, link: Link) -> None:
        found = last(link, self._sink.stream, self.subject())
        if found.sequence and found.headers.get("Onetape-Run") != self._run:
            raise _of_another_run(self.subject())
        self._sequence = found.sequence
        self._rows = int(found.headers.get("Onetape-Rows", 0))
        self._ordinal = self._next_ordinal(found.data)

    def _next_ordinal(self, data: bytes) -> int:
        return 0


class _Blocks(_Writer):
    def subject(self) -> str:
        return f"{self._sink.stream}.shard.0.{self._output.name}"

    def messages(self, batch: RowsOf) -> list[tuple[int, str, bytes]]:
        if not len(batch):
            return []
        header = Header(END, ordinal=self._ordinal, name=self._output.name, codec="lz4")
        block = encode_rows(header, self._output.of, batch.rows, batch.origins)
        return [(len(batch), str(self._ordinal), block)]

    def _next_ordinal(self, data: bytes) -> int:
        return read_header(data).ordinal + 1 if data else 0


class _Events(_Writer):
    def subject(self) -> str:
        return f"{self._sink.stream}.event.{self._output.name}"

    def messages(self, batch: RowsOf) -> list[tuple[int, str, bytes]]:
        made = []
        for told, origin in zip(self._output.dicts(batch.rows), batch.origins, strict=True):
            key = key_of(self._output.name, told, origin)
            made.append((1, key, json.dumps({"key": key} | told).encode()))
        return made


def check_whose(link: Link, stream: str, outputs: Iterable[str], kept: Path | None) -> None:
    """OperatorError: the stream has rows of another run, and would never take those of this one.

    kept  where the sinks of the run that goes on keep what they remember; None: it is a new one
    """
    for name in outputs:
        subject = f"{stream}.shard.0.{name}"
        runs = {path.read_text() for path in kept.glob(f"{name}-*.run")} if kept else set()
        found = last(link, stream, subject)
        if found.sequence and found.headers.get("Onetape-Run") not in runs:
            raise _of_another_run(subject)
    if kept is None and last(link, stream, f"{stream}.shard.0").sequence:
        raise _of_another_run(f"{stream}.shard.0")


def publish_end(link: Link, stream: str, rows: dict[str, int], facts: dict[str, Any]) -> bool:
    """The END block behind all rows of a run, once all of them are there; whether they are.

    rows   of each output
    facts  `events` and `state_digest` of the run
    """
    ordinals = {}
    for name, many in rows.items():
        found = last(link, stream, f"{stream}.shard.0.{name}")
        if int(found.headers.get("Onetape-Rows", 0)) != many:
            return False
        ordinals[name] = read_header(found.data).ordinal + 1 if found.sequence else 0
    subject = f"{stream}.shard.0"
    if not last(link, stream, subject).sequence:
        told = {**facts, "rows": rows, "blocks": ordinals}
        block = encode_json(Header(END), told)
        publish(link, stream, subject, block, after=0, key=f"{subject}.end")
    return True


def _of_another_run(subject: str) -> OperatorError:
    return OperatorError(
        f"{subject} has rows of another run; give another stream, or go on with the tape of that "
        "run (--resume)"
    )


def _run_of(output: Output) -> str:
    """A name for the run that makes the rows, kept beside its tape: the same when it is resumed."""
    if output.folder is None:
        return secrets.token_hex(8)
    path = output.folder / f"{output.name}-{output.number}.run"
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    run, beside = secrets.token_hex(8), path.with_suffix(".new")
    with open(beside, "w") as file:
        file.write(run)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    return run
