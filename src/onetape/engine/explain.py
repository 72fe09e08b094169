"""What a pipeline is made of: its graph, its state and capacities, the room a root may need."""

from collections import defaultdict
from typing import Any

from onetape.engine.planner import Plan


def explain(plan: Plan) -> dict[str, Any]:
    """The facts, as plain data (JSON-ready). Allocates nothing for good."""
    reserved: dict[str, int] = defaultdict(int)
    planned = {name: make().nbytes for name, make in plan.arrays.items() if name[0] == "n"}
    for name, size in planned.items():
        reserved[name.split("_")[0]] += size
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
                **_keys(node, planned.get(f"{label}_direct", 0), reserved.get(label, 0)),
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
            each = f", {node['key_bytes']:,} bytes a key" if "key_bytes" in node else ""
            size = _size(node["reserved_bytes"])
            lines.append(f"         reserves {size} of address space{each}")
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


def _keys(node: Any, direct: int, reserved: int) -> dict[str, Any]:
    """Of a node that holds keys: how many, what each takes when all are there, and then."""
    if not direct or "keys" not in node.limits():
        return {}
    keys = node.limits()["keys"]
    said = {"keys_most": keys, "key_bytes": -(-(reserved - direct) // keys)}
    return said | {"ttl_ns": node.keeping.ttl_ns, "when_full": node.keeping.when_full}


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,.0f} {unit}"
        count //= 1024
    return ""
