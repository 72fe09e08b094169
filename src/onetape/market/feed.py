"""A venue's feed as a source: its events, and the streams a book makes of them."""

import copy
from functools import cached_property
from typing import Any, overload

from onetape.codecs.feed import word_of
from onetape.engine.columns.rows import Symbols
from onetape.engine.graph import Source, Stream
from onetape.market.book import Book
from onetape.records import DeclarationError
from onetape.records.market import MarketEvent
from onetape.records.options import check_options
from onetape.records.types import parse_duration_ns

SCHEMES = ("itch", "itch+udp")


class Feed:
    """A feed in a pipeline. All streams of one feed share one book.

    A feed is named by an address: `itch`, `itch:path/to/file`, or the lines it is sent on,
    `itch+udp://239.192.0.1:5000,239.192.0.2:5000`; a runtime may be given others. `lateness` is how
    far an event may lag behind the newest one and still be on time; `idle` is how long a silent
    feed holds windows open; `patience`, how long one waits for messages that are missing (from
    another line, or asked for again) before they are given up.
    """

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
                f"{', '.join(SCHEMES)} (for example 'itch:day.itch')"
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
        for made in ("_book", "_events"):  # they are of all instruments
            feed.__dict__.pop(made, None)
        return feed

    def events(self) -> Stream:
        """Each message, as a MarketEvent."""
        return self._events

    def gaps(self) -> Stream:
        """Each time messages are missing, have come after all, or are given up: a Gap."""
        return self._source.gaps()

    def trades(self) -> Stream:
        """Each printable execution."""
        return self._book.trade  # type: ignore[no-any-return]

    def top_of_book(self) -> Stream:
        """Best bid and ask, each time a best price or its size changes."""
        return self._book.top  # type: ignore[no-any-return]

    def depth(self) -> Stream:
        """The ten best levels, each time one of them changes."""
        return self._book.depth  # type: ignore[no-any-return]


@overload
def source(of: str, **options: Any) -> Feed: ...
@overload
def source(of: type, **options: Any) -> Stream: ...
def source(of: Any, **options: Any) -> Any:
    """A source: of a feed (an address) or of blocks of a record type of your own."""
    if isinstance(of, str):
        check_options("ot.source", options, Feed.__init__)
        return Feed(of, **options)
    from onetape.engine import records_source

    check_options("ot.source", options, records_source)
    return records_source(of, **options)
