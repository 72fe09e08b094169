"""Engines for tests: compiled once a pipeline, made new as often as one likes; and what they say.

A test (or each example of Hypothesis) wants an engine without history. Planning and loading machine
code cost more than running a few rows, so the driver is kept for the pipelines used last.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from onetape.compiled import mode
from onetape.compiled.frame import PAYLOAD_MAX
from onetape.engine.digest import state_digest
from onetape.engine.engine import Engine
from onetape.engine.frames import FramePacker
from onetape.engine.graph import Pipeline
from onetape.engine.planner import Plan, plan
from onetape.records.declare import copied
from onetape.runtimes.batch import set_midnight

ROWS = 1 << 10  # of an output ring, where nothing smaller is asked for


class Data(NamedTuple):
    """Events of one source that come in one frame."""

    source: int
    pieces: tuple[bytes, ...]


class Clock(NamedTuple):
    """It is `now_ns` and the source is silent."""

    source: int
    now_ns: int


class End(NamedTuple):
    """The source is complete."""

    source: int


Step = Data | Clock | End


@dataclass(frozen=True)
class Answer:
    """All that a run came to, and that no way of running may change."""

    rows: dict[str, Any]  # one block an output
    origins: dict[str, Any]
    counts: dict[str, Any]
    state_digest: str


def new_engine(
    pipeline: Pipeline, *, midnight_ns: int = 0, tight: bool = False, checked: bool = False
) -> Engine:
    """A new engine in the current mode.

    tight    with output rings so small that the driver stops at almost every event
    checked  in plain Python that refuses what would wrap (the mode must be interpreted)
    """
    ready = _planned(pipeline)
    rows = _least(ready) if tight else max(ROWS, _least(ready))
    if checked:
        from onetape.testing.overflow import checked_turn

        made = Engine(ready, rows, checked_turn(ready))
    else:
        made = Engine(ready, rows, _turn(pipeline, mode.current()))
    set_midnight(made, midnight_ns)
    return made


@lru_cache(32)
def _planned(pipeline: Pipeline) -> Plan:
    return plan(pipeline)


@lru_cache(64)
def _turn(pipeline: Pipeline, running: str) -> Any:
    """The driver in this mode, whatever its rings hold."""
    ready = _planned(pipeline)
    return Engine(ready, max(ROWS, _least(ready))).turn


def _least(ready: Plan) -> int:
    """Rows of the smallest ring that an output may have."""
    return 1 << (max(ready.rows_most, default=1) - 1).bit_length()


def frame_of(packer: FramePacker, step: Step) -> bytes:
    """The bytes of the step as a frame on a tape."""
    packer.source_id = step.source
    if isinstance(step, Data):
        buffer, begin, end = packer.data(b"".join(step.pieces))
    elif isinstance(step, Clock):
        buffer, begin, end = packer.tick(step.now_ns)
    else:
        buffer, begin, end = packer.end()
    return bytes(buffer[begin:end])


def feed(engine: Engine, frames: list[bytes]) -> Iterable[tuple[str, Any, Any]]:
    """The rows of these frames, fed as one run: views, good until the next step."""
    buffer = np.frombuffer(bytearray(b"".join(frames)), np.uint8)
    yield from engine.feed(buffer, 0, len(buffer))


def answer(engine: Engine, runs: Iterable[list[bytes]], digest_in: str) -> Answer:
    """Run all frames; what came of it. The state is added up in the mode `digest_in`."""
    found: dict[str, list[Any]] = {name: [] for name in engine.plan.outputs}
    caused: dict[str, list[Any]] = {name: [] for name in engine.plan.outputs}
    for frames in runs:
        for name, rows, origins in feed(engine, frames):
            found[name].append(copied(rows))
            caused[name].append(origins.copy())
    with mode.running(digest_in):
        state = state_digest(engine)
    outputs = engine.plan.pipeline.outputs
    counts = {n: v for n, v in vars(engine.counts()).items() if n not in ("frames", "rows")}
    return Answer(
        {n: np.concatenate([np.zeros(0, outputs[n].of.dtype), *b]) for n, b in found.items()},
        {n: np.concatenate(b) if b else np.zeros(0) for n, b in caused.items()},
        counts,
        state,
    )


def records_of(of: Any, block: Any) -> list[Any]:
    """The rows of a block as instances of their record."""
    return [of(*values) for values in zip(*(block[name].tolist() for name in of._fields))]


PIECES_BYTES = PAYLOAD_MAX // 4


def frames_from(source: int, pieces: list[bytes]) -> list[Data]:
    """Events in frames as large as is usual."""
    found: list[Data] = []
    start, size = 0, 0
    for at, piece in enumerate(pieces):
        if size + len(piece) > PIECES_BYTES:
            found.append(Data(source, tuple(pieces[start:at])))
            start, size = at, 0
        size += len(piece)
    return [*found, Data(source, tuple(pieces[start:]))] if start < len(pieces) else found
