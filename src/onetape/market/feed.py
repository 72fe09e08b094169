"""A venue's feed as a source: its events, and the streams a book makes of them."""

import copy
from decimal import Decimal
from functools import cached_property
from typing import Any, overload

from onetape.codecs.feed import word_of
from onetape.engine.columns.rows import Symbols
from onetape.engine.graph import Source, Stream
from onetape.market.book import Book
from onetape.market.grid import grid_step, put_on_grid
from onetape.market.instruments import VENUE_TICK, VENUES, Channel, instrument_of
from onetape.market.own_orders import OwnOrders, own_orders
from onetape.records import DeclarationError, snake_name
from onetape.records.market import MarketEvent, OwnOrder, TopOfBook, Trade
from onetape.records.options import check_options
from onetape.records.places import here
from onetape.records.types import parse_duration_ns

SCHEMES = ("itch", "itch+udp")
FIX = "fix"
ITCH_TICK = Decimal("0.0001")


class Feed:
    """A feed in a pipeline. All streams of one feed share one book.

    A feed is named by an address: `itch`, `itch:path/to/file`, or the lines it is sent on,
    `itch+udp://239.192.0.1:5000,239.192.0.2:5000`; a runtime may be given others. `lateness` is how
    far an event may lag behind the newest one and still be on time; `idle` is how long a silent
    feed holds windows open; `patience`, how long one waits for messages that are missing (from
    another line, or asked for again) before they are given up.

    ```python
    feed = mk.Feed("itch", idle="500ms").only("AAPL", "MSFT")
    pipeline = ot.Pipeline(top=feed.top_of_book(), gap=feed.gaps())
    ```
    """

    _tick = ITCH_TICK
    _step: int | None = None  # of the grid, in ticks

    def __init__(
        self,
        address: str,
        *,
        name: str | None = None,
        lateness: str = "0s",
        idle: str = "1s",
        patience: str = "1s",
    ) -> None:
        scheme, _, rest = address.partition(":")
        if scheme not in SCHEMES:
            raise DeclarationError(
                f"source {address!r}: scheme {scheme!r} is not known; known are "
                f"{', '.join([*SCHEMES, FIX, *VENUES])} (for example 'itch:day.itch')"
            )
        self._only: tuple[int, ...] = ()
        kind, _, transport = scheme.partition("+")
        if transport and not rest.startswith("//"):
            raise DeclarationError(f"source {address!r}; expected {scheme}://HOST:PORT")
        self._source = Source(
            name=name or kind,
            of=MarketEvent,
            feed=kind,
            url=f"{transport}:{rest}" if transport else rest,
            lateness_ns=parse_duration_ns(lateness),
            idle_ns=parse_duration_ns(idle),
            patience_ns=parse_duration_ns(patience),
            tick=ITCH_TICK,
        )

    @cached_property
    def _book(self) -> Any:
        return Book(self.events())

    @cached_property
    def _events(self) -> Stream:
        stream = self._source.stream()
        if not self._only:
            return stream
        node = Symbols(f"only_{self._source.name}", (("events", stream),), self._only)
        return Stream(node, "rows", stream.of)

    def only(self, *symbols: str) -> "Feed":
        """The same feed, of these instruments: all else costs no more than to be read."""
        words = []
        for symbol in symbols:
            try:
                words.append(word_of(symbol))
            except (ValueError, AttributeError):
                raise DeclarationError(
                    f"only was given {symbol!r}; expected a symbol of 1 to 8 letters: 'AAPL'"
                ) from None
        if not words:
            raise DeclarationError("only was given no symbol; write for example .only('AAPL')")
        feed = copy.copy(self)
        feed._only = tuple(words)
        for made in ("_book", "_events", "_tops", "_prints"):  # they are of all instruments
            feed.__dict__.pop(made, None)
        return feed

    def on_grid(self, tick: str) -> "Feed":
        """The same feed, its prices in ticks of `tick`: "0.01". Quotes and trades at a price that
        is no whole number of them are refused and counted, never rounded."""
        step = grid_step(self._tick, tick)
        self._share()
        feed = copy.copy(self)
        feed._step = step
        for made in ("_tops", "_prints"):
            feed.__dict__.pop(made, None)
        return feed

    def events(self) -> Stream:
        """Each message, as a MarketEvent."""
        self._check_no_grid("events")
        return self._events

    def gaps(self) -> Stream:
        """Each time messages are missing, have come after all, or are given up: a Gap."""
        return self._source.gaps()

    def trades(self) -> Stream:
        """Each printable execution."""
        return self._prints

    def top_of_book(self) -> Stream:
        """Best bid and ask, each time a best price or its size changes."""
        return self._tops

    def depth(self) -> Stream:
        """The ten best levels, each time one of them changes."""
        self._check_no_grid("depth")
        return self._book.depth  # type: ignore[no-any-return]

    def orders(self) -> OwnOrders:
        """Not here: orders of one's own come by a drop copy."""
        raise DeclarationError(
            here().says(
                "orders() are one's own, and come by a drop copy: ot.source('fix://HOST:PORT'); "
                "those of a public feed are events()"
            )
        )

    @cached_property
    def _tops(self) -> Stream:
        return self._gridded(self._book.top)

    @cached_property
    def _prints(self) -> Stream:
        return self._gridded(self._book.trade)

    def _gridded(self, stream: Stream) -> Stream:
        return stream if self._step in (None, 1) else put_on_grid(stream, self._tick, self._step)

    def _share(self) -> None:
        """Make what a feed and its copies have in common."""
        _ = self._book

    def _check_no_grid(self, what: str) -> None:
        if self._step is not None:
            raise DeclarationError(
                here().says(
                    f"{what}() is as the venue sends it, in ticks of {self._tick}: take it from "
                    "the feed itself, without .on_grid"
                )
            )


class VenueFeed(Feed):
    """A feed of one instrument from a venue that sends quotes and trades: `binance:BTCUSDT`.

    Its prices come as decimals, so a grid says what one tick is: `.on_grid("0.01")`.
    """

    _tick = VENUE_TICK

    def __init__(
        self, address: str, *, name: str | None = None, lateness: str = "0s", idle: str = "1s"
    ) -> None:
        self._instrument = instrument_of(address)
        words = "".join(letter if letter.isalnum() else "_" for letter in address.lower())
        self._options: dict[str, Any] = {
            "lateness_ns": parse_duration_ns(lateness),
            "idle_ns": parse_duration_ns(idle),
        }
        self._name = name or words

    @cached_property
    def _quote_source(self) -> Source:
        return self._channel(TopOfBook)

    @cached_property
    def _trade_source(self) -> Source:
        return self._channel(Trade)

    def _channel(self, of: Any) -> Source:
        return Source(
            name=f"{self._name}_{snake_name(of)}",
            of=of,
            url=str(self._instrument),
            channel=Channel(self._instrument, of),
            tick=VENUE_TICK,
            **self._options,
        )

    @cached_property
    def _tops(self) -> Stream:
        return self._gridded(self._quote_source.stream())

    @cached_property
    def _prints(self) -> Stream:
        return self._gridded(self._trade_source.stream())

    def _gridded(self, stream: Stream) -> Stream:
        if self._step is None:
            raise DeclarationError(
                here().says(
                    f"{self._instrument} has prices in decimals; say what one tick is: "
                    f"ot.source({str(self._instrument)!r}).on_grid('0.01')"
                )
            )
        return super()._gridded(stream)

    def _share(self) -> None:
        _ = self._quote_source, self._trade_source

    def only(self, *symbols: str) -> "Feed":
        """Not here: the address names the one instrument."""
        raise self._lacks("only(...)", "its address names the one instrument")

    def events(self) -> Stream:
        """Not here: the venue sends no orders."""
        raise self._lacks("events()", "the venue sends quotes and trades")

    def gaps(self) -> Stream:
        """Not here: messages come over a connection that loses none."""
        raise self._lacks("gaps()", "a connection loses none, it breaks")

    def depth(self) -> Stream:
        """Not here: only the best bid and ask are taken."""
        raise self._lacks("depth()", "only the best bid and ask are taken")

    def _lacks(self, what: str, why: str) -> DeclarationError:
        said = f"{self._instrument} has no {what}: {why}; it has top_of_book() and trades()"
        return DeclarationError(here().says(said))


class DropCopy(Feed):
    """Reports of what becomes of one's own orders: FIX 4.4 ExecutionReports, `fix://HOST:PORT`.

    `fix:PATH` is a file of messages back to back, as a session's log has them.
    """

    def __init__(
        self, address: str, *, name: str | None = None, lateness: str = "0s", idle: str = "1s"
    ) -> None:
        self._source = Source(
            name=name or FIX,
            of=OwnOrder,
            feed=FIX,
            url=address.partition(":")[2],
            lateness_ns=parse_duration_ns(lateness),
            idle_ns=parse_duration_ns(idle),
            tick=ITCH_TICK,
        )

    def orders(self) -> OwnOrders:
        """Each report, as an OwnOrder."""
        return own_orders(self._source)

    def only(self, *symbols: str) -> "Feed":
        """Not here: filter the orders."""
        raise self._lacks("only(...)")

    def on_grid(self, tick: str) -> "Feed":
        """Not here: prices are in ticks of the public feed."""
        raise self._lacks("on_grid(...)")

    def events(self) -> Stream:
        """Not here: reports are orders()."""
        raise self._lacks("events()")

    def trades(self) -> Stream:
        """Not here: a fill is an order with the action FILL."""
        raise self._lacks("trades()")

    def top_of_book(self) -> Stream:
        """Not here: the public feed has it."""
        raise self._lacks("top_of_book()")

    def depth(self) -> Stream:
        """Not here: the public feed has it."""
        raise self._lacks("depth()")

    def _lacks(self, what: str) -> DeclarationError:
        said = f"a drop copy has no {what}; it has orders() and gaps()"
        return DeclarationError(here().says(said))


@overload
def source(of: str, **options: Any) -> Feed: ...
@overload
def source(of: type, **options: Any) -> Stream: ...
def source(of: Any, **options: Any) -> Any:
    """A source: of a feed (an address) or of blocks of a record type of your own.

    ```python
    trades = ot.source("itch:day.itch").only("AAPL").trades()
    jumps = ot.source(Jump, name="jumps", lateness="5ms", idle="1s")
    ```
    """
    if isinstance(of, str):
        scheme = of.partition(":")[0]
        kind = VenueFeed if scheme in VENUES else DropCopy if scheme == FIX else Feed
        check_options("ot.source", options, kind.__init__)
        return kind(of, **options)
    from onetape.engine import records_source

    check_options("ot.source", options, records_source)
    return records_source(of, **options)
