"""`onetape debug PIPELINE TAPE --at OFFSET`: in the operator, at that event, with that state."""

import argparse
import bdb
import json
import pdb
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from onetape.compiled.frame import END, TICK, frame_kind
from onetape.engine.engine import Engine, StepError
from onetape.records import OperatorError
from onetape.runtimes.dev import words
from onetape.runtimes.dev.replay import Replay
from onetape.runtimes.dev.watch import Call, Watch, is_users
from onetape.runtimes.progress import Progress
from onetape.runtimes.settings import add_options, load_with_settings

DESCRIPTION = """\
Replay the tape to frame OFFSET (from the checkpoint before it, if there is one), then run that
frame in plain Python and stop in the operator: at the first event of the frame that reaches it, or
at event INDEX. In the debugger, `self` is the state of the event's key, and the event is there by
its name in your code. --print only prints them, with what the call made. A breakpoint() of your own
stops there too; compiled code passes over it.
"""
EXAMPLES = """\
examples:
  onetape debug pipeline.py tape/ --at 1207.3
  onetape debug standard tape/ --at 1207 --operator BurstCancel --print
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "debug",
        help="stop in an operator, at an event of a tape, with its state",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("tape", type=Path, metavar="TAPE", help="folder of a tape")
    parser.add_argument(
        "--at", type=parse_place, required=True, metavar="OFFSET[.INDEX]", help="frame, and event"
    )
    parser.add_argument(
        "--operator", metavar="NAME", help="its name or id (default: the first of your own)"
    )
    parser.add_argument(
        "--print", "--no-pdb", action="store_true", help="print, do not stop in the debugger"
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def parse_place(text: str) -> tuple[int, int | None]:
    offset, dot, index = text.partition(".")
    if not offset.isdecimal() or (dot and not index.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no place; expected OFFSET or OFFSET.INDEX")
    return int(offset), int(index) if dot else None


def run(args: argparse.Namespace) -> int:
    offset, index = args.at
    quiet = args.print or args.json
    call = debug(
        load_with_settings(args),
        args.tape,
        offset,
        index,
        operator=args.operator,
        progress=Progress(quiet=args.json),
        stop=not quiet,
    )
    if call is None:
        return 0
    if args.json:
        print(json.dumps(call.facts()))
    else:
        print("\n".join([*(_heading(call) if quiet else []), *_outcome(call)]))
    return 0


def debug(
    pipeline: Any,
    tape: Path,
    offset: int,
    index: int | None = None,
    *,
    operator: str | None = None,
    progress: Progress,
    stop: bool,
) -> Call | None:
    """Run frame `offset` watched; the call that was asked for, or None if the debugger was left."""
    replay = Replay(pipeline, tape, progress)
    wanted = _wanted(replay.engine, operator)
    with _breakpoints(False):
        frame = replay.to(offset)
    found: list[Call] = []

    def step(call: Call, function: Any, arguments: tuple[Any, ...]) -> Any:
        here = index is None or call.index == index
        if found or not here or call.node not in wanted:
            with _breakpoints(stop and here):
                return function(*arguments)
        found.append(call)
        if not stop:
            return function(*arguments)
        print("\n".join(_heading(call)), flush=True)
        debugger = _Debugger(nosigint=True)
        returned = debugger.runcall(function, *arguments)
        if debugger.is_left:  # else a row that nobody returned would be shown as none
            raise bdb.BdbQuit
        return returned

    watch = Watch(step)
    try:
        for _ in replay.watched(frame, watch):
            pass
    except StepError as error:
        if isinstance(error.why, bdb.BdbQuit):
            return None
        raise
    if not found:
        raise OperatorError(_nothing(replay.engine, frame, offset, index, wanted, watch.calls))
    return found[0]


def _wanted(engine: Engine, operator: str | None) -> set[int]:
    """Numbers of the nodes to stop in."""
    nodes = list(enumerate(engine.plan.pipeline.nodes))
    callable_nodes = [(n, node) for n, node in nodes if hasattr(node, "spec")]
    if operator is None:
        own = {n for n, _ in callable_nodes if is_users(engine, n)}
        return own or {n for n, _ in callable_nodes}
    found = {n for n, node in callable_nodes if operator in (node.name, f"n{n}")}
    if not found:
        names = ", ".join(f"{node.name} (n{n})" for n, node in callable_nodes)
        raise OperatorError(f"the pipeline has no operator {operator!r}; it has {names}")
    return found


class _Debugger(pdb.Pdb):
    """pdb that remembers whether it was left by `q`."""

    is_left = False

    def set_quit(self) -> None:
        self.is_left = True
        super().set_quit()


@contextmanager
def _breakpoints(stop: bool) -> Iterator[None]:
    """Inside, breakpoint() stops at the event that was asked for and is passed over elsewhere."""

    def hook(*_: Any, **__: Any) -> None:
        frame: FrameType | None = sys._getframe(1)
        if stop:
            _Debugger(nosigint=True).set_trace(frame)

    before, sys.breakpointhook = sys.breakpointhook, hook
    try:
        yield
    finally:
        sys.breakpointhook = before


def _heading(call: Call) -> list[str]:
    what = f"event   {words.fields(call.event)}" if call.event else f"timer   due {call.time_ns}"
    lines = [words.place(call), f"  time    {words.time_of(call.time_ns)}", f"  {what}"]
    if call.before is not None:
        lines.append(f"  state   {words.fields(call.before)}")
    return lines


def _outcome(call: Call) -> list[str]:
    lines = [] if call.after is None else [f"  after   {words.fields(call.after)}"]
    lines += [f"  row     {words.fields(row)}" for row in call.rows]
    return lines if call.rows else [*lines, "  no row"]


def _nothing(
    engine: Engine,
    frame: Any,
    offset: int,
    index: int | None,
    wanted: set[int],
    calls: list[Call],
) -> str:
    """What the frame has instead."""
    kinds = {TICK: "a tick of the clock", END: "the end of its source"}
    kind = kinds.get(int(frame_kind(frame[0], frame[1])))
    last = int(engine.run["index"][0])
    has = kind or (f"events 0 to {last}" if last >= 0 else "no event")
    names = ", ".join(sorted({engine.plan.node_names[n] for n in wanted}))
    place = f"offset {offset}" if index is None else f"offset {offset}, event {index},"
    lines = [f"{place} does not reach {names}; frame {offset} has {has}"]
    reached: dict[str, list[int]] = {}
    for call in calls:
        places = reached.setdefault(f"{call.operator}.{call.function}", [])
        if call.index not in places:
            places.append(call.index)
    for name, places in reached.items():
        more = f" and {len(places) - 8} more" if len(places) > 8 else ""
        shown = ", ".join(f"{offset}.{i}" if i >= 0 else str(offset) for i in places[:8])
        lines.append(f"  {name} is reached at {shown}{more}")
    return "\n".join(lines)
