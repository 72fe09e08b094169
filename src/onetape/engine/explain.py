"""What a pipeline is made of: its graph, its state and capacities, the room a root may need."""

from collections import defaultdict
from typing import Any

from onetape.engine.columns.rows import Filter, Select, Symbols
from onetape.engine.graph import Merge, OperatorNode, Source
from onetape.engine.planner import Plan
from onetape.engine.settings import shown_settings
from onetape.engine.window import Aggregating, Window


def explain(plan: Plan) -> dict[str, Any]:
    """The facts, as plain data (JSON-ready). Allocates nothing for good."""
    reserved: dict[str, int] = defaultdict(int)
    for name, make in plan.arrays.items():
        if name[0] == "n":
            reserved[name.split("_")[0]] += make().nbytes
    nodes = []
    for number, node in enumerate(plan.pipeline.nodes):
        label = f"n{number}"
        nodes.append(
            {
                "id": label,
                "name": node.name,
                "kind": _kind(node),
                "inputs": [f"{name}: {s.node.name}.{s.output}" for name, s in node.inputs],
                "detail": _detail(node, plan),
                "reserved_bytes": reserved.get(label, 0),
            }
        )
    return {
        "nodes": nodes,
        "outputs": {
            name: {"record": s.of.__name__, "row_bytes": s.of.dtype.itemsize, "from": s.node.name}
            for name, s in plan.pipeline.outputs.items()
        },
        "reserved_bytes": sum(reserved.values()),
        "driver_lines": plan.text.count("\n"),
    }


def text(plan: Plan, *, driver: bool = False) -> str:
    """`explain` for people; with the driver's source if asked."""
    facts = explain(plan)
    lines = ["nodes"]
    for node in facts["nodes"]:
        inputs = f"  <- {', '.join(node['inputs'])}" if node["inputs"] else ""
        lines.append(f"  {node['id']:4s} {node['kind']:9s} {node['name']}{inputs}")
        for line in node["detail"]:
            lines.append(f"         {line}")
        if node["reserved_bytes"]:
            lines.append(f"         reserves {_size(node['reserved_bytes'])} of address space")
    lines.append("outputs")
    for name, output in facts["outputs"].items():
        lines.append(
            f"  {name:14s} {output['record']} of {output['row_bytes']} bytes, from {output['from']}"
        )
    lines.append(
        f"state reserves {_size(facts['reserved_bytes'])} in all; memory is used as keys appear. "
        f"Driver: {facts['driver_lines']} lines" + ("" if driver else " (--driver prints them)")
    )
    if driver:
        lines += ["", plan.text]
    return "\n".join(lines)


def _kind(node: Any) -> str:
    names = {Source: "source", Merge: "merge", Window: "window", OperatorNode: "operator"}
    return names.get(type(node)) or type(node).__name__.lower()


def _detail(node: Any, plan: Plan) -> list[str]:
    if isinstance(node, Source):
        framing = f", {node.feed} in {plan.framing[node.name]}" if node.feed else ""
        framing += f" of {node.channel.instrument}" if node.channel else ""
        return [
            f"{node.of.__name__}{framing}; lateness {node.lateness_ns} ns, "
            f"idle after {node.idle_ns} ns"
        ]
    if isinstance(node, Aggregating):
        return [
            f"{node.spans()} by {node.key}",
            f"at most {node.capacity:,} keys; at capacity the pipeline halts and says so",
        ]
    if isinstance(node, OperatorNode) and node.tick is not None:
        return [f"prices in ticks of {node.tick:f}; what is not on that grid is refused, counted"]
    if isinstance(node, OperatorNode):
        lines = []
        known = node.spec.settings()
        shown = [
            f"{name}={value}" + (f" {known[name][1].name}" if known[name][1] else "")
            for name, value in shown_settings(node).items()
        ]
        if shown:
            lines.append("settings " + ", ".join(shown))
        if node.spec.state is not None or node.spec.tables:
            limits = ", ".join(f"{v:,} {k}" for k, v in node.capacity.items())
            by = f"by {node.spec.key}; " if node.spec.key else ""
            if limits:
                lines.append(f"{by}at most {limits}; at capacity the pipeline halts and says so")
        return lines
    if isinstance(node, Filter | Select | Symbols):
        return node.lines()
    return []


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}"
        count //= 1024
    return ""
