"""Where a pipeline in parts is cut: what goes by the key, and behind it what does not.

Steps keyed by the parts' field, and those that keep nothing, run in the first stage. The others (of
another key, of all rows) and all behind them run in the second, on the rows that the first hands
over: each with the root that caused it, and with how far time had come. The second stage then does
with a row what it would have done in the middle of that root, so origins are those of one part.

    ITCH ── own keys ── trades ──┬── vwap by instrument ──► output
                                 └── Handover ═══► Handed ── totals by side ──► output
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled.timers import NEVER
from onetape.engine.columns.bind import field_name
from onetape.engine.graph import Pipeline
from onetape.engine.in_order import InOrder
from onetape.engine.node import Node
from onetape.engine.operator_node import check_key
from onetape.engine.partition import why_not_kept
from onetape.engine.sources import Source
from onetape.engine.stream import Stream
from onetape.records import UNSET, DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Field

if TYPE_CHECKING:
    from onetape.engine.planner import _Planner

# What stands in front of each row that is handed over: all that a root has.
HAND = ("watermark_ns", "reached_ns", "sequence", "key", "cause", "index")
HAND_BYTES = 8 * len(HAND)
LATE_BIT, OVER_BIT, MORE_BIT, ROOT_SHIFT, SOURCE_SHIFT, STALE_SHIFT = 1, 2, 4, 8, 16, 24
FEEDS_MAX = 32  # a bit each: has it lost messages?
INDEX_BITS = 12  # rows that one row handed over may cause


@dataclass(frozen=True, eq=False)
class Handover(Node):
    """Gives each row on with its root; `of` is the row with what is in front of it."""

    kind = "handover"

    of: Any = None

    def keyed_by(self) -> str | None:
        return ""

    def write(self, planner: _Planner, name: str, event: str) -> None:
        number = planner.number[id(self)]
        block = planner.array(f"x{number}_hand", lambda: np.zeros(1, self.of.dtype))
        hand = f"n{number}_hand"
        # All that was due when the last event came has fired; of a timer, what is due before it.
        fired = f"{settled(planner)}[0]"
        planner.text.add(
            f"{hand} = row({block}, 0)",
            f"{hand}.hand_watermark_ns = max({fired}, root_time - 1) if root == TIMER_ROOT "
            "else watermark",
            f"{hand}.hand_reached_ns = root_time",
            f"{hand}.hand_sequence = root_sequence",
            f"{hand}.hand_key = root_key",
            f"{hand}.hand_cause = root_late | ({OVER_BIT} if watermark >= FAR else 0) | "
            f"(root << {ROOT_SHIFT}) | (root_source << {SOURCE_SHIFT})"
            + "".join(
                f" | (stale{planner.number[id(source)]} << {STALE_SHIFT + bit})"
                for bit, source in enumerate(feeds_of(planner.pipeline))
            ),
            f"{hand}.hand_index = made_rows",
        )
        for field, about in self.inputs[0][1].of.fields.items():
            if about.length is None:
                planner.text.add(f"{hand}.{field} = {event}.{field}")
            else:
                with planner.text.block(f"for i in range({about.length})"):
                    planner.text.add(f"{hand}.{field}[i] = {event}.{field}[i]")
        planner.push(Stream(self, "handed", self.of), f"fixed({hand})")


def feeds_of(pipeline: Pipeline) -> list[Source]:
    return [source for source in pipeline.sources if source.feed]


def hands_over(planner: _Planner) -> bool:
    return any(isinstance(node, Handover) for node in planner.pipeline.nodes)


def settled(planner: _Planner) -> str:
    """The array that holds the watermark as the last event or gap found it."""
    return planner.array("n_settled", lambda: np.full(1, UNSET))


def settle(planner: _Planner) -> list[str]:
    """The text that notes it, where rows are handed over."""
    return [f"{settled(planner)}[0] = watermark"] if hands_over(planner) else []


def lost(planner: _Planner) -> str:
    """The array of the watermark at which each feed lost a message first: timers fire by it."""
    return planner.array("n_lost", lambda: np.full(FEEDS_MAX, NEVER))


def note_loss(planner: _Planner, source: Source, moment: str = "watermark") -> None:
    """Write that down, where rows are handed over. moment: the watermark before the message."""
    if not hands_over(planner):
        return
    bit = f"{lost(planner)}[{feeds_of(planner.pipeline).index(source)}]"
    feed = f"n{planner.number[id(source)]}_feed"
    with planner.text.block(f"if row({feed}, 0).stale != 0 and {bit} == NEVER"):
        planner.text.add(f"{bit} = {moment}")


def stale(planner: _Planner, of_row: bool) -> list[str]:
    """Behind the parts: what the row handed over says of its feeds, or a timer's time."""
    handed = [s for s in planner.pipeline.sources if isinstance(s, Handed) and s.feeds]
    if not handed:
        return []
    seen = planner.array("n_stale", lambda: np.zeros(1, np.int64))
    lines = [f"{seen}[0] |= hand.hand_cause >> {STALE_SHIFT}"]
    if not of_row:
        every = int(np.bitwise_or.reduce([s.feeds for s in handed]))
        bits = [bit for bit in range(FEEDS_MAX) if every >> bit & 1]
        lines = [
            line
            for bit in bits
            for line in (f"if due > {lost(planner)}[{bit}]:", f"    {seen}[0] |= {1 << bit}")
        ]
    for source in handed:
        number = planner.number[id(source)]
        lines.append(f"stale{number} = 1 if {seen}[0] & {source.feeds} else 0")
    return lines


@dataclass(frozen=True, eq=False)
class Repartition(Node):
    """Rows as they are; in a run in parts they go to the owners of another key."""

    kind = "repartition"

    by: str = ""

    def keyed_by(self) -> str | None:
        return self.by

    def comes_with_time(self, output: str) -> bool:
        stream = self.inputs[0][1]
        return stream.node.comes_with_time(stream.output)

    def write(self, planner: _Planner, name: str, event: str) -> None:
        planner.push(Stream(self, "rows", self.inputs[0][1].of), event)

    def lines(self, plan: Any) -> list[str]:
        return [f"in parts: by {self.by} from here on"]


def repartition(stream: Stream, by: Any) -> Stream:
    """The same rows; behind this they are divided by the field `by`."""
    field = field_name(by, stream.of, "repartition: by")
    check_key("repartition", field, stream.of)
    node = Repartition(f"repartition_{stream.node.name}", (("rows", stream),), by=field)
    return Stream(node, "rows", stream.of)


@dataclass(frozen=True, eq=False)
class Handed(Source):
    """Rows that another stage hands over; `hands` is their layout with what is in front.

    with_time  they came just when time reached them
    feeds      those that they come from, a bit each in the order of the sources
    """

    kind = "handed"

    hands: Any = None
    with_time: bool = False
    feeds: int = 0

    def comes_with_time(self, output: str) -> bool:
        return self.with_time


@dataclass(frozen=True)
class Stages:
    """The pipelines of both stages; `second` is None where all goes by the key.

    edges    {output of the first stage: the number of the source of the second that takes it}
    key      of the second stage; '': of all rows, so it is one part
    numbers  of the nodes of each, in the whole pipeline
    """

    first: Pipeline
    second: Pipeline | None
    edges: dict[str, int]
    key: str
    numbers: tuple[Any, Any]


def stages_of(pipeline: Pipeline, by: str) -> Stages:
    """Cut a pipeline behind what goes by the field `by`."""
    for node in pipeline.nodes:
        if isinstance(node, InOrder):
            raise DeclarationError(
                f"{node.name} puts rows of all keys in the order of event time, each by a timer "
                "of its own, which parts do not have; run it in one part"
            )
        if why := why_not_kept(node):
            raise DeclarationError(why)
    second = _second(pipeline, by)
    if not second:
        same = np.arange(len(pipeline.nodes), dtype=np.uint16)
        return Stages(pipeline, None, {}, "", (same, same))
    _check_order(pipeline, second)
    _check_feeds(pipeline)
    made: dict[int, Node] = {}
    firsts: list[tuple[int, Node]] = []
    seconds: list[tuple[int, Node]] = []
    outputs: dict[str, Stream] = {n: s for n, s in pipeline.outputs.items() if s.node not in second}
    sources: list[Node] = []
    edges: dict[str, int] = {}
    slack_ns = max(source.lateness_ns for source in pipeline.sources)  # as windows reckon with
    if len(pipeline.sources) > 1:
        slack_ns += 2 * max(source.idle_ns for source in pipeline.sources)
    for number, node in enumerate(pipeline.nodes):
        if node not in second:
            firsts.append((number, node))
            continue
        inputs = []
        for name, stream in node.inputs:
            if stream.node in second:
                inputs.append((name, replace(stream, node=made[id(stream.node)])))
                continue
            handover, handed = _edge(pipeline, stream, len(edges), slack_ns)
            firsts.append((number, handover))
            sources.append(handed)
            outputs[handover.name] = Stream(handover, "handed", handover.of)
            edges[handover.name] = len(edges)
            inputs.append((name, handed.stream()))
        made[id(node)] = replace(node, inputs=tuple(inputs))
        seconds.append((number, made[id(node)]))
    behind = {
        name: replace(stream, node=made[id(stream.node)])
        for name, stream in pipeline.outputs.items()
        if stream.node in second
    }
    seconds = [(0, source) for source in sources] + seconds
    keys = {node.keyed_by() for node in second} - {""}
    return Stages(
        _pipeline(outputs, firsts),
        _pipeline(behind, seconds),
        edges,
        keys.pop() or "" if len(keys) == 1 else "",
        (_numbers(firsts), _numbers(seconds)),
    )


def _second(pipeline: Pipeline, by: str) -> list[Node]:
    found: list[Node] = []
    for node in pipeline.nodes:
        if not isinstance(node, Source) and (
            isinstance(node, Repartition)
            or node.keyed_by() not in ("", by)
            or any(s.node in found for _, s in node.inputs)
        ):
            found.append(node)
    return found


def _edge(
    pipeline: Pipeline, stream: Stream, number: int, slack_ns: int
) -> tuple[Handover, Handed]:
    fields = {f"hand_{name}": Field("<i8") for name in HAND} | stream.of.fields
    of = made_record(f"{stream.of.__name__}Handed", fields)
    assert of.dtype.itemsize == HAND_BYTES + stream.of.dtype.itemsize
    name = f"handed_{number}"
    handover = Handover(name, (("rows", stream),), of=of)
    with_time = stream.node.comes_with_time(stream.output)
    sources = _sources_of(stream.node)
    feeds = [bit for bit, source in enumerate(feeds_of(pipeline)) if source in sources]
    return handover, Handed(
        name,
        of=stream.of,
        hands=of.dtype,
        with_time=with_time,
        feeds=sum(1 << bit for bit in feeds),
        lateness_ns=slack_ns,
        idle_ns=0,
    )


def _sources_of(node: Node) -> set[Node]:
    if isinstance(node, Source):
        return {node}
    return set().union(*(_sources_of(stream.node) for _, stream in node.inputs))


def _pipeline(outputs: dict[str, Stream], nodes: list[tuple[int, Node]]) -> Pipeline:
    """With its nodes in the order of the whole pipeline: rows are made in that order."""
    made = Pipeline(**outputs)
    made.nodes[:] = [node for _, node in nodes]
    made.sources[:] = [node for node in made.nodes if isinstance(node, Source)]
    return made


def _numbers(nodes: list[tuple[int, Node]]) -> Any:
    return np.array([number for number, _ in nodes], np.uint16)


def _check_order(pipeline: Pipeline, second: list[Node]) -> None:
    """At one time timers fire in the order of the steps: those of the first stage come first."""
    timed = [node for node in pipeline.nodes if node.is_timed()]
    behind = [node for node in timed if node in second]
    for node in timed:
        if node not in second and behind and timed.index(node) > timed.index(behind[0]):
            raise DeclarationError(
                f"{behind[0].name} runs behind the parts and stands before {node.name} in the "
                "pipeline, and both have timers; name the outputs of what goes by the parts' key "
                "first, in Pipeline(...)"
            )


def _check_feeds(pipeline: Pipeline) -> None:
    if len(feeds_of(pipeline)) > FEEDS_MAX:
        raise DeclarationError(
            f"{len(feeds_of(pipeline))} feeds; rows of at most {FEEDS_MAX} are handed over"
        )
    for source in pipeline.sources:
        if source.feed and source.feed != "itch":
            raise DeclarationError(f"{source.name}: rows of {source.feed} are not handed over")
