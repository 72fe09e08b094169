"""The pipeline graph: a value. Nothing runs until a runtime takes it.

Sources, operators, windows and the rest are nodes (`node.py` says what a node is); a `Stream` is
one output of a node. Nodes can only be made from streams that exist, so a graph has no cycles by
construction.
"""

import typing
from dataclasses import dataclass

from onetape.engine.in_order import in_order
from onetape.engine.node import Node
from onetape.engine.operator_node import Operator, OperatorNode, Outputs, check_key, operator
from onetape.engine.operators import UpTo
from onetape.engine.sources import Source, records_source
from onetape.engine.stream import Sink, Stream, UdpSink
from onetape.records import DeclarationError, snake_name

if typing.TYPE_CHECKING:
    from onetape.engine.planner import _Planner

__all__ = [
    "Merge",
    "Node",
    "Operator",
    "OperatorNode",
    "Outputs",
    "Pipeline",
    "Sink",
    "Source",
    "Stream",
    "UdpSink",
    "UpTo",
    "check_key",
    "merge",
    "operator",
    "records_source",
]


@dataclass(frozen=True, eq=False)
class Merge(Node):
    """Streams of one record type as one, in the order the events happen to be made."""

    kind = "merge"

    def passes(self, field: str) -> bool:
        return True

    def keyed_by(self) -> str | None:
        return ""

    def write(self, planner: "_Planner", name: str, event: str) -> None:
        planner.push(Stream(self, "merged", self.inputs[0][1].of), event)

    def comes_with_time(self, output: str) -> bool:
        return all(stream.node.comes_with_time(stream.output) for _, stream in self.inputs)


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
        self.code: typing.Any = None  # the files it was loaded from: see `onetape.runtimes.code`
        self.nodes = _in_order(outputs.values())
        self.sources = [n for n in self.nodes if isinstance(n, Source)]
        self.rules = _rules(self.nodes)

    def __repr__(self) -> str:
        return f"<pipeline {' '.join(self.outputs)}: {len(self.nodes)} nodes>"


class MergedStream(Stream):
    """What `merge` gives; `.late` is the stream of rows that came too late to be put in order."""

    @property
    def late(self) -> Stream:
        return merge(*(stream.node.late(stream.output) for _, stream in self.node.inputs))  # type: ignore[attr-defined]


def merge(*streams: Stream, order: str = "arrival", capacity: int = 1 << 16) -> Stream:
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
    node = Merge(f"merge_{snake_name(of)}", tuple(inputs.items()))
    return (MergedStream if order != "arrival" else Stream)(node, "merged", of)


def _rules(nodes: list[Node]) -> dict[int, str]:
    """The texts of alerts by the number of their rule."""
    rules: dict[int, str] = {}
    for node in nodes:
        number, text = getattr(node.code(), "__alert_rule__", (0, ""))
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
    sources.sort(key=lambda source: source.feed is None)  # a feed before tables beside it
    return sources + [n for n in seen.values() if not isinstance(n, Source)]
