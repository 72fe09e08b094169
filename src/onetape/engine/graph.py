"""The pipeline graph: a value. Nothing runs until a runtime takes it.

Sources, operators and windows are nodes; a `Stream` is one output of a node. Nodes can only be
made from streams that exist, so a graph has no cycles by construction.
"""

import inspect
import ipaddress
import itertools
import typing
from dataclasses import dataclass, field, replace
from typing import Any

from onetape.codecs.feed import PATIENCE_NS
from onetape.engine.operators import OperatorSpec, UpTo, describe
from onetape.records import DeclarationError, is_record, snake_name
from onetape.records.market import Gap
from onetape.records.options import check_options
from onetape.records.places import here
from onetape.records.types import parse_duration_ns

if typing.TYPE_CHECKING:
    from onetape.engine.columns.expr import Expr
    from onetape.engine.columns.interval_join import JoinedStream
    from onetape.engine.columns.lookups import LookedUpStream, ReferenceTable
    from onetape.engine.columns.windows import Windowed

__all__ = ["Node", "Operator", "Pipeline", "Source", "Stream", "UpTo", "merge", "operator"]


@dataclass(frozen=True, eq=False)
class Node:
    """One step of a pipeline. `inputs` name the streams it takes.

    tick  what one tick is in its rows, a Decimal, where the step itself decides that
    """

    name: str
    inputs: tuple[tuple[str, "Stream"], ...] = ()
    tick: Any = field(default=None, kw_only=True)

    def expressions(self) -> list[Any]:
        """The expressions of columns in it."""
        return []


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

    def __rshift__(self, sink: "Sink") -> "Stream":
        """The same stream, as an output whose rows also leave through `sink`."""
        if not isinstance(sink, Sink):
            raise DeclarationError(
                f"{self!r} >> {sink!r}; expected a sink, such as ot.parquet('out/')"
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
        by: Any,
        capacity: int = 1 << 16,
    ) -> "Windowed":
        """Event-time windows, [start, end), moved every `every` (default: tumbling), per `by`."""
        return columns.windows.by_width(self, width, every, by, capacity)

    def session(self, gap: str | int, *, by: Any, capacity: int = 1 << 16) -> "Windowed":
        """Sessions per `by`: rows that follow one another with pauses shorter than `gap`."""
        return columns.windows.by_pause(self, gap, by, capacity)

    def batches(self, rows: int, *, by: Any, capacity: int = 1 << 16) -> "Windowed":
        """Every `rows` rows of a `by`, in the order they came."""
        return columns.windows.by_count(self, rows, by, capacity)

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
    ) -> "Stream":
        """An Alert for each row, at most one a key in `once_per` of event time."""
        return columns.alerts.alert(
            self, text, severity=severity, once_per=once_per, by=by, capacity=capacity
        )


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


@dataclass(frozen=True, eq=False)
class Source(Node):
    """Where events enter. `feed` names a codec ('itch'), or None: blocks of `of` records.

    lateness_ns  how far behind the newest an event may be before it is late
    idle_ns      how long a silent source holds back the watermark
    patience_ns  how long a feed waits for what is missing before it is given up
    table        what a runtime reads its blocks of records from, where it came with the source
    channel      what of which instrument a venue sends it: see `onetape.market.instruments`
    """

    of: Any = None
    feed: str | None = None
    url: str = ""
    lateness_ns: int = 0
    idle_ns: int = 1_000_000_000
    patience_ns: int = PATIENCE_NS
    table: Any = None
    channel: Any = None

    def __post_init__(self) -> None:
        limits = {"lateness": self.lateness_ns, "idle": self.idle_ns, "patience": self.patience_ns}
        for what, value_ns in limits.items():
            if not 0 <= value_ns < 1 << 62:
                raise DeclarationError(f"source {self.name}: {what} was {value_ns} ns; expected 0+")

    def stream(self) -> Stream:
        return Stream(self, "events", self.of)

    def gaps(self) -> Stream:
        """What a feed lacks: see `onetape.codecs.arbitration`."""
        return Stream(self, "gaps", Gap)


@dataclass(frozen=True, eq=False)
class OperatorNode(Node):
    """A use of an operator, with its settings resolved to integers."""

    spec: Any = None
    settings: dict[str, int] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)

    def stream(self, output: str) -> Stream:
        return Stream(self, output, self.spec.outputs[output].of)


@dataclass(frozen=True, eq=False)
class Merge(Node):
    """Streams of one record type as one, in the order the events happen to be made."""


class Operator:
    """A declared operator: call it with streams and settings to put it into a pipeline.

    The class or function as written is `.source`; it runs in plain Python as it stands.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        self.spec = spec
        self.source = spec.source
        self.__doc__ = spec.source.__doc__
        self.__name__ = spec.name

    def __repr__(self) -> str:
        return f"<operator {self.spec.name}>"

    def __call__(self, *streams: Stream, **named: Any) -> Any:
        """A stream (one output) or an `Outputs` (several). Inputs in order or by name."""
        node = self.node(*streams, **named)
        if len(self.spec.outputs) == 1:
            return node.stream(next(iter(self.spec.outputs)))
        return Outputs(node)

    def node(self, *streams: Stream, **named: Any) -> OperatorNode:
        spec = self.spec
        order = "arrival" if "order" in spec.inputs else named.pop("order", "arrival")
        capacity = spec.capacity | named.pop("capacity", {})
        waiting = capacity.pop("waiting", 1 << 16) if order != "arrival" else 1
        unknown = set(capacity) - set(spec.capacity)
        if unknown:
            raise DeclarationError(
                f"{spec.name}: capacity has no {sorted(unknown)}; it has {sorted(spec.capacity)}"
            )
        for name, count in capacity.items():
            if not isinstance(count, int) or count < 1:
                raise DeclarationError(
                    f"{spec.name}: capacity of {name} was {count!r}; expected 1 or more"
                )
        wired = dict(zip(spec.inputs, streams, strict=False))
        if len(streams) > len(spec.inputs):
            raise DeclarationError(
                f"{spec.name} has {len(spec.inputs)} inputs, was given {len(streams)} streams"
            )
        wired |= {name: named.pop(name) for name in list(named) if name in spec.inputs}
        missing = [name for name in spec.inputs if name not in wired]
        if missing:
            raise DeclarationError(f"{spec.name} needs a stream for input {missing[0]!r}")
        for name, stream in wired.items():
            _check_input(spec, name, stream)
        return OperatorNode(
            name=spec.name,
            inputs=tuple(in_order(spec.name, order, wired, waiting).items()),
            spec=spec,
            settings=resolved(spec, named),
            capacity=capacity,
        )


class Outputs:
    """The named outputs of an operator, as attributes."""

    def __init__(self, node: OperatorNode) -> None:
        self._node = node

    def __repr__(self) -> str:
        return f"<outputs {', '.join(self._node.spec.outputs)} of {self._node.name}>"

    def __getattr__(self, name: str) -> Stream:
        if name not in self._node.spec.outputs:
            raise AttributeError(
                f"{self._node.name} has no output {name!r}; it has "
                f"{', '.join(self._node.spec.outputs)}"
            )
        return self._node.stream(name)


def operator(thing: Any = None, *, key: str | None = None) -> Any:
    """An operator, of a function, or of a class whose annotated attributes are one key's state.

    ```python
    @ot.operator(key="instrument_id")
    class Jumps:
        last_ticks: ot.i64 = ot.UNSET

        def on_trade(self, t: mk.Trade, *, at_least: ot.Ticks = 5) -> Jump | None:
            was, self.last_ticks = self.last_ticks, t.price_ticks
            if was == ot.UNSET or abs(t.price_ticks - was) < at_least:
                return None
            return Jump(t.ts_event_ns, t.instrument_id, t.price_ticks - was)

    jumps = Jumps(trades, at_least=10)
    ```

    `on_NAME` makes an input of that name, `on_timer` runs when the state's `wake_ns` is due; what
    stands after `*` is a setting. `Jumps.source` is the class as written. DeclarationError names
    the line that cannot be.
    """
    if thing is None:
        return lambda t: Operator(describe(t, key))
    return Operator(describe(thing, key))


class MergedStream(Stream):
    """What `merge` gives; `.late` is the stream of rows that came too late to be put in order."""

    @property
    def late(self) -> Stream:
        return late_of(self)


def merge(*streams: Stream, order: str = "arrival", capacity: int = 1 << 16) -> MergedStream:
    """One stream from several of the same record type, in the order the rows are made.

    ```python
    windows = ot.merge(mk.vwap(trades, width="1s"), mk.vwap(trades, width="1m"))
    ```

    order     "event_time": by (ts_event_ns, source, sequence); rows wait for the watermark, and
              those that come too late for that go to `.late`
    capacity  how many rows may wait; with more the pipeline halts
    """
    for stream in streams:
        if not isinstance(stream, Stream):
            raise DeclarationError(f"merge was given {stream!r}; expected streams")
    kinds = {stream.of for stream in streams}
    if len(kinds) != 1:
        raise DeclarationError(
            f"merge takes streams of one record, was given {sorted(k.__name__ for k in kinds)}"
        )
    of = streams[0].of
    inputs = {f"s{i}": stream for i, stream in enumerate(streams)}
    inputs = in_order("merge", order, inputs, capacity)
    return MergedStream(Merge(f"merge_{snake_name(of)}", tuple(inputs.items())), "merged", of)


def records_source(
    of: Any,
    *,
    name: str | None = None,
    lateness: str | int = 0,
    idle: str | int = "1s",
    table: Any = None,
) -> Stream:
    """A source whose frames are blocks of `of` records; `ts_event_ns` is its event time."""
    if not is_record(of):
        raise DeclarationError(f"a source gives records, was given {of!r}")
    if "ts_event_ns" not in of._fields:
        raise DeclarationError(f"{of.__name__} has no field ts_event_ns, its event time")
    return Source(
        name=name or snake_name(of),
        of=of,
        lateness_ns=parse_duration_ns(lateness),
        idle_ns=parse_duration_ns(idle),
        table=table,
    ).stream()


class Pipeline:
    """Named outputs and all they need. A value: nothing is compiled or run by making one.

    ```python
    pipeline = ot.Pipeline(trade=trades, vwap=mk.vwap(trades))
    assert list(pipeline.outputs) == ["trade", "vwap"]
    ```
    """

    def __init__(self, **outputs: Stream) -> None:
        if not outputs:
            raise DeclarationError("a pipeline needs at least one named output")
        for name, stream in outputs.items():
            if not isinstance(stream, Stream):
                raise DeclarationError(f"output {name!r} was {stream!r}; expected a stream")
        self.outputs = outputs
        self.nodes = _in_order(outputs.values())
        self.sources = [n for n in self.nodes if isinstance(n, Source)]
        self.rules = _rules(self.nodes)

    def __repr__(self) -> str:
        return f"<pipeline {' '.join(self.outputs)}: {len(self.nodes)} nodes>"


def _rules(nodes: list[Node]) -> dict[int, str]:
    """The texts of alerts by the number of their rule."""
    rules: dict[int, str] = {}
    for node in nodes:
        source = node.spec.source if isinstance(node, OperatorNode) else None
        number, text = getattr(source, "__alert_rule__", (0, ""))
        if number and rules.setdefault(number, text) != text:
            raise DeclarationError(
                f"alerts {rules[number]!r} and {text!r} have the same rule number {number}; "
                "word one of them differently"
            )
    return rules


def _in_order(streams: typing.Iterable[Stream]) -> list[Node]:
    """All nodes that the streams need, inputs first, in a stable order."""
    seen: dict[int, Node] = {}

    def visit(node: Node) -> None:
        if id(node) not in seen:
            for _, stream in node.inputs:
                visit(stream.node)
            seen[id(node)] = node

    for stream in streams:
        visit(stream.node)
    sources = [n for n in seen.values() if isinstance(n, Source)]
    return sources + [n for n in seen.values() if not isinstance(n, Source)]


def _check_input(spec: OperatorSpec, name: str, stream: Any) -> None:
    if not isinstance(stream, Stream):
        raise DeclarationError(f"{spec.name}: input {name!r} was {stream!r}; expected a stream")
    expected = spec.inputs[name].event
    if stream.of is not expected:
        raise DeclarationError(
            f"{spec.name}: input {name!r} takes {expected.__name__}, "
            f"was given a stream of {stream.of.__name__}"
        )
    if spec.key is not None and spec.key not in stream.of._fields:
        raise DeclarationError(
            f"{spec.name} is keyed by {spec.key!r}, which {stream.of.__name__} does not have; "
            f"its fields are {', '.join(stream.of._fields)}"
        )
    if spec.key is not None:
        check_key(spec.name, spec.key, stream.of)


def check_key(name: str, key: str, of: Any) -> None:
    """A key is one integer."""
    field = of.fields[key]
    if field.length is not None or field.code == "<f8":
        raise DeclarationError(
            f"{name} is keyed by {key!r}, which is {'an array' if field.length else 'a float'} in "
            f"{of.__name__}; expected an integer field"
        )


def resolved(spec: OperatorSpec, given: dict[str, Any]) -> dict[str, int]:
    """All settings of an operator as integers in their units: those given, else the defaults."""
    known = spec.settings()
    resolved = {}
    for name in itertools.chain(known, given):
        if name not in known:
            raise DeclarationError(
                f"{spec.name} has no input or setting {name!r}; it has inputs "
                f"{', '.join(spec.inputs)} and settings {', '.join(known) or 'none'}"
            )
        default, unit = known[name]
        value = given.get(name, default)
        if value is inspect.Parameter.empty:
            raise DeclarationError(f"{spec.name} needs a value for setting {name!r}")
        try:
            value = unit.parse(value) if unit else value
        except DeclarationError as error:
            raise DeclarationError(f"{spec.name}: setting {name!r}: {error}") from None
        if isinstance(value, bool) or not isinstance(value, int):
            raise DeclarationError(
                f"{spec.name}: setting {name!r} was {value!r}; expected a whole number"
                + (f" of {unit.name}" if unit else "")
            )
        if not -(2**63) <= value < 2**63:
            raise DeclarationError(f"{spec.name}: setting {name!r} was {value}; it has 64 bits")
        resolved[name] = value
    return resolved


# Last: a stream offers what is built from streams.
from onetape.engine import columns  # noqa: E402
from onetape.engine.in_order import in_order, late_of  # noqa: E402
