"""The simulated twin of the live sources of a pipeline: what stands in for their venues.

Connections to these venues are not built yet. What the twin brings goes the way of a connection's
messages, each a frame, in the order they arrive.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from onetape.compiled.frame import DATA, END
from onetape.connect.frames.merge import Item
from onetape.engine.graph import Pipeline
from onetape.market.instruments import id_of
from onetape.records import OperatorError
from onetape.sim.crypto import messages
from onetape.sim.own_day import OwnDay

MS = 1_000_000


class Twin:
    """Iterate for (source, kind, payload): all that arrives; begins again each time.

    milliseconds  of the market; None: without end
    names         {instrument id: symbol}
    midnight_ns   of the trading date of its feeds
    now_ns        the time of the market at what was given last
    """

    def __init__(self, pipeline: Pipeline, *, seed: int, milliseconds: int | None) -> None:
        self.sources, self.seed, self.milliseconds = pipeline.sources, seed, milliseconds
        self.midnight_ns = self.now_ns = 0
        self._day: OwnDay | None = None
        kinds = [source.feed for source in self.sources]
        if "fix" in kinds and set(kinds) <= {"fix", "itch"} and len(set(kinds)) == len(kinds):
            day = self._day = OwnDay(seed=seed, milliseconds=milliseconds)
            self.midnight_ns = day.midnight_ns
            self.names = day.symbols | {id_of(symbol): symbol for symbol in day.symbols.values()}
            return
        for source in self.sources:
            if source.channel is None:
                raise OperatorError(
                    f"source {source.name!r} has no simulated twin, sources such as "
                    "'binance:BTCUSDT' have one, and a drop copy ('fix://HOST:PORT') with one ITCH "
                    "feed; a simulated day of ITCH is written by `onetape sim`, and served on the "
                    "network by `onetape exchange`"
                )
        instruments = [source.channel.instrument for source in self.sources]
        self.names = {each.instrument_id: each.symbol for each in instruments}

    def __iter__(self) -> Iterator[Item]:
        for number, ts_ns, payload in self._arrivals():
            self.now_ns = ts_ns
            yield number, DATA, payload
        for number, _ in enumerate(self.sources):
            yield number, END, b""

    def _arrivals(self) -> Iterator[tuple[int, int, Any]]:
        if self._day is not None:
            numbers = {source.feed: n for n, source in enumerate(self.sources)}
            for feed, ts_ns, payload in self._day:
                if feed in numbers:
                    yield numbers[feed], ts_ns, payload
            return
        channels = [source.channel for source in self.sources]
        for each in messages(channels, seed=self.seed, milliseconds=self.milliseconds):
            ts_ns = int.from_bytes(bytes(each.datagram[:8]), "little")  # of its first row
            yield each.channel, ts_ns, each.datagram

    @property
    def origin(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"simulated": [str(s.channel or s.feed) for s in self.sources], "seed": self.seed}


def milliseconds_of(ns: int) -> int:
    """Whole milliseconds, at least one: the step of the twin's market."""
    if ns < MS:
        raise OperatorError(f"simulate was {ns} ns; expected a millisecond or more, such as '5s'")
    return ns // MS


def check_no_venue(pipeline: Pipeline, how: str) -> None:
    """OperatorError where a source wants a connection; `how` it is simulated."""
    for source in pipeline.sources:
        if source.feed == "fix" and source.url.startswith("//"):
            raise OperatorError(
                f"source 'fix:{source.url}' is live, and FIX sessions (logon, heartbeats, resends) "
                f"are not built yet; run on the simulated exchange: {how}; or on a recorded log of "
                "the session: ot.source('fix:PATH')"
            )
        if source.channel is not None:
            raise OperatorError(
                f"source {source.url!r} is live, and connections to "
                f"{source.channel.instrument.venue} are not built yet; run on the simulated twin "
                f"of its venue: {how}"
            )


def paced(
    items: Iterable[Item], speed: float, market_ns: Callable[[], int]
) -> Iterator[Item | None]:
    """The items, each when its time has come; None while it has not.

    speed      how many seconds of the market pass in one of the clock
    market_ns  the time of the item that was taken last
    """
    began_s, first_ns = time.monotonic(), None
    for item in items:
        if item[1] == DATA:
            ts_ns = market_ns()
            first_ns = ts_ns if first_ns is None else first_ns
            due_s = began_s + (ts_ns - first_ns) / 1e9 / speed
            while time.monotonic() < due_s:
                yield None
        yield item
