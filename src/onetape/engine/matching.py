"""Which step of a new version stands for which of the old one, and what must be alike in both.

A node is known by its kind and name, with its parameters at its place in the graph, if there is
such a one before; else at its place; else by kind and name alone; then in order, and only if there
are as many as before.
"""

import dataclasses
from typing import Any

from onetape.engine.graph import Node, OperatorNode, Pipeline, Source
from onetape.engine.planner import Plan


def matched(before: Pipeline, after: Pipeline) -> dict[int, int]:
    """{number of a node: number of the node before that it succeeds}."""
    known: dict[Any, int] = {}
    old, new = _places(before, known), _places(after, known)
    pairs: dict[int, int] = {}
    for precision in range(3):
        theirs = _grouped(old, precision, set(pairs.values()))
        for key, mine in _grouped(new, precision, set(pairs)).items():
            if precision == 0 or len(mine) == len(theirs.get(key, [])):  # else it were a guess
                pairs |= dict(zip(mine, theirs.get(key, [])))
    return pairs


def _grouped(places: list[Any], precision: int, done: set[int]) -> dict[Any, list[int]]:
    """{what nodes are known by: numbers of those that are not done}."""
    found: dict[Any, list[int]] = {}
    for number, keys in enumerate(places):
        if number not in done:
            found.setdefault(keys[precision], []).append(number)
    return found


def _places(pipeline: Pipeline, known: dict[Any, int]) -> list[tuple[Any, Any, Any]]:
    """Of each node what it is known by, the most exact first."""
    at: dict[int, int] = {}
    found = []
    for node in pipeline.nodes:
        inputs = tuple((name, s.output, at[id(s.node)]) for name, s in node.inputs)
        kind = (type(node).__name__, node.name)
        place = known.setdefault((*kind, inputs), len(known))
        at[id(node)] = place
        given = sorted((parameters(node) | node.manifest() | node.meaning()).items())
        found.append(((place, repr(given)), place, kind))
    return found


def parameters(node: Node) -> dict[str, Any]:
    """What a window or the like was made with, by which its state is laid out."""
    values = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
    left_out = ("name", "tick", "capacity")
    return {n: v for n, v in values.items() if isinstance(v, int | str) and n not in left_out}


def other_sources(old: Plan, new: Plan) -> list[str]:
    """The tape's frames are for the sources that it began with."""
    was, now = ([_source(plan, s) for s in plan.pipeline.sources] for plan in (old, new))
    if was == now:
        return []
    return [
        f"its sources are {'; '.join(now)}, of the running one {'; '.join(was)}: a tape keeps its "
        "sources, in their order (that of the outputs that need them)"
    ]


def _source(plan: Plan, source: Source) -> str:
    kind = f"{source.feed} in {plan.framing[source.name]}" if source.feed else _said(source.of)
    return f"{source.name} ({kind}, patience {source.patience_ns} ns)"


def other_records(before: Pipeline, after: Pipeline) -> list[str]:
    """An output's name stands for its record: who reads it knows no other."""
    said = []
    for name in before.outputs.keys() & after.outputs.keys():
        was, now = before.outputs[name].of, after.outputs[name].of
        if was.dtype != now.dtype:
            said.append(
                f"output {name!r} was {_said(was)} and is {_said(now)}: give it another name"
            )
    return sorted(said)


def _said(of: Any) -> str:
    return f"{of.__name__}({', '.join(of.dtype.names)})"


def differs(before: Any, node: Any) -> str:
    """Why a node's state means something else than that of the node before it, if it does."""
    if isinstance(node, OperatorNode):
        was, now = before.spec.key, node.spec.key
        return "" if was == now else f"was kept by {was} and is by {now}"
    was, now = (n.meaning() | parameters(n) for n in (before, node))
    odd = [n for n in now if was.get(n) != now[n]]
    if isinstance(node, Source) or not odd:
        return ""
    said = [f"{n} ({was.get(n)}) and would be read with ({now[n]})" for n in odd]
    return f"cannot go on: it was kept with {', and with '.join(said)}"
