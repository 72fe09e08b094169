"""Other settings for the operators of a pipeline that is there: what `--set` and a file say.

    with_settings(pipeline, {"LeadLag.edge": 5, "LeadLag.max_age": "10ms"})

A value is a whole number, or text in the setting's own unit. All uses of an operator get it.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from onetape.engine.graph import Node, OperatorNode, Pipeline
from onetape.engine.operator_node import resolved
from onetape.records import DeclarationError, OperatorError


def with_settings(pipeline: Pipeline, given: Mapping[str, Any]) -> Pipeline:
    """The same pipeline, with these settings; OperatorError names what is nearest to a mistake.

    given  {"Operator.setting": value}
    """
    known = settable(pipeline)
    by_operator: dict[str, dict[str, Any]] = {}
    for path, value in given.items():
        operator, dot, setting = path.partition(".")
        if not dot or not operator or not setting:
            raise OperatorError(
                f"setting {path!r}; expected OPERATOR.SETTING=VALUE ({_some(known)})"
            )
        if operator not in known:
            raise OperatorError(
                f"setting {path!r}: the pipeline has no operator {operator!r} with settings"
                f"{_near(operator, known)}"
            )
        if setting not in known[operator]:
            raise OperatorError(
                f"setting {path!r}: {operator} has no setting {setting!r}"
                f"{_near(setting, known[operator])}"
            )
        by_operator.setdefault(operator, {})[setting] = value
    if not by_operator:
        return pipeline
    made: dict[int, Node] = {}
    for node in pipeline.nodes:  # inputs come first
        made[id(node)] = _changed(node, made, by_operator)
    return Pipeline(
        **{name: replace(s, node=made[id(s.node)]) for name, s in pipeline.outputs.items()}
    )


def settable(pipeline: Pipeline) -> dict[str, dict[str, int]]:
    """{operator: {setting: its value}} of all that may be set; a grid is part of its feed."""
    return {
        node.name: node.shown_settings()
        for node in pipeline.nodes
        if isinstance(node, OperatorNode) and node.shown_settings() and node.tick is None
    }


def _changed(node: Node, made: dict[int, Node], given: dict[str, dict[str, Any]]) -> Node:
    inputs = tuple((name, replace(s, node=made[id(s.node)])) for name, s in node.inputs)
    if isinstance(node, OperatorNode) and node.name in given and node.tick is None:
        try:
            units = {name: unit for name, (_, unit) in node.spec.settings().items()}
            new = {n: v if units[n] else _whole(v) for n, v in given[node.name].items()}
            settings = resolved(node.spec, node.settings | new)
        except DeclarationError as error:
            raise OperatorError(str(error)) from None
        return replace(node, inputs=inputs, settings=settings)
    changed = any(new.node is not old.node for (_, new), (_, old) in zip(inputs, node.inputs))
    return replace(node, inputs=inputs) if changed else node


def _whole(value: Any) -> Any:
    """The number of a text that is one; else the value as it is, for the check to refuse."""
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _near(name: str, known: Iterable[str]) -> str:
    words = list(known)
    near = difflib.get_close_matches(name, words, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{hint}; it has {', '.join(words) or 'none'}"


def _some(known: dict[str, dict[str, int]]) -> str:
    names = [f"{operator}.{setting}" for operator, of in known.items() for setting in of]
    return ", ".join(names) or "the pipeline has no settings"
