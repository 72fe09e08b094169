"""The manifest: what code reads a tape. With it and the tape a replay needs nothing else.

The sources of the operators and the generated driver are stored beside the tape by their hash.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from onetape.engine.planner import Plan
from onetape.records import IntegrityError, OperatorError

RESULT = "result.json"  # beside the tape: what the run that made it came to


def manifest_of(plan: Plan, midnight_ns: int, origin: dict[str, Any]) -> dict[str, Any]:
    """The code and the settings of a plan, as JSON-ready data."""
    operators = []
    for number, node in enumerate(plan.pipeline.nodes):
        entry: dict[str, Any] = {"id": f"n{number}", "name": node.name}
        entry |= node.manifest()
        operators.append(entry)
    return {
        "driver": plan.driver,
        "framing": plan.framing,
        "midnight_ns": midnight_ns,
        "outputs": {n: s.of.__name__ for n, s in plan.pipeline.outputs.items()},
        "operators": operators,
        "origin": origin,
    }


def code_of(plan: Plan) -> dict[str, str]:
    """{name: source} of the driver and of each operator and aggregate it calls."""
    code = {"driver": plan.text}
    for number, node in enumerate(plan.pipeline.nodes):
        if node.code() is not None:
            code[f"n{number}"] = _source(node.code())
    return code


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return ""  # declared at a prompt: there is no file to read it from


def write_result(folder: Path, facts: dict[str, Any]) -> None:
    """Leave what a run came to beside its tape."""
    temporary = folder / f".{RESULT}.partial"
    temporary.write_text(json.dumps(facts, indent=1))
    temporary.replace(folder / RESULT)


def read_result(folder: Path) -> dict[str, Any] | None:
    """What the run that made the tape came to; None if it did not end by itself."""
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise IntegrityError(f"{path} is damaged: {error}; delete it to go on without") from None
    if not isinstance(found, dict):
        raise OperatorError(f"{path} is not what `onetape run` leaves there")
    return found
