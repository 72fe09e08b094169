"""`onetape verify PIPELINE TAPE`: one answer in every runtime, or the first event that differs.

live         the digests the run that made the tape left beside it
replay       the tape through the batch runtime
other split  the same, one frame a call and with output rings of a few rows
edge         the tape's frames through the hot loop, onto a new tape
plain python the first events of the tape with the compiler off, against the same events on
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled import mode
from onetape.compiled.frame import (
    CONTROL,
    DATA,
    END,
    HEADER_BYTES,
    TICK,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
    frame_ts_recv_ns,
)
from onetape.compiled.memory import store_u32le
from onetape.engine.digest import OutputDigest, state_digest
from onetape.engine.engine import Engine
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan, plan
from onetape.records import OperatorError
from onetape.records.declare import copied
from onetape.runtimes import course
from onetape.runtimes.course import Course, Versions
from onetape.runtimes.edge.follower import follow
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.swap import swap
from onetape.runtimes.manifest import read_result
from onetape.runtimes.run.same import other_settings
from onetape.runtimes.settings import add_options, load_with_settings
from onetape.runtimes.verify.options import add_runtimes_options, check_no_runtimes
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

EMPTY = "all equal, of nothing: the input holds no events"
PLAIN_PYTHON_BYTES = 64 << 10  # of the tape: some two thousand messages, half a minute

DESCRIPTION = """\
Run the tape through every runtime and compare digests of all outputs and of all state:
live (what the run that made it left), replay, another split into blocks, the hot loop again, and,
for the first events, plain Python with the compiler off. Exit status 0: all equal. Otherwise the
first differing row is named, with the event that caused it.

With --runtimes the same input goes through each of those instead, distributed engines among them
(onetape flink setup, onetape spark setup), and their digests are put side by side.
"""
EXAMPLES = """\
examples:
  onetape verify standard tape/
  onetape verify standard --file day.itch --runtimes edge,batch,sail --shards 4
"""


@dataclass
class Answer:
    """What one way of running came to."""

    way: str
    digests: dict[str, str]
    state_digest: str
    events: int
    swaps: int = 0  # how often another version took over


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "verify",
        help="check that every runtime gives the same answer on a tape",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument(
        "tape", type=Path, nargs="?", metavar="TAPE", help="folder of a tape; not with --file"
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_runtimes_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.runtimes:
        from onetape.runtimes.verify.runtimes import run as compare

        return compare(args)
    check_no_runtimes(args)
    if not args.tape.is_dir():
        raise OperatorError(f"no such tape: {args.tape}; give a folder that `onetape run` made")
    pipeline = load_with_settings(args)
    equal, facts, lines = verify(pipeline, args.tape)
    print(json.dumps(facts) if args.json else "\n".join(lines))
    return 0 if equal else 1


def verify(pipeline: Pipeline, folder: Path) -> tuple[bool, dict[str, Any], list[str]]:
    """(all equal, facts for --json, lines for people)."""
    manifest = read_facts(str(folder)).manifest
    make = lambda rows=1 << 16: course.begin(pipeline, folder, manifest, output_rows=rows)  # noqa: E731
    whole: list[Answer] = []
    left, lines = read_result(folder), list[str]()
    planned = plan(pipeline, manifest["framing"])
    same_code = planned.driver in Versions(folder, manifest).drivers
    if not same_code:
        differ = other_settings(manifest, planned)
        said = ", ".join(f"{name} was {then}, is {now}" for name, (then, now) in differ.items())
        lines.append(
            f"the tape was made by another pipeline{said and f' (settings: {said})'}; what that "
            "came to is not compared"
        )
    elif left is not None:
        whole.append(
            Answer("live", left["digests"], left.get("state_digest", ""), left["messages"])
        )
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "replay": lambda: rows_of(make(), read_segments(folder)),
        "other split": lambda: rows_of(make(64), _one_by_one(read_segments(folder))),
        "edge": lambda: edge_steps(pipeline, manifest, folder),
    }
    for way, steps in ways.items():
        whole.append(answer_of(way, steps(), pipeline))
    first = {
        "compiled, first events": lambda: rows_of(make(), _prefix(pipeline, folder)),
        "plain python, first events": lambda: _plain_python(pipeline, manifest, folder),
    }
    start = [answer_of(way, steps(), pipeline) for way, steps in first.items()]
    equal = True
    for group, known in ((whole, ways), (start, first)):
        for answer in group:
            lines.append(
                f"{answer.way:28s} {answer.events:>12,} events  state {answer.state_digest}"
            )
        for a, b in pairwise(group):
            for name in sorted(set(a.digests) | set(b.digests)):
                if a.digests.get(name) != b.digests.get(name):
                    equal = False
                    lines.append(_difference(name, a, b, known))
            if "" not in (a.state_digest, b.state_digest) and a.state_digest != b.state_digest:
                equal = False
                lines.append(f"state differs between {a.way} and {b.way}")
    if swaps := max(answer.swaps for answer in whole):
        many = f"{swaps} swap{'s' * (swaps > 1)} on the tape"
        lines.append(f"{many}; each frame was run by the version that ran it")
    verdict = "all equal" if equal else "NOT EQUAL"
    if not any(answer.events for answer in whole):
        verdict = no_events(str(folder), read_segments(folder))
        equal = equal and verdict == EMPTY
    lines.append(verdict)
    facts = {
        "equal": equal,
        "same_code": same_code,
        "answers": [vars(answer) for answer in whole + start],
        "lines": lines,
    }
    return equal, facts, lines


def no_events(name: str, runs: Iterator[Run]) -> str:
    """The verdict where no way made an event: EMPTY, if there was nothing to make one of."""
    for buffer, begin, _ in _one_by_one(runs):
        if frame_kind(buffer, begin) == DATA and frame_length(buffer, begin) > 0:
            return f"NOTHING WAS COMPARED: {name} has data, and no way made an event of it"
    return EMPTY


def rows_of(ran: Course, runs: Iterator[Run]) -> Iterator[Any]:
    """Blocks of rows, plans of versions as they take over, and at the end the last engine."""
    yield ran.engine.plan
    passed: list[Plan] = []
    ran.when_swapped.append(lambda made: passed.append(made.engine.plan))
    for buffer, begin, end in runs:
        for block in ran.feed(buffer, begin, end):
            yield from passed
            passed.clear()
            yield block
    yield from passed
    yield ran.engine


def answer_of(way: str, steps: Iterator[Any], pipeline: Pipeline) -> Answer:
    engine: Any = None
    versions = 0
    digests: dict[str, OutputDigest] = {}
    for step in steps:
        if isinstance(step, Engine):
            engine = step
        elif isinstance(step, Plan):
            follow(digests, step)
            versions += 1
        else:
            name, rows, origins = step
            digests[name].update(rows, origins)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    return Answer(way, found, state_digest(engine), engine.counts().events, versions - 1)


def _one_by_one(runs: Iterator[Run]) -> Iterator[Run]:
    for buffer, begin, end in runs:
        at = begin
        while at < end:
            following = at + int(frame_bytes(frame_length(buffer, at)))
            yield buffer, at, following
            at = following


def _prefix(pipeline: Pipeline, folder: Path) -> Iterator[Run]:
    """The start of the tape: PLAIN_PYTHON_BYTES of it, the last frame cut where it must be."""
    left = PLAIN_PYTHON_BYTES
    for buffer, begin, end in _one_by_one(read_segments(folder)):
        size = int(frame_length(buffer, begin))
        if size > left:
            source = pipeline.sources[int(frame_source(buffer, begin)) & 255]
            rows = 1 if source.feed else source.of.dtype.itemsize
            if left >= rows:
                yield _cut(buffer, begin, left // rows * rows)
            return
        left -= end - begin
        yield buffer, begin, end


def _cut(buffer: Any, begin: int, size: int) -> Run:
    """A copy of a frame that holds only the first `size` bytes."""
    made = np.zeros(HEADER_BYTES + (size + 7 & ~7), np.uint8)
    made[: HEADER_BYTES + size] = buffer[begin : begin + HEADER_BYTES + size]
    store_u32le(made, 0, size)
    return made, 0, len(made)


def _plain_python(pipeline: Pipeline, manifest: Any, folder: Path) -> Iterator[Any]:
    runs = [(buffer, begin, end) for buffer, begin, end in _prefix(pipeline, folder)]
    with mode.running("interpreted"):
        ran = course.begin(pipeline, folder, manifest, output_rows=1 << 10)
        yield from rows_of(ran, iter(runs))


def edge_steps(pipeline: Pipeline, manifest: dict[str, Any], folder: Path) -> Iterator[Any]:
    """The tape's data through a hot loop of its own, which is swapped where the tape's was."""
    scratch = Path(tempfile.mkdtemp(prefix="onetape-verify-"))
    first = course.begin(pipeline, folder, manifest)
    try:
        with EdgeNode(
            first.engine.plan.pipeline,
            scratch / "tape",
            framing=manifest["framing"],
            midnight_ns=manifest["midnight_ns"],
        ) as node:
            if first.versions is not None:
                node.versions = first.versions
            passed = [node.plan]
            node.when_swapped.append(passed.append)
            for buffer, begin, _ in _one_by_one(read_segments(folder)):
                yield from passed
                passed.clear()
                kind = int(frame_kind(buffer, begin))
                order = course.order_in(buffer, begin) if kind == CONTROL else None
                if order is not None and first.versions is not None:
                    yield from node.drain_until_idle()
                    swap(node, order["swap"], back=order["back"], drop_state=order["drop_state"])
                    yield from node.drain()
                if kind not in (DATA, TICK, END):
                    continue
                size = int(frame_length(buffer, begin))
                payload = np.array(buffer[begin + HEADER_BYTES : begin + HEADER_BYTES + size])
                while not node.push(
                    payload,
                    source=int(frame_source(buffer, begin)),
                    ts_recv_ns=int(frame_ts_recv_ns(buffer, begin)),
                    kind=kind,
                ):
                    yield from node.drain()
            yield from passed
            yield from node.stop()
            yield node.engine
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _difference(name: str, a: Answer, b: Answer, ways: dict[str, Any]) -> str:
    """Say where two ways part: the first row of the output that differs, and what caused it."""
    if a.way not in ways or b.way not in ways:
        return (
            f"{name} differs between {a.way} and {b.way}: the run that made the tape came to "
            f"{a.digests.get(name)}, the same code now to {b.digests.get(name)}; either its "
            "result.json was changed, or something beside the tape had a part in the answer"
        )
    rows_a, from_a = _collect(name, ways[a.way]())
    rows_b, from_b = _collect(name, ways[b.way]())
    for i, (row_a, row_b) in enumerate(zip(rows_a, rows_b, strict=False)):
        if row_a.tobytes() != row_b.tobytes():
            said = f"{a.way}: {row_a}\n  {b.way}: {row_b}"
        elif _cause(from_a[i]) != _cause(from_b[i]):
            said = f"{a.way}: caused by {_cause(from_a[i])}\n  {b.way}: by {_cause(from_b[i])}"
        else:
            continue
        return (
            f"{name} differs between {a.way} and {b.way} at row {i}, caused by tape offset "
            f"{from_a[i]['tape_offset']}, sequence {from_a[i]['sequence']}:\n  {said}"
        )
    longer, origins = (a.way, from_a) if len(rows_a) > len(rows_b) else (b.way, from_b)
    at = min(len(rows_a), len(rows_b))
    where = f", the first at tape offset {origins[at]['tape_offset']}" if at < len(origins) else ""
    return f"{name}: {longer} has {abs(len(rows_a) - len(rows_b))} rows more{where}"


def _cause(origin: Any) -> dict[str, int]:
    """What a row's identity is made of: its place on the tape is not."""
    return {n: int(origin[n]) for n in origin.dtype.names if n != "tape_offset"}


def _collect(name: str, steps: Iterator[Any]) -> tuple[list[Any], list[Any]]:
    rows_all: list[Any] = []
    origins_all: list[Any] = []
    for step in steps:
        if isinstance(step, tuple) and step[0] == name:
            rows_all += list(copied(step[1]))
            origins_all += list(step[2].copy())
    return rows_all, origins_all
