"""A graph in parts by key: each part reads all of the input and keeps the keys that are its own.

    part = partitioned(pipeline, by="instrument_id")     # one graph, compiled once
    engine = Engine(plan(part.pipeline, placed=True)); part.assign(engine, part=0, parts=2)

Every part decodes every message, so watermarks, lateness, gaps, ordinals and the moments at which
timers fire are those of a run in one part; behind each source only a key's owner goes on. Dividing
the bytes beforehand would have to carry all of that along, and costs more than to decode them.

A key may not change its owner on the way: a step keyed by the same field checks that its rows are
the part's own, and stops the run where an operator made rows of another key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.codecs.sharding import owner
from onetape.compiled.kernel import kernel
from onetape.engine import layout
from onetape.engine.columns.rows import Symbols
from onetape.engine.graph import Pipeline
from onetape.engine.node import Node
from onetape.engine.sources import Source
from onetape.engine.stream import Stream
from onetape.records import DeclarationError

if TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import _Planner

BY = "instrument_id"
ANOTHER_KEY = "a row of a key that another part owns; say .repartition(by=...) in front of the step"
PARTS_MAX = 256


@kernel
def check_own(key, part, parts):
    if owner(key, parts) != part:
        raise ValueError(ANOTHER_KEY)


@dataclass(frozen=True, eq=False)
class Own(Node):
    """Rows of the keys that the part owns; others are passed over, or stop the run (`is_check`).

    by  the key's field; '': the stream has none, and belongs to the first part
    """

    kind = "own keys"

    by: str = ""
    is_check: bool = False

    def keyed_by(self) -> str | None:
        return ""

    def comes_with_time(self, output: str) -> bool:
        stream = self.inputs[0][1]
        return stream.node.comes_with_time(stream.output)

    def write(self, planner: _Planner, name: str, event: str) -> None:
        of = self.inputs[0][1].of
        mine = planner.array("n_part", lambda: np.array([0, 1]))
        rows = Stream(self, "rows", of)
        if self.is_check:
            check = planner.name("check_own", check_own)
            planner.text.add(f"r.node = {planner.number[id(self)]}")
            planner.text.add(f"{check}({event}.{self.by}, {mine}[0], {mine}[1])")
            planner.push(rows, event)
            return
        which = f"{planner.name('owner', owner)}({event}.{self.by}, {mine}[1])" if self.by else "0"
        with planner.text.block(f"if {which} == {mine}[0]"):
            planner.push(rows, event)


@dataclass(frozen=True)
class Partitioned:
    """The graph of a part. `numbers[n]` is the number that its node n has in the whole pipeline."""

    pipeline: Pipeline
    by: str
    numbers: Any

    def assign(self, engine: Engine, part: int, parts: int) -> None:
        """Make an engine of this graph one part of several. Before its first frame."""
        engine.arrays["n_part"][:] = part, parts


def partitioned(pipeline: Pipeline, by: str = BY) -> Partitioned:
    """The graph of one part; DeclarationError names the step that does not go by the key."""
    if len(pipeline.nodes) * 2 > layout.ROOT_NODES_MAX:
        raise DeclarationError(f"{len(pipeline.nodes)} steps; at most {layout.ROOT_NODES_MAX // 2}")
    if not any(by in source.of.fields for source in pipeline.sources):
        names = ", ".join(f"{source.name} ({source.of.__name__})" for source in pipeline.sources)
        raise DeclarationError(f"no source has a field {by!r} to divide it by; there are {names}")
    made: dict[int, Node] = {}
    nodes: list[Node] = list(pipeline.sources)
    old: list[int] = list(range(len(nodes)))
    own: dict[tuple[int, str], Stream] = {}

    def taken(stream: Stream) -> Stream:
        """What a step of the part takes where that of the whole takes `stream`."""
        if not isinstance(stream.node, Source | Symbols):
            return replace(stream, node=made[id(stream.node)])
        where = (id(stream.node), stream.output)
        if where not in own:
            key = by if by in stream.of.fields else ""
            node = Own(f"own_{stream.node.name}", (("rows", stream),), by=key)
            add(node, pipeline.nodes.index(stream.node))
            own[where] = Stream(node, "rows", stream.of)
        return replace(own[where], sinks=stream.sinks)

    def add(node: Node, number: int) -> None:
        nodes.append(node)
        old.append(number)

    for number, node in enumerate(pipeline.nodes):
        if isinstance(node, Source):
            continue
        if isinstance(node, Symbols):  # it looks its symbols up in the source in front of it
            add(node, number)
            continue
        keyed = node.keyed_by()
        if keyed is None or (keyed and keyed != by):
            raise DeclarationError(_why_not(node, keyed, by))
        if why := why_not_kept(node):
            raise DeclarationError(why)
        inputs = []
        for name, stream in node.inputs:
            source = taken(stream)
            if keyed and not isinstance(source.node, Own):
                check = Own(f"own_{node.name}", (("rows", source),), by=by, is_check=True)
                add(check, number)
                source = Stream(check, "rows", stream.of)
            inputs.append((name, source))
        made[id(node)] = replace(node, inputs=tuple(inputs))
        add(made[id(node)], number)
    whole = Pipeline(**{name: taken(stream) for name, stream in pipeline.outputs.items()})
    # In the order of the whole pipeline: rows are made in that order, and frames number sources.
    whole.nodes[:], whole.sources[:] = nodes, pipeline.sources
    return Partitioned(whole, by, np.array(old, np.uint16))


def why_not_kept(node: Node) -> str:
    """Why a step's keys are not kept in parts as in one part; '' where they are."""
    if node.keeping.is_plain and not node.keeping.memory_bytes:
        return ""
    return (
        f"{node.name} forgets keys, refuses them or puts them away (ttl=, when_full=, memory=): "
        "which ones depends on all of them, in the order they come; run it in one part, or say "
        "none of these"
    )


def _why_not(node: Node, keyed: str | None, by: str) -> str:
    if keyed is None:
        return (
            f"{node.name} ({node.kind}) works on rows of all keys in the order they come, which "
            f"parts by {by} do not have; run it in one part"
        )
    return (
        f"{node.name} is keyed by {keyed!r}, and the parts are by {by!r}; divide by {keyed!r} if "
        "the sources have it, or run it in one part"
    )
