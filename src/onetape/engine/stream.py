"""Streams: what flows between the nodes of a graph, and what a person builds on them."""

import ipaddress
import typing
from dataclasses import dataclass, replace
from typing import Any

from onetape.engine.keeping import HALT
from onetape.engine.node import Node
from onetape.records import DeclarationError
from onetape.records.options import check_options
from onetape.records.places import here

if typing.TYPE_CHECKING:
    from onetape.engine.columns.expr import Expr
    from onetape.engine.columns.interval_join import JoinedStream
    from onetape.engine.columns.lookups import LookedUpStream, ReferenceTable
    from onetape.engine.columns.windows import Windowed
    from onetape.engine.patterns import Pattern


@dataclass(frozen=True, eq=False)
class Stream:
    """Records of type `of`, one after the other: what sources and operators give.

    ```python
    big = trades.filter(c.qty_lots > 1_000).select(c.instrument_id, c.qty_lots)
    ```

    A stream is a value: `filter`, `select`, `window` and the rest make new ones.
    """

    node: Node
    output: str
    of: Any
    sinks: tuple["Sink", ...] = ()

    def __rshift__(self, sink: "Sink | Pattern") -> "Stream":
        """The same stream, as an output whose rows also leave through `sink`; of a pattern, the
        stream of its matches."""
        if isinstance(sink, patterns.Pattern):
            return sink.on(self)
        if not isinstance(sink, Sink):
            raise DeclarationError(
                f"{self!r} >> {sink!r}; expected a sink, such as ot.parquet('out/'), or a pattern"
            )
        if isinstance(sink, UdpSink) and any(isinstance(s, UdpSink) for s in self.sinks):
            raise DeclarationError(
                here().says(
                    f"{self!r} has two udp sinks; expected one: give a multicast group, or make "
                    "the stream two outputs"
                )
            )
        return replace(self, sinks=(*self.sinks, sink))

    def __repr__(self) -> str:
        return f"<stream {self.node.name}.{self.output} of {self.of.__name__}>"

    # Columns: what each means is said where it is made, in engine/columns.

    def filter(self, *conditions: "Expr") -> "Stream":
        """The rows for which every condition holds: `trades.filter(c.qty_lots > 1_000)`."""
        return columns.rows.filter_rows(self, *conditions)

    def select(self, *taken: "Expr", **named: Any) -> "Stream":
        """Rows of only these columns; time and flags stay."""
        return columns.rows.select(self, *taken, **named)

    def with_columns(self, **named: Any) -> "Stream":
        """Rows with all they have, and these columns: `notional=c.price_ticks * c.qty_lots`."""
        return columns.rows.with_columns(self, **named)

    def window(
        self,
        width: str | int,
        *,
        every: str | int | None = None,
        by: Any = None,
        capacity: int = 1 << 16,
        when_full: str = HALT,
        emit: str = "end",
        early: str | int = 0,
        lateness: str | int = 0,
    ) -> "Windowed":
        """Event-time windows, [start, end), moved every `every` (default: tumbling), per `by`.

        Without `by` one window of all rows. When it gives a row, besides at its end:

        emit      "each": after each event (tumbling)
        early     at the multiples of this time, if it has changed (tumbling)
        lateness  again after each event that is late by no more than this
        """
        return columns.windows.by_width(
            self,
            width,
            by,
            every=every,
            capacity=capacity,
            when_full=when_full,
            emit=emit,
            early=early,
            lateness=lateness,
        )

    def session(
        self,
        gap: str | int,
        *,
        by: Any = None,
        capacity: int = 1 << 16,
        when_full: str = HALT,
        emit: str = "end",
    ) -> "Windowed":
        """Sessions per `by`: rows that follow one another with pauses shorter than `gap`."""
        return columns.windows.by_pause(
            self, gap, by, capacity=capacity, when_full=when_full, emit=emit
        )

    def batches(
        self,
        rows: int,
        *,
        by: Any = None,
        capacity: int = 1 << 16,
        when_full: str = HALT,
        ttl: str | int | None = None,
        emit: str = "end",
    ) -> "Windowed":
        """Every `rows` rows of a `by`, in the order they came."""
        return columns.windows.by_count(
            self, rows, by, capacity=capacity, when_full=when_full, ttl=ttl, emit=emit
        )

    def repartition(self, *, by: Any) -> "Stream":
        """The same rows. A run in parts divides them anew by the field `by`: where what an operator
        made has another key than what came in. See docs/PARTITIONS.md."""
        from onetape.engine.stages import repartition

        return repartition(self, by)

    def asof_join(
        self,
        other: "Stream",
        *,
        by: Any,
        max_age: str | int | None = None,
        strictly: bool = False,
        suffix: str = "_right",
        order: str = "arrival",
        capacity: int = 1 << 16,
        when_full: str = HALT,
        ttl: str | int | None = None,
    ) -> "Stream":
        """Each row with the last row of `other` that came before it, of the same key.

        strictly  of an earlier message: a trade with the quote it met, not the one it left behind
        order     "event_time": before it by event time; both sides wait for the watermark
        """
        return columns.asof.asof_join(
            self,
            other,
            by=by,
            max_age=max_age,
            strictly=strictly,
            suffix=suffix,
            order=order,
            capacity=capacity,
            when_full=when_full,
            ttl=ttl,
        )

    def interval_join(
        self,
        other: "Stream",
        *,
        by: Any,
        within: tuple[str | int, str | int],
        how: str = "inner",
        at_most: int = 64,
        suffix: str = "_right",
        order: str = "arrival",
        capacity: int = 1 << 16,
    ) -> "JoinedStream":
        """Each pair of rows of one key of which `other`'s is `within` later: ("-5ms", "2s").

        how       "left": rows without a partner too, when that is sure; "anti": only those
        at_most   partners of one row; with more the pipeline halts
        capacity  rows kept of a side; with more the pipeline halts
        """
        return columns.interval_join.interval_join(
            self,
            other,
            by=by,
            within=within,
            how=how,
            at_most=at_most,
            suffix=suffix,
            order=order,
            capacity=capacity,
        )

    def lookup(
        self,
        table: "ReferenceTable",
        *,
        how: str = "inner",
        as_of: str = "arrival",
        versions: int = 4,
        suffix: str = "_right",
        order: str = "arrival",
    ) -> "LookedUpStream":
        """Each row with what the table says of its key: see `onetape.table`.

        how    "left": rows of which the table says nothing too, unset there
        as_of  "event_time": the version that was in force at the row's time, of the `versions`
               kept of a key; else the newest that has come
        """
        return columns.lookups.lookup(
            self, table, how=how, as_of=as_of, versions=versions, suffix=suffix, order=order
        )

    def alert(
        self,
        text: str,
        *,
        severity: str = "warn",
        once_per: str | int = 0,
        by: Any = "instrument_id",
        capacity: int = 1 << 16,
        when_full: str = HALT,
        ttl: str | int | None = None,
    ) -> "Stream":
        """An Alert for each row, at most one a key in `once_per` of event time."""
        kept: Any = {"capacity": capacity, "when_full": when_full, "ttl": ttl}
        return columns.alerts.alert(self, text, severity=severity, once_per=once_per, by=by, **kept)


class Sink:
    """Where the rows of an output go: see `onetape.connect.sinks`."""

    def __new__(cls, *_: Any, **options: Any) -> "Sink":
        said = cls.__name__.removesuffix("Sink").removesuffix("File").lower()
        check_options(f"ot.{said}", options, cls.__init__)
        return super().__new__(cls)


@dataclass(frozen=True)
class UdpSink(Sink):
    """Rows leave at once, from the hot loop, as datagrams to an address.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.udp("127.0.0.1:9000"))
    ```

    Their layout is in `onetape.codecs.rows_datagram`. DeclarationError: not HOST:PORT.
    """

    address: str

    def __post_init__(self) -> None:
        host, _, port = str(self.address).rpartition(":")
        try:
            ipaddress.IPv4Address("127.0.0.1" if host == "localhost" else host)
            is_port = 0 < int(port) < 1 << 16
        except ValueError:
            is_port = False
        if not is_port:
            place = here()
            raise DeclarationError(
                place.says(f"udp was given {self.address!r}; expected HOST:PORT ('127.0.0.1:9000')")
            )


# Last: a stream offers what is built from streams.
from onetape.engine import columns, patterns  # noqa: E402
