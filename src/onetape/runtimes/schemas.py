"""The schemas of a pipeline's outputs beside those that a registry, or a tape's versions, have.

An output's subject is its topic with `-value` behind, as the registry's clients have it. The topic
is TOPIC.output, or the output's name where none is said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onetape.connect.registry import Registry
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.records.compatibility import Problem, problems
from onetape.records.protobuf_places import place_problems
from onetape.records.schemas import avro_schema, json_schema, protobuf_text

UNSAID = "backward"  # the rule where neither the command line nor the registry has one

KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "avro": ("AVRO", avro_schema),
    "protobuf": ("PROTOBUF", protobuf_text),
    "json": ("JSON", json_schema),
}
Versions = Sequence[tuple[int, dict[str, Any]]]  # (number, Avro schema), oldest first


@dataclass(frozen=True)
class Verdict:
    """May an output's schema follow those before it?

    version  under which it is known already; None: it would be a new one
    before   how many there are
    """

    output: str
    subject: str
    mode: str
    before: int
    version: int | None
    problems: list[Problem]


def subjects_of(pipeline: Pipeline, topic: str | None = None) -> dict[str, str]:
    """{output: subject}."""
    before = "" if topic is None else f"{topic}."
    return {name: f"{before}{name}-value" for name in pipeline.outputs}


def judged(
    pipeline: Pipeline,
    registry: Registry,
    mode: str | None = None,
    topic: str | None = None,
    encoding: str = "avro",
) -> list[Verdict]:
    """Each output beside the versions of its subject, under `mode` or the registry's own rule. Of
    JSON the registry alone judges, when it is given the schema."""
    verdicts = []
    kind, schema_of = KINDS[encoding]
    for name, subject in subjects_of(pipeline, topic).items():
        of = pipeline.outputs[name].of
        rule = mode or _rule(registry, subject)
        known = registry.history(subject)
        for one in known:
            if one.kind != kind or (kind == "AVRO" and one.schema.get("type") != "record"):
                raise OperatorError(
                    f"{subject}: version {one.version} is {one.kind}, and no {kind} of a record; "
                    f"give the output {name!r} a topic of its own"
                )
        same = registry.lookup(subject, schema_of(of), kind) if known else None
        before, found = [(v.version, v.schema) for v in known], []
        if kind == "AVRO" and not same:
            found = problems(schema_of(of), before, rule)
        if kind == "PROTOBUF" and not same and rule != "none":
            found = place_problems(of, before)
        version = same.version if same else None
        verdicts.append(Verdict(name, subject, rule, len(known), version, found))
    return verdicts


def judged_by(pipeline: Pipeline, before: Sequence[Pipeline], mode: str) -> list[Verdict]:
    """Each output beside the same output of earlier versions of the pipeline."""
    verdicts = []
    for name, stream in pipeline.outputs.items():
        known: Versions = [
            (number, avro_schema(old.outputs[name].of))
            for number, old in enumerate(before, 1)
            if name in old.outputs
        ]
        found = problems(avro_schema(stream.of), known, mode)
        verdicts.append(Verdict(name, name, mode, len(known), None, found))
    return verdicts


def check(verdicts: Sequence[Verdict]) -> None:
    """OperatorError where there is a problem: all of them, each with its field."""
    found = [(verdict, one) for verdict in verdicts for one in verdict.problems]
    if found:
        lines = [f"{v.subject}, {v.mode}: {one.says}" for v, one in found]
        raise OperatorError("\n".join(["the schemas may not change like this:", *lines]))


def register(
    pipeline: Pipeline, registry: Registry, topic: str | None = None, encoding: str = "avro"
) -> dict[str, int]:
    """{output: id} of the schemas, those that are new put into the registry."""
    kind, schema_of = KINDS[encoding]
    return {
        name: registry.register(subject, schema_of(pipeline.outputs[name].of), kind)
        for name, subject in subjects_of(pipeline, topic).items()
    }


def check_and_register(
    pipeline: Pipeline,
    url: str,
    mode: str | None = None,
    topic: str | None = None,
    encoding: str = "avro",
) -> dict[str, int]:
    """What `onetape run --registry URL` does before it starts; {output: id}."""
    registry = Registry(url)
    check(judged(pipeline, registry, mode, topic, encoding))
    return register(pipeline, registry, topic, encoding)


def _rule(registry: Registry, subject: str) -> str:
    """What the registry says; "none" says nothing: Apicurio answers it where no rule was set."""
    for found in (registry.compatibility(subject), registry.compatibility()):
        if found not in (None, "none"):
            return str(found)
    return UNSAID
