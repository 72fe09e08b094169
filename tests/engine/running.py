"""What the tests of this room share: input as a list of steps, cut into frames, and run.

    steps = [Rows(0, [Tick(1, ...), Tick(2, ...)]), Clock(1, 500), End(0), End(1)]
    ran = run(pipeline, frames(steps))
    ran.rows["vwap"]        # tuples
    ran.origins["vwap"]     # tuples, without the place on the tape

Numbers first are source numbers, in the order of the pipeline's sources.
"""

import struct
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from onetape.compiled import mode
from onetape.engine import planner
from onetape.engine.digest import digests_of, state_digest
from onetape.engine.engine import Counts, Engine
from onetape.records import empty_block

HEADER = struct.Struct("<IIqqHHI")  # length, checksum, offset, ts_recv_ns, source, kind, epoch
DATA, TICK, END = 1, 2, 5
UNSET = -(2**63)


class Rows(NamedTuple):
    """Events of one source: instances of its record, or a block of them."""

    source: int
    rows: Any


class Clock(NamedTuple):
    """A tick: it is `now_ns` and the source is silent."""

    source: int
    now_ns: int


class End(NamedTuple):
    source: int


class Ran(NamedTuple):
    rows: dict[str, list[Any]]
    origins: dict[str, list[Any]]
    counts: Counts
    digests: dict[str, str]
    state: str
    engine: Engine


def frames(steps, cuts=None):
    """Each step as a frame; `cuts(count)` says where to cut a step of `count` rows into several."""
    found = []
    for step in steps:
        if isinstance(step, Clock):
            found.append(frame(TICK, step.source, b"", len(found), step.now_ns))
        elif isinstance(step, End):
            found.append(frame(END, step.source, b"", len(found)))
        else:
            block = step.rows
            if not isinstance(block, np.ndarray):
                block = block_of(block)
            for piece in np.split(block, cuts(len(block)) if cuts else []):
                found.append(frame(DATA, step.source, piece.tobytes(), len(found)))
    return found


def block_of(rows):
    """A block of some instances of one record; quicker than the package's own for many rows."""
    block = empty_block(type(rows[0]), len(rows))
    block[:] = rows
    return block


def frame(kind, source, payload, offset=0, ts_recv_ns=UNSET):
    padding = bytes(-len(payload) % 8)
    return HEADER.pack(len(payload), 0, offset, ts_recv_ns, source, kind, 0) + payload + padding


def make(pipeline, *, output_rows=1 << 10, framing=None):
    """An engine in the current mode."""
    return Engine(planner.plan(pipeline, framing), output_rows)


def run(pipeline, pieces, *, feeds=(), output_rows=1 << 10, running=None, digests=True):
    """Run frames, fed in runs that begin at the indices `feeds`; in another mode if asked."""
    with mode.running(running or mode.current()):
        engine = make(pipeline, output_rows=output_rows)
        return run_engine(engine, pieces, feeds=feeds, digests=digests)


def run_engine(engine, pieces, *, feeds=(), digests=True):
    """As `run`, on an engine that exists; its outputs from here on."""
    names = list(engine.plan.outputs)
    rows, origins = {name: [] for name in names}, {name: [] for name in names}
    sums = digests_of(engine.plan) if digests else {}
    bounds = [0, *feeds, len(pieces)]
    for begin, end in pairwise(bounds):
        for name, made, caused in feed(engine, pieces[begin:end]):
            rows[name] += tuples(made)
            origins[name] += [tuple(origin)[1:] for origin in caused.tolist()]
            if digests:
                sums[name].update(made, caused)
    return Ran(
        rows,
        origins,
        engine.counts(),
        {name: one.hexdigest() for name, one in sums.items()},
        state_digest(engine) if digests else "",
        engine,
    )


def tuples(block):
    """The rows of a block as tuples of numbers and lists."""
    columns = [block[name].tolist() for name in block.dtype.names]
    return list(zip(*columns))


def feed(engine, pieces):
    """Blocks of rows from these frames, fed as one run that does not begin at 0."""
    front = bytes(40)
    buffer = np.frombuffer(bytearray(front + b"".join(pieces)), np.uint8)
    yield from engine.feed(buffer, len(front), len(buffer))


class Reusable:
    """One compiled driver for many runs, each on a new engine, without planning or loading.

    It runs in the mode it was made in.
    """

    def __init__(self, pipeline, *, running=None, output_rows=1 << 10):
        self._mode = running or mode.current()
        self._rows = output_rows
        with mode.running(self._mode):
            self.engine = make(pipeline, output_rows=output_rows)

    def fresh(self):
        return Engine(self.engine.plan, self._rows, self.engine.turn)

    def run(self, pieces, *, feeds=(), digests=True):
        with mode.running(self._mode):
            return run_engine(self.fresh(), pieces, feeds=feeds, digests=digests)


def refused(made):
    """(late, late at windows, ahead, dropped) as the engine counts them, or as the naive one."""
    counts = getattr(made, "counts", made)
    return counts.late, counts.late_at_windows, counts.ahead, counts.dropped_matches


def tables(engine, operator):
    """The tables of an operator such as a book, by name."""
    for number, node in enumerate(engine.plan.pipeline.nodes):
        if node.name == operator:
            return node.spec.tables_type()(
                *(engine.arrays[f"n{number}_{name}"] for name in node.spec.tables)
            )
    raise KeyError(operator)
