"""`onetape why PIPELINE TAPE ALERT_ID`: the events and state changes that led to a row.

Three replays. The first, compiled, finds the row and the frame that caused it; that frame, watched
in plain Python, tells which operator made it, for which key. The second, compiled, compares that
key's state from frame to frame: only frames that change it matter. The third runs these watched.
"""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.index import find
from onetape.compiled.rows import RowView
from onetape.engine.engine import Engine
from onetape.engine.graph import Node, Pipeline
from onetape.engine.window import Window
from onetape.records import OperatorError
from onetape.runtimes.dev import words
from onetape.runtimes.dev.replay import Replay
from onetape.runtimes.dev.watch import Call, Values, Watch, values_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.settings import add_options, load_with_settings

DESCRIPTION = """\
Find a row by its alert_id, or by its output and number (from 0), and tell what led to it: the
events of its key that reached the operator that made it, since its state was last initial, each
with what it changed. The tape is replayed with the pipeline as it is now.
"""
EXAMPLES = """\
examples:
  onetape why standard tape/ 4611686018427390000
  onetape why pipeline.py tape/ --output jump --row 0 --last 5
"""


@dataclass
class Found:
    """A row, and where it comes from."""

    output: str
    number: int  # of the row among those of its output
    row: Values
    origin: Values


@dataclass
class Story:
    """A row and the calls that led to it, the last one made it. Empty: it came as it is."""

    found: Found
    operator: str = ""
    key: int | None = None
    calls: list[Call] = field(default_factory=list)
    is_whole: bool = True  # nothing before these calls matters
    note: str = ""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "why",
        help="tell what led to a row: events and state changes, step by step",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("tape", type=Path, metavar="TAPE", help="folder of a tape")
    parser.add_argument("alert_id", nargs="?", type=int, metavar="ALERT_ID")
    parser.add_argument("--output", metavar="NAME", help="of the row, instead of an ALERT_ID")
    parser.add_argument("--row", type=int, metavar="N", help="its number in the output, from 0")
    parser.add_argument(
        "--last", type=int, default=20, metavar="N", help="show at most N events (default: 20)"
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if (args.alert_id is None) == (args.output is None or args.row is None):
        raise OperatorError("which row? Give its ALERT_ID, or --output NAME and --row N")
    progress = Progress(quiet=args.json)
    story = why(
        load_with_settings(args),
        args.tape,
        alert_id=args.alert_id,
        output=args.output,
        row=args.row,
        last=max(args.last, 1),
        progress=progress,
    )
    progress.close()
    print(json.dumps(_facts(story)) if args.json else "\n".join(_lines(story)))
    return 0


def why(
    pipeline: Pipeline,
    tape: Path,
    *,
    alert_id: int | None = None,
    output: str | None = None,
    row: int | None = None,
    last: int = 20,
    progress: Progress,
) -> Story:
    """What led to the row; OperatorError if there is no such row."""
    replay = _begin(pipeline, tape, progress)
    found = _find(replay, alert_id, output, row)
    if _is_joined(replay.engine.plan.pipeline.outputs[found.output].node):
        return Story(found, note="an interval join made it, of the rows whose fields it has")
    at = int(found.origin["tape_offset"])
    calls = _watched(pipeline, tape, [at], progress)
    k = replay.engine.plan.outputs.index(found.output)
    nodes = _makers(replay.engine.plan.pipeline.outputs[found.output].node)
    numbers = [n for n, node in enumerate(replay.engine.plan.pipeline.nodes) if node in nodes]
    until = [c for c in calls if c.heads[k] <= found.number]
    made = [c for c in until if c.node in numbers and c.rows]
    if not made:
        return Story(found, note="no operator made it: it is the event as it came")
    maker = made[-1]
    story = Story(found, maker.operator, maker.key)
    if maker.key is None:
        until = until[: until.index(maker) + 1]
        of = maker.event.get("instrument_id") if maker.event else None
        own = [c for c in until if c.node == maker.node and c.event]
        story.calls = [c for c in own if c.event and c.event.get("instrument_id") == of][-last:]
        if maker.before is None and not _has_tables(replay.engine, maker.node):
            story.calls, story.note = [maker], "it has no state: this event alone made it"
        else:
            story.note, story.is_whole = "its state is tables: only this frame is shown", False
        return story
    changed = _changed(pipeline, tape, maker, progress)
    kept = [offset for offset in changed if offset < at][-last:]
    calls = _watched(pipeline, tape, [*kept, at], progress)
    own = [c for c in calls if (c.node, c.key) == (maker.node, maker.key)]
    own = own[: _same_call(own, maker) + 1]
    node = replay.engine.plan.pipeline.nodes[maker.node]
    if isinstance(node, Window):
        begin_ns = maker.time_ns - node.width_ns
        within = [c for c in own[:-1] if c.event and begin_ns <= c.time_ns < maker.time_ns]
        began, story.calls = [1], [*within, maker]
    else:
        began = [n for n, c in enumerate(own) if _is_initial(replay.engine, c)]
        story.calls = own[began[-1] :] if began else own
    story.is_whole = bool(began) and len(story.calls) <= last
    story.calls = story.calls[-last:]
    return story


def _begin(pipeline: Pipeline, tape: Path, progress: Progress) -> Replay:
    replay = Replay(pipeline, tape, progress)
    replay.restore(replay.first)
    return replay


def _find(replay: Replay, alert_id: int | None, output: str | None, row: int | None) -> Found:
    """Replay until the row is made."""
    outputs = replay.engine.plan.pipeline.outputs
    if output is not None and output not in outputs:
        raise OperatorError(f"the pipeline has no output {output!r}; it has {', '.join(outputs)}")
    alerts = [name for name, stream in outputs.items() if "alert_id" in stream.of.fields]
    if alert_id is not None and not alerts:
        raise OperatorError(
            "no output of the pipeline has an alert_id; name the row by --output NAME --row N"
        )
    seen = dict.fromkeys(outputs, 0)
    known: list[int] = []
    for _, frame in replay.frames():
        for name, rows, origins in replay.run(frame):
            at = -1
            if alert_id is not None and name in alerts:
                ids = rows["alert_id"].tolist()
                at = ids.index(alert_id) if alert_id in ids else -1
                known += ids[: max(8 - len(known), 0)]
            elif name == output and row is not None and 0 <= row - seen[name] < len(rows):
                at = row - seen[name]
            if at >= 0:
                return Found(name, seen[name] + at, _values(rows[at]), _values(origins[at]))
            seen[name] += len(rows)
    if alert_id is not None:
        has = f"it has {', '.join(map(str, dict.fromkeys(known)))}" if known else "it has none"
        raise OperatorError(f"no alert {alert_id} on this tape; {has}")
    raise OperatorError(f"output {output} has {seen[str(output)]} rows; row {row} was asked for")


def _watched(pipeline: Pipeline, tape: Path, offsets: list[int], progress: Progress) -> list[Call]:
    """All calls of these frames, in order."""
    replay, watch, wanted = _begin(pipeline, tape, progress), Watch(), set(offsets)
    for offset, frame in replay.frames():
        for _ in replay.watched(frame, watch) if offset in wanted else replay.run(frame):
            pass
        if offset == offsets[-1]:
            break
    return watch.calls


def _changed(pipeline: Pipeline, tape: Path, maker: Call, progress: Progress) -> list[int]:
    """Offsets of the frames that change the state of the maker's key, up to the maker's own."""
    replay, found = _begin(pipeline, tape, progress), []
    before = b""
    for offset, frame in replay.frames():
        for _ in replay.run(frame):
            pass
        now = _state_bytes(replay.engine, maker)
        if now != before:
            found.append(offset)
            before = now
        if offset == maker.offset:
            break
    return found


def _state_bytes(engine: Engine, call: Call) -> bytes:
    """What the call's node holds for its key now; empty: nothing yet."""
    label = f"n{call.node}"
    keys = engine.arrays[f"{label}_keys"]
    slot = int(find(engine.arrays[f"{label}_index"], call.key))
    if slot < 0:
        return b""
    name = "panes" if f"{label}_panes" in engine.arrays else "state"
    block = engine.arrays[f"{label}_{name}"]
    each = len(block) // len(keys)
    return bytes(block[slot * each : (slot + 1) * each].tobytes())


def _makers(node: Node) -> list[Node]:
    """The operators and windows whose rows a stream of this node may be."""
    if node.code() is not None:
        return [node]
    return [maker for _, stream in node.inputs for maker in _makers(stream.node)]


def _is_joined(node: Node) -> bool:
    """Is it, or what it only chooses from, an interval join?"""
    inputs = () if node.code() is not None else node.inputs
    return node.kind == "join" or any(_is_joined(stream.node) for _, stream in inputs)


def _has_tables(engine: Engine, number: int) -> bool:
    return bool(getattr(engine.plan.pipeline.nodes[number].spec, "tables", None))  # type: ignore[attr-defined]


def _same_call(calls: list[Call], wanted: Call) -> int:
    """The maker among the calls of another replay of the same frames."""
    frame = [n for n, c in enumerate(calls) if c.offset == wanted.offset]
    return next(n for n in frame if calls[n].facts() == wanted.facts())


def _is_initial(engine: Engine, call: Call) -> bool:
    initial = values_of(RowView(engine.arrays[f"x{call.node}_initial"], 0))
    return call.before == initial


def _values(record: Any) -> Values:
    return {name: np.asarray(record[name]).tolist() for name in record.dtype.names}


def _facts(story: Story) -> Values:
    found = story.found
    return {
        "output": found.output,
        "row_number": found.number,
        "row": found.row,
        "origin": found.origin,
        "evidence": _evidence(found.row),
        "operator": story.operator,
        "key": story.key,
        "is_whole": story.is_whole,
        "note": story.note,
        "steps": [call.facts() for call in story.calls],
    }


def _evidence(row: Values) -> list[Values]:
    """The events an Alert names."""
    if "evidence_count" not in row:
        return []
    pairs = zip(row["evidence_sequence"], row["evidence_order_id"], strict=True)
    named = [{"sequence": s, "order_id": o} for s, o in pairs]
    return named[: int(row["evidence_count"])]


def _lines(story: Story) -> list[str]:
    found = story.found
    origin, row = found.origin, found.row
    cause = ("sequence", "timer due", "gap before")[int(origin["root"])]
    lines = [
        f"{found.output} row {found.number}: {words.fields(row)}",
        f"  caused by tape offset {origin['tape_offset']}, {cause} {origin['sequence']}",
    ]
    for n, event in enumerate(_evidence(row), start=1):
        lines.append(f"  evidence {n}: sequence {event['sequence']}, order {event['order_id']}")
    if story.note:
        lines.append(f"  {story.operator or found.output}: {story.note}")
    if not story.calls:
        return lines
    key = "" if story.key is None else f" for key {story.key}"
    whole = "all that made it" if story.is_whole else "the last that led to it"
    lines.append(f"calls of {story.operator}{key}, {whole}:")
    for call in story.calls:
        lines.append(f"{words.time_of(call.time_ns)}  {words.place(call)}")
        lines += words.call_lines(call)
    return lines
