"""`onetape schema`: the schemas of a pipeline's outputs, shown, checked, put into a registry."""

import argparse
import json
from typing import Any

from onetape.connect.registry import Registry
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.records.compatibility import MODES
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.schemas import KINDS, Verdict, judged, register

DESCRIPTION = """\
The schemas of a pipeline's outputs, for those who read its topics.

  show      print them: Avro as JSON, or Protobuf, or JSON schema
  check     may they follow what the registry has? Names each field that may not change so
  register  check them, and put those that are new into the registry

The rule is --compatibility, else what the registry has for the subject or for all; where that is
nothing or none, backward: who has the new schema can read what was written with the one before.
forward is the other way round, full is both, and ..._transitive means all versions before. register
--compatibility also sets the rule in the registry. An output's subject is its topic with -value
behind: TOPIC.output, or the output's name without --topic-out. Of Protobuf there is one rule: no
field gets another's number.

Who we are: https://USER:PASSWORD@HOST, or ONETAPE_REGISTRY_AUTH=USER:PASSWORD; TLS:
ONETAPE_REGISTRY_CA=FILE, ONETAPE_REGISTRY_CERT=FILE.

Exit status: 0 done, 1 a schema may not follow, or the registry refuses.
"""
EXAMPLES = """\
examples:
  onetape schema show pipeline.py --output alert
  onetape schema show pipeline.py --encoding-out protobuf
  onetape schema check pipeline.py --registry http://127.0.0.1:8081
  onetape schema register pipeline.py --registry http://127.0.0.1:8080/apis/ccompat/v7 \\
      --compatibility full
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "schema",
        help="show the schemas of a pipeline's outputs, check and register them",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "action",
        choices=["show", "check", "register"],
        metavar="ACTION",
        help="show, check or register",
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    add_topic_options(parser)
    parser.add_argument("--output", metavar="NAME", help="show: only this one")
    add_registry_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def add_topic_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--topic-out", metavar="TOPIC", help="where outputs go, as TOPIC.output: of their subjects"
    )
    parser.add_argument(
        "--encoding-out", choices=KINDS, default="avro", help="of rows there (default: avro)"
    )


def add_registry_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", metavar="URL", help="a schema registry (Confluent's API)")
    parser.add_argument(
        "--compatibility",
        choices=MODES,
        metavar="RULE",
        help=f"{', '.join(MODES)}; as the registry says if not given",
    )


def run(args: argparse.Namespace) -> int:
    pipeline = load_pipeline(args.pipeline)
    if args.action == "show":
        return _show(pipeline, args)
    if args.registry is None:
        raise OperatorError(f"which registry? onetape schema {args.action} PIPELINE --registry URL")
    registry = Registry(args.registry)
    where = (args.topic_out, args.encoding_out)
    verdicts = judged(pipeline, registry, args.compatibility, *where)
    is_good = not any(verdict.problems for verdict in verdicts)
    ids: dict[str, int] = {}
    if args.action == "register" and is_good:
        _set_rule(registry, args.compatibility, [v.subject for v in verdicts if v.before])
        ids = register(pipeline, registry, *where)
        _set_rule(registry, args.compatibility, [v.subject for v in verdicts if not v.before])
    if args.json:
        told = [_told(verdict) | {"id": ids.get(verdict.output)} for verdict in verdicts]
        print(json.dumps({"outputs": told}))
    else:
        print("\n".join(lines_of(verdicts, ids)))
    return 0 if is_good else 1


def _set_rule(registry: Registry, mode: str | None, subjects: list[str]) -> None:
    for subject in subjects if mode else []:
        registry.set_compatibility(str(mode), subject)


def lines_of(verdicts: list[Verdict], ids: dict[str, int]) -> list[str]:
    """A line an output, and one a problem."""
    width = max(len(verdict.subject) for verdict in verdicts)
    lines = []
    for verdict in verdicts:
        if verdict.problems:
            what = f"may not follow ({verdict.mode})"
        elif verdict.version is not None:
            what = f"is version {verdict.version}"
        elif verdict.before:
            what = f"may follow ({verdict.mode})"
        else:
            what = "is the first"
        number = f", id {ids[verdict.output]}" if verdict.output in ids else ""
        lines.append(f"{verdict.subject:{width}s}  {what}{number}")
        lines += [f"  {one.says}" for one in verdict.problems]
    return lines


def _told(verdict: Verdict) -> dict[str, Any]:
    return vars(verdict) | {"problems": [vars(one) for one in verdict.problems]}


def _show(pipeline: Pipeline, args: argparse.Namespace) -> int:
    if args.output is not None and args.output not in pipeline.outputs:
        raise OperatorError(
            f"no output {args.output!r}; the pipeline has {', '.join(pipeline.outputs)}"
        )
    names = list(pipeline.outputs) if args.output is None else [args.output]
    schema_of = KINDS[args.encoding_out][1]
    found = {name: schema_of(pipeline.outputs[name].of) for name in names}
    if args.json or (args.encoding_out != "protobuf" and args.output is None):
        print(json.dumps(found, indent=None if args.json else 2))
    elif args.encoding_out == "protobuf":
        print("\n".join(f"// {name}\n{text}" for name, text in found.items()))
    else:
        print(json.dumps(found[args.output], indent=2))
    return 0
