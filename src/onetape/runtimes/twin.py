"""The simulated twin of the live sources of a pipeline: what stands in for their venues.

Connections to these venues are not built yet. What the twin brings goes the way of a connection's
messages, each a frame, in the order they arrive.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from onetape.compiled.frame import DATA, END
from onetape.connect.frames.merge import Item
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.sim.crypto import messages

MS = 1_000_000


class Twin:
    """Iterate for (source, kind, payload): all that arrives; begins again each time.

    milliseconds  of the market; None: without end
    names         {instrument id: symbol}
    """

    def __init__(self, pipeline: Pipeline, *, seed: int, milliseconds: int | None) -> None:
        for source in pipeline.sources:
            if source.channel is None:
                raise OperatorError(
                    f"source {source.name!r} has no simulated twin, sources such as "
                    "'binance:BTCUSDT' have one; a simulated day of ITCH is written by `onetape "
                    "sim`, and served on the network by `onetape exchange`"
                )
        self.channels = [source.channel for source in pipeline.sources]
        self.seed, self.milliseconds = seed, milliseconds
        instruments = [channel.instrument for channel in self.channels]
        self.names = {each.instrument_id: each.symbol for each in instruments}

    def __iter__(self) -> Iterator[Item]:
        for each in messages(self.channels, seed=self.seed, milliseconds=self.milliseconds):
            yield each.channel, DATA, each.datagram
        for number, _ in enumerate(self.channels):
            yield number, END, b""

    @property
    def origin(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"simulated": [str(channel) for channel in self.channels], "seed": self.seed}


def milliseconds_of(ns: int) -> int:
    """Whole milliseconds, at least one: the step of the twin's market."""
    if ns < MS:
        raise OperatorError(f"simulate was {ns} ns; expected a millisecond or more, such as '5s'")
    return ns // MS


def check_no_venue(pipeline: Pipeline, how: str) -> None:
    """OperatorError where a source wants a connection; `how` it is simulated."""
    for source in pipeline.sources:
        if source.channel is not None:
            raise OperatorError(
                f"source {source.url!r} is live, and connections to "
                f"{source.channel.instrument.venue} are not built yet; run on the simulated twin "
                f"of its venue: {how}"
            )


def paced(items: Iterable[Item], speed: float) -> Iterator[Item | None]:
    """The items, each when its time has come; None while it has not.

    speed   how many seconds of the market pass in one of the clock
    """
    began_s, first_ns = time.monotonic(), None
    for item in items:
        if item[1] == DATA:
            ts_ns = int.from_bytes(bytes(item[2][:8]), "little")  # ts_event_ns of its first row
            first_ns = ts_ns if first_ns is None else first_ns
            due_s = began_s + (ts_ns - first_ns) / 1e9 / speed
            while time.monotonic() < due_s:
                yield None
        yield item
