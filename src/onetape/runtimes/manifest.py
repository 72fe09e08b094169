"""The manifest: what code reads a tape. With it and the tape a replay needs nothing else.

The sources of the operators and the generated driver are stored beside the tape by their hash.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan
from onetape.records import IntegrityError, OperatorError

RESULT = "result.json"  # beside the tape: what the run that made it came to


def manifest_of(
    plan: Plan, midnight_ns: int, origin: dict[str, Any], version: str = ""
) -> dict[str, Any]:
    """The code and the settings of a plan, as JSON-ready data.

    version   the name under which its files are kept beside the tape: see `code.py`
    """
    operators = []
    for number, node in enumerate(plan.pipeline.nodes):
        entry: dict[str, Any] = {"id": f"n{number}", "name": node.name}
        entry |= node.manifest()
        operators.append(entry)
    return {
        "driver": plan.driver,
        "framing": plan.framing,
        "midnight_ns": midnight_ns,
        "sources": sources_of(plan.pipeline),
        "outputs": {n: s.of.__name__ for n, s in plan.pipeline.outputs.items()},
        "operators": operators,
        "origin": origin,
        "version": version,
    }


def sources_of(pipeline: Pipeline) -> list[dict[str, Any]]:
    """What its sources read, in the order in which frames number them, as JSON-ready data.

    feed    the codec of a feed; "" for records, whose layout is in `fields`
    """
    return [
        {
            "name": source.name,
            "feed": source.feed or "",
            "fields": [] if source.feed else json.loads(json.dumps(source.of.dtype.descr)),
        }
        for source in pipeline.sources
    ]


def check_sources(pipeline: Pipeline, tape: str | Path, manifest: dict[str, Any]) -> None:
    """The tape's frames are for the sources it was recorded from; this pipeline must read those.

    It may leave out the last ones, whose frames are passed over. A tape that does not tell its
    sources is judged by their names alone, which it always has.
    """
    now = sources_of(pipeline)
    if "sources" in manifest:
        was = manifest["sources"]
    else:
        was = [{"name": name} for name in manifest["framing"]]
    known = [{name: one[name] for name in then} for one, then in zip(now, was, strict=False)]
    if (len(now) <= len(was) and known == was[: len(now)]) or not was:
        return
    raise OperatorError(
        f"{tape} was recorded from the sources {_said(was)}, and the pipeline reads {_said(now)}; "
        "give the pipeline that it was recorded with, or a tape of these sources"
    )


def _said(sources: list[dict[str, Any]]) -> str:
    """Names, each with what it reads."""
    said = []
    for one in sources:
        fields = ", ".join(f"{field[0]} {field[1]}" for field in one.get("fields", []))
        said.append(f"{one['name']} ({one.get('feed') or fields})" if len(one) > 1 else one["name"])
    return ", ".join(said)


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
