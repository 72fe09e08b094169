"""Rows of an output to NATS: `stream >> ot.nats("nats://HOST:4222", "ALERTS")`."""

from dataclasses import dataclass
from typing import ClassVar

from onetape.connect.nats.settings import check, check_name
from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError


@dataclass(frozen=True)
class NatsSink(OpenableSink):
    """Rows into a stream of NATS JetStream, each once: one message a row, or many as a block.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.nats("nats://127.0.0.1:4222", "TRADES"))
    ```

    events    True: a message a row, JSON, on STREAM.event.NAME, for others to read; False: blocks
              of rows on STREAM.shard.0.NAME, some hundred times as many rows a second
    replicas  of a stream that is made now

    Who we are: ONETAPE_NATS_USER and ONETAPE_NATS_PASSWORD, or ONETAPE_NATS_TOKEN. Needs
    `pip install 'onetape[nats]'`. See docs/NATS.md.
    """

    url: str
    stream: str
    events: bool = True
    replicas: int = 1
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check(self.url, DeclarationError)
        check_name(self.stream, DeclarationError)

    def open(self, output: Output) -> Taker:
        from onetape.connect.nats.writing import opened

        return opened(self, output)
