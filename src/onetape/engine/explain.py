"""What a pipeline is made of: its graph, its state and capacities, the room a root may need."""

from collections import defaultdict
from typing import Any

from onetape.engine.planner import Plan


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
                "kind": node.kind,
                "inputs": [f"{name}: {s.node.name}.{s.output}" for name, s in node.inputs],
                "detail": node.lines(plan),
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
        written = {n.name: n.written() for n in plan.pipeline.nodes}
        lines += [f"# {name}\n\n{text}" for name, text in written.items() if text]
    return "\n".join(lines)


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}"
        count //= 1024
    return ""
