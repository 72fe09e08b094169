"""`onetape dev PIPELINE`: on every save the pipeline runs again, and its last rows are shown.

The process stays warm, and operators are compiled apart from the driver (onetape/engine/apart.py),
so an edit of an operator compiles that operator and nothing else.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onetape.compiled import mode
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.records import OnetapeError, OperatorError
from onetape.runtimes.batch import set_midnight
from onetape.runtimes.dev.feed import Input, open_input
from onetape.runtimes.dev.view import Screen, text_of
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.settings import add_options, apply

LOOK_S = 0.02  # how often the file is looked at: part of the time from a save to the first row
SHOW_S = 0.1
LAST_ROWS = 5

DESCRIPTION = """\
Run the pipeline over a recorded file (or a simulated day) each time its file is saved, and show the
last rows of every output, their types and rates. Only what was edited is compiled again. A mistake
is told with its line, beside the rows of the last version that ran. Ctrl-C ends. Other modules that
the file imports are not loaded again.
"""


@dataclass
class Output:
    """What a round made of one output."""

    record: str
    types: dict[str, str]
    rows: int = 0
    last: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Round:
    """One run of one version of the file."""

    number: int
    error: str = ""
    load_s: float = 0.0
    compile_s: float = 0.0
    first_row_s: float | None = None  # from the save (at first: the start) to the first row
    run_s: float = 0.0
    events: int = 0
    outputs: dict[str, Output] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What --json prints."""
        facts = vars(self) | {"events_per_s": round(self.events / max(self.run_s, 1e-9))}
        return facts | {"outputs": {name: vars(out) for name, out in self.outputs.items()}}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "dev",
        help="run a pipeline again at every save, with a live view",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  onetape dev pipeline.py --file day.itch",
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="ITCH 5.0, or the folder of a tape"
    )
    add_options(parser)
    parser.add_argument("--once", action="store_true", help="one round, as text; no screen")
    parser.add_argument("--json", action="store_true", help="print one JSON object a round")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    path = Path(args.pipeline)
    if not path.is_file():
        raise OperatorError(f"no such file: {path}; `onetape dev` watches a Python file")
    source = open_input(args.file)
    with Screen(path.name, source.name, live=not (args.once or args.json)) as screen:
        try:
            for made in rounds(path, source, screen.show, lambda made: apply(made, args)):
                if args.json:
                    print(json.dumps(made.facts()), flush=True)
                elif args.once:
                    print(text_of(made))
                if args.once:
                    return 1 if made.error else 0
        except KeyboardInterrupt:
            pass
    return 0


def rounds(
    path: Path,
    source: Input,
    show: Callable[[Round], None],
    set_up: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline,
) -> Iterator[Round]:
    """A round now, and one after each save; `show` sees it grow. `set_up` gives settings."""
    number = 0
    while True:
        stamp, number = _stamp(path), number + 1
        made = Round(number)
        try:
            _play(path, source, made, lambda: _stamp(path) != stamp, show, set_up)  # noqa: B023
        except OnetapeError as error:
            made.error = str(error)
        except Exception as error:  # ours: still no reason to lose the screen
            made.error = f"{type(error).__name__}: {error}"
        show(made)
        yield made
        _wait_for_save(path, stamp)


def _play(
    path: Path,
    source: Input,
    made: Round,
    is_stale: Callable[[], bool],
    show: Callable[[Round], None],
    set_up: Callable[[Pipeline], Pipeline],
) -> None:
    """Load, compile, run; ends early when the file has changed again."""
    saved_s = path.stat().st_mtime if made.number > 1 else time.time()
    began_s = time.perf_counter()
    pipeline = set_up(load_pipeline(str(path)))
    loaded_s = time.perf_counter()
    made.load_s = loaded_s - began_s
    apart = not mode.is_interpreted()
    engine = Engine(plan(pipeline, source.framing_of(pipeline), apart=apart))
    set_midnight(engine, source.midnight_of(pipeline))
    compiled_s = time.perf_counter()
    made.compile_s = compiled_s - loaded_s
    for name, stream in pipeline.outputs.items():
        made.outputs[name] = Output(stream.of.__name__, _types(stream.of))
    shown_s = 0.0
    for frames in source.runs_of(pipeline):
        for name, rows, _ in engine.feed(*frames):
            if made.first_row_s is None:
                made.first_row_s = time.time() - saved_s
            output = made.outputs[name]
            output.rows += len(rows)
            output.last = (output.last + _values(rows[-LAST_ROWS:]))[-LAST_ROWS:]
        now_s = time.perf_counter()
        made.run_s, made.events = now_s - compiled_s, int(engine.run["events"][0])
        if now_s - shown_s > SHOW_S:
            show(made)
            shown_s = time.perf_counter()
            if is_stale():
                return


def _wait_for_save(path: Path, stamp: Any) -> None:
    """Until the file is another, and an editor that writes it in steps is done."""
    now: Any = stamp
    while True:
        time.sleep(LOOK_S)
        before, now = now, _stamp(path)
        if now == before and now not in (stamp, None):
            return


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes with every save; None while an editor replaces the file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _types(of: Any) -> dict[str, str]:
    """{field: 'i64'}"""
    found = {}
    for name, said in of.fields.items():
        bits = f"{said.code[-2]}{8 * int(said.code[-1])}"
        found[name] = bits if said.length is None else f"{bits}[{said.length}]"
    return found


def _values(rows: Any) -> list[dict[str, Any]]:
    names = rows.dtype.names
    return [{name: row[name].tolist() for name in names} for row in rows]
