"""`onetape deploy`: another version of a pipeline on a running node, without stopping it."""

import argparse
import json
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from onetape.connect.registry import Registry
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan, plan
from onetape.engine.settings import settable, with_settings
from onetape.engine.succession import succeed
from onetape.records import OperatorError
from onetape.runtimes import schemas, shadow
from onetape.runtimes.code import Code, code_at, store, stored
from onetape.runtimes.course import Versions
from onetape.runtimes.edge import control, loop
from onetape.runtimes.edge.node import OUTPUT_ROWS
from onetape.runtimes.edge.swap import check_outputs
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import parse_zero_or_more
from onetape.runtimes.schema import add_registry_options, add_topic_options
from onetape.runtimes.settings import add_options, given_by
from onetape.tape.layout import read_facts

DESCRIPTION = """\
Put another version of a pipeline in the place of the one that runs on the tape in RUN: another
file, other settings of the same (--set), or the version before (--rollback). It is compiled here,
beside the node; run in the shadow of the running one, on the same frames, and what differs in the
rows is shown; and then takes over between two frames, in less than a millisecond. No event is lost,
none is processed twice. Where it took over is on the tape: a replay, a recovery after a crash and
onetape verify switch at the same frame.

State goes on. An operator whose state has the same fields keeps it; one whose state has others
says how a key's row is filled, by migrate = "by_name" or def migrate(self, old); else the version
is refused, with the fields named. A rollback uses migrate_back in the same way.

With --registry URL the rows of the new version must be such that those who read them go on reading
them (onetape schema --help has the rules); else it is refused, with the fields named, before
anything is compiled. --compatibility alone compares with the versions that ran on this tape.

Settings go on, too: what was given with --set or --settings, when the node was started or by an
earlier deploy, holds for another file as well, until it is given anew; --reset-settings begins with
what the file says. Settings whose value changes are shown.

Exit status: 0 done (or compared only: --dry-run), 1 nothing was deployed.
"""
EXAMPLES = """\
examples:
  onetape deploy pipeline.py --to tape/
  onetape deploy tape/ --set BurstCancel.more_than=8 --yes
  onetape deploy tape/ --rollback
  onetape deploy pipeline.py --to tape/ --shadow 10 --dry-run
  onetape deploy pipeline.py --to tape/ --registry http://127.0.0.1:8081
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "deploy",
        help="put another version of a pipeline on a running node",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "pipeline", nargs="?", metavar="PIPELINE", help="a Python file, or 'standard'; or RUN"
    )
    parser.add_argument("--to", type=Path, metavar="RUN", help="folder of the node's tape")
    parser.add_argument("--rollback", action="store_true", help="the version before takes over")
    add_options(parser)
    add_registry_options(parser)
    add_topic_options(parser)
    parser.add_argument(
        "--drop-state", action="store_true", help="let state go that nothing takes over"
    )
    parser.add_argument(
        "--reset-settings", action="store_true", help="settings given before do not go on"
    )
    parser.add_argument(
        "--shadow",
        type=parse_zero_or_more,
        default=0,
        metavar="S",
        help="compare for so many seconds more; always compared: since the last checkpoint",
    )
    parser.add_argument(
        "--shadow-events", type=int, default=0, metavar="N", help="compare at least so many events"
    )
    parser.add_argument("--dry-run", action="store_true", help="compare only")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    path, folder = _named(args)
    make_way()
    progress = Progress(quiet=args.json)
    facts = control.facts_of(folder)
    code, name, planned = _new(args, path, folder, facts)
    _check_schemas(args, folder, facts, planned.pipeline)
    rules = {"back": args.rollback, "drop_state": args.drop_state}
    with progress.compiling():
        steps = prepare(folder, facts, code, planned, **rules)
    store(folder, code)
    compared = shadow.run(
        folder, facts, name, **rules, seconds=args.shadow, events=args.shadow_events
    )
    progress.close()
    changes = settings_changed(stored(folder, facts["version"]).pipeline(), planned.pipeline)
    said = {"version": name, "before": facts["version"], "steps": steps, "settings": changes}
    seen = vars(compared) | {"outputs": {n: vars(c) for n, c in compared.outputs.items()}}
    if not args.json:
        lines = [*_settings_lines(changes, code.settings), *_state_lines(steps)]
        print("\n".join([*lines, *shadow.lines_of(compared)]))
    if args.dry_run or not (args.yes or _agreed(args)):
        if args.json:
            print(json.dumps(said | {"shadow": seen, "deployed": False}))
        return 0 if args.dry_run else 1
    if args.registry is not None:
        registry = Registry(args.registry)
        schemas.register(planned.pipeline, registry, args.topic_out, args.encoding_out)
    made = control.ask(folder, {"version": name, **rules})
    if args.json:
        print(json.dumps(said | made | {"shadow": seen, "deployed": True}))
    else:
        print(
            f"version {name[:12]} runs from frame {made['offset']:,} on; the pause was "
            f"{made['pause_ns'] / 1000:,.0f} us"
        )
        if not args.rollback or len(facts["history"]) > 2:  # there is one before this one
            print(f"back: onetape deploy {folder} --rollback")
    return 0


def make_way() -> None:
    """Compiling and comparing take what the node leaves."""
    with suppress(OSError):
        os.nice(10)


def _named(args: argparse.Namespace) -> tuple[str | None, Path]:
    """(the new file or None, the run)."""
    path, folder = args.pipeline, args.to
    if folder is None and path is not None and Path(path).is_dir():
        path, folder = None, Path(args.pipeline)
    if folder is None:
        raise OperatorError("which node? onetape deploy PIPELINE --to RUN, the folder of its tape")
    own_settings = args.set or args.settings or args.reset_settings
    if args.rollback and (path or own_settings):
        raise OperatorError("--rollback is to the version before, as it was; leave out the rest")
    if path is None and not (args.rollback or own_settings):
        raise OperatorError(
            "what is new? Give a file (onetape deploy PIPELINE --to RUN), settings (--set), or "
            "--rollback"
        )
    return path, folder


def _new(
    args: argparse.Namespace, path: str | None, folder: Path, facts: dict[str, Any]
) -> tuple[Code, str, Plan]:
    """The version to deploy: (its code, its name, planned)."""
    if not facts["version"]:
        raise OperatorError(
            f"the pipeline on {folder} was not loaded from a file, so there is no way back to it; "
            "deploy works where the node was started by onetape run PIPELINE"
        )
    framing = read_facts(str(folder)).manifest["framing"]
    running = stored(folder, facts["version"])
    before = {} if args.reset_settings else running.settings
    if path is not None:
        pipeline = load_pipeline(path)
        known = settable(pipeline)
        goes_on = {n: v for n, v in before.items() if _is_of(n, known)}
        if gone := sorted(before.keys() - goes_on.keys()):
            print(f"onetape: {path} has no setting {', '.join(gone)} any more", file=sys.stderr)
        before = goes_on
        pipeline = with_settings(pipeline, before | given_by(args))
        code = code_at(path, before | given_by(args))
    elif args.rollback:
        if len(facts["history"]) < 2:
            raise OperatorError(f"{folder} has no version before the one that runs")
        code = stored(folder, facts["history"][-2])
        pipeline = code.pipeline()
    else:
        code = replace(running, settings=before | given_by(args), driver="")
        pipeline = code.pipeline()
    planned = plan(pipeline, framing, sampled=facts["sampled"])
    code = replace(code, driver=planned.driver)
    if code.name == facts["version"]:
        also = ", ".join(f"{name}={value}" for name, value in sorted(before.items()))
        also = f" ({also} was given before; --reset-settings leaves it out)" if also else ""
        raise OperatorError(f"this version runs on {folder} already{also}")
    return code, code.name, planned


def _check_schemas(
    args: argparse.Namespace, folder: Path, facts: dict[str, Any], pipeline: Pipeline
) -> None:
    if args.registry is not None:
        where = (args.topic_out, args.encoding_out)
        registry = Registry(args.registry)
        schemas.check(schemas.judged(pipeline, registry, args.compatibility, *where))
    elif args.compatibility is not None:
        before = [stored(folder, name).pipeline() for name in facts["history"]]
        schemas.check(schemas.judged_by(pipeline, before, args.compatibility))


def _is_of(path: str, known: dict[str, dict[str, int]]) -> bool:
    operator, _, setting = path.partition(".")
    return setting in known.get(operator, {})


def settings_changed(before: Pipeline, after: Pipeline) -> dict[str, list[int]]:
    """{"Operator.setting": [its value before, its value now]} of those that both versions have."""
    was, now = settable(before), settable(after)
    return {
        f"{operator}.{name}": [was[operator][name], value]
        for operator, values in now.items()
        for name, value in values.items()
        if value != was.get(operator, {}).get(name, value)
    }


def prepare(
    folder: Path,
    facts: dict[str, Any],
    code: Code,
    planned: Plan,
    *,
    back: bool = False,
    drop_state: bool = False,
) -> dict[str, str]:
    """Compile all that the node will need, here; {node: what becomes of its state}."""
    manifest = read_facts(str(folder)).manifest
    versions = Versions(folder, manifest, sampled=facts["sampled"])
    old = Engine(versions.plan(facts["version"]), output_rows=OUTPUT_ROWS)
    check_outputs(old.plan.pipeline, planned.pipeline, set(facts["sinks"]))
    made = succeed(old, planned, back=back, drop_state=drop_state, output_rows=OUTPUT_ROWS)
    around = loop.stand_in(planned, facts["sinks"])
    loop.build_entry(made, around, around.sent)
    return made.steps


def _settings_lines(changes: dict[str, list[int]], given: dict[str, Any]) -> list[str]:
    lines = [f"  {name} {was:,} -> {now:,}" for name, (was, now) in changes.items()]
    lines += [
        f"  {name}={value}, as given before"
        for name, value in sorted(given.items())
        if name not in changes
    ]
    return ["settings:", *lines] if lines else []


def _state_lines(steps: dict[str, str]) -> list[str]:
    width = max(map(len, steps), default=0)
    return ["state:", *(f"  {name:{width}s}  {what}" for name, what in steps.items())]


def _agreed(args: argparse.Namespace) -> bool:
    if args.json or not sys.stdin.isatty():
        print("onetape: nothing was deployed; --yes does it without asking", file=sys.stderr)
        return False
    return input("deploy it? [y/N] ").strip().lower() in ("y", "yes")
