"""All that must hold for any pipeline, checked in one call.

    testing.check(pipeline, trades=[...], quotes=[...])
    testing.check(t)  # what a Run was fed

- any split: however the input is cut into frames and runs, and however often the driver has to
  stop because an output is full, rows, their causes, counts and state are the same;
- determinism: so they are when it runs again;
- plain Python says what the compiled code says, over the first `plain_events` events;
- nothing wraps: there, a result of more than 64 bits, or a value that does not fit its field, is
  told with operator, line and field (`onetape.testing.overflow` says what that sees).
"""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from onetape.compiled import mode
from onetape.engine.engine import StepError
from onetape.engine.frames import FramePacker
from onetape.engine.graph import Pipeline
from onetape.engine.layout import GAP_ROOT, TIMER_ROOT
from onetape.records import OnetapeError, OperatorError
from onetape.testing.engines import (
    Answer,
    Data,
    End,
    Step,
    answer,
    frame_of,
    frames_from,
    new_engine,
    records_of,
)
from onetape.testing.feeding import midnight_in, pieces_of, times_of
from onetape.testing.overflow import is_overflow, place_of
from onetape.testing.run import Run, index_of

TOGETHER = (0.0, 0.5, 0.95)  # how likely two neighbours come in one frame
APART = (0.0, 0.1, 0.5)  # and a run of frames ends
FRAME_PIECES = 1000


class CheckFailed(OnetapeError, AssertionError):
    """What must hold does not. The message says what, where, and how to repeat it.

    ```python
    assert issubclass(testing.CheckFailed, AssertionError)  # so pytest shows it as a failure
    ```
    """


def check(
    what: Pipeline | Run,
    events: Any = None,
    /,
    *,
    seed: int = 0,
    splits: int = 10,
    plain_events: int = 1_000,
    **by_source: Any,
) -> Run:
    """Check a pipeline over this input, or what a Run was fed. CheckFailed says what is wrong.

    ```python
    t = testing.check(pipeline, trade=[trade], splits=2)
    assert t.rows("trade") == [trade]
    ```

    events        of the one source of a pipeline that has no more
    by_source     events as for `Run.feed`; several sources are interleaved by event time, and all
                  of them end. For anything else feed a Run and check that
    seed, splits  split n is drawn from seed + n
    plain_events  so many from the beginning are also run in plain Python, 10 000 a second, or
                  1 500 where order books are involved. 0: none, and no check of overflow either

    Returns the run, whose rows a test may go on to look at. The cost of a run of the input,
    `splits` + 2 times, and of compiling once.
    """
    given = _given(what, events, by_source)
    steps = list(_single(given.steps))
    plain, first = _plain(given, steps, plain_events) if plain_events > 0 else (None, steps)
    whole = _run(given, _together(steps))
    again = _run(given, _together(steps))
    _same(given, whole, again, "is another when it runs again", ("once", "again"))
    for n in range(seed, seed + splits):
        split = _run_split(given, steps, n)
        told = f"depends on how the input is cut; repeat it with seed={n}, splits=1"
        _same(given, whole, split, told, ("whole", f"split {n}"))
    if plain is not None:
        start = whole if len(first) == len(steps) else _run(given, _together(first))
        names = (mode.current(), "plain Python")
        _same(given, start, plain, "is another in plain Python", names)
    return what if isinstance(what, Run) else given.run()


@dataclass(frozen=True)
class Input:
    """What to run, with what."""

    pipeline: Pipeline
    midnight_ns: int
    steps: list[Step]

    def run(self) -> Run:
        run = Run(self.pipeline, midnight_ns=self.midnight_ns)
        for step in self.steps:
            run.step(step)
        return run


def _given(what: Any, events: Any, by_source: dict[str, Any]) -> Input:
    if events is not None and isinstance(what, Pipeline):
        names = [source.name for source in what.sources]
        if len(names) > 1 or by_source:
            raise OperatorError(f"check: of which source are these events? Write {names[0]}=[...]")
        by_source = {names[0]: events}
    if isinstance(what, Run):
        if by_source or events is not None:
            raise OperatorError("check was given a run and rows; feed the rows to the run")
        return Input(what.pipeline, what.midnight_ns, what.steps)
    if not isinstance(what, Pipeline):
        raise OperatorError(f"check was given {what!r}; expected a Pipeline or a testing.Run")
    names = [source.name for source in what.sources]
    for name in by_source:
        index_of(name, names, "source")
    missing = [name for name in names if name not in by_source]
    if missing:
        raise OperatorError(
            f"check was given no events of source {missing[0]}; write {missing[0]}=[...] "
            "(an empty list where it stays silent)"
        )
    midnight_ns = 0
    for given in by_source.values():
        midnight_ns = midnight_in(given, midnight_ns)
    ends = [End(number) for number in range(len(names))]
    return Input(what, midnight_ns, [*_by_time(what, midnight_ns, by_source), *ends])


def _by_time(pipeline: Pipeline, midnight_ns: int, by_source: dict[str, Any]) -> Iterator[Data]:
    """Events of several sources by event time; those of one stay in their order."""
    queues = []
    for number, source in enumerate(pipeline.sources):
        pieces = pieces_of(source, by_source[source.name], midnight_ns)
        times = np.maximum.accumulate([0, *times_of(source, pieces, midnight_ns)])[1:]
        queues.append([(int(t), number, n, p) for n, (t, p) in enumerate(zip(times, pieces))])
    for number, group in groupby(heapq.merge(*queues), lambda entry: entry[1]):
        yield from frames_from(number, [piece for *_, piece in group])


def _single(steps: list[Step]) -> Iterator[Step]:
    """Each event as a step of its own."""
    for step in steps:
        if isinstance(step, Data):
            yield from (Data(step.source, (piece,)) for piece in step.pieces)
        else:
            yield step


def _together(steps: list[Step], rng: random.Random | None = None) -> list[Step]:
    """Neighbours of one source in one frame: all of them, or by chance."""
    likely = 1.0 if rng is None else rng.choice(TOGETHER)
    found: list[list[Any]] = []
    for step in steps:
        last = found[-1] if found else []
        joins = isinstance(step, Data) and last and isinstance(last[0], Data)
        joins = joins and last[0].source == step.source and len(last) < FRAME_PIECES
        if joins and (rng is None or rng.random() < likely):
            last.append(step)
        else:
            found.append([step])
    return [
        Data(s[0].source, tuple(p for d in s for p in d.pieces)) if isinstance(s[0], Data) else s[0]
        for s in found
    ]


def _run(given: Input, steps: list[Step]) -> Answer:
    engine = new_engine(given.pipeline, midnight_ns=given.midnight_ns)
    packer = FramePacker()
    return answer(engine, [[frame_of(packer, step) for step in steps]], mode.current())


def _run_split(given: Input, steps: list[Step], seed: int) -> Answer:
    rng = random.Random(seed)
    packer = FramePacker()
    frames = [frame_of(packer, step) for step in _together(steps, rng)]
    apart = rng.choice(APART)
    cuts = [0, *(n for n in range(1, len(frames)) if rng.random() < apart), len(frames)]
    tight = rng.random() < 0.5
    engine = new_engine(given.pipeline, midnight_ns=given.midnight_ns, tight=tight)
    return answer(engine, [frames[begin:end] for begin, end in pairwise(cuts)], mode.current())


def _plain(given: Input, steps: list[Step], events: int) -> tuple[Answer, list[Step]]:
    """The first events in plain Python, each in a frame of its own; and which steps these are."""
    ends = [n for n, step in enumerate(steps) if isinstance(step, Data)][events - 1 : events + 1]
    first = steps if len(ends) < 2 else steps[: ends[0] + 1]
    packer = FramePacker()
    frames = [frame_of(packer, step) for step in first]
    digest_in = mode.current()
    try:
        with mode.running("interpreted"):
            engine = new_engine(given.pipeline, midnight_ns=given.midnight_ns, checked=True)
            return answer(engine, [frames], digest_in), first
    except StepError as error:
        if not is_overflow(error.why):
            raise
        raise CheckFailed(_overflowed(given, first, error)) from None


def _overflowed(given: Input, steps: list[Step], error: StepError) -> str:
    place = place_of(error.why)
    said = f"operator {error.operator} overflows: {error.why}"
    step = steps[error.offset]
    source = given.pipeline.sources[step.source].name
    number = sum(isinstance(s, Data) and s.source == step.source for s in steps[: error.offset + 1])
    at = f"event {number} of source {source}"
    if not isinstance(step, Data):
        at = f"what is due after event {number} of source {source}"
    return (
        f"{place.says(said) if place else said}\n"
        f"at {at}. Compiled code wraps here and says nothing. Bound the values, or where wrapping "
        "is meant write onetape.compiled.bits.add_wrap and mul_wrap"
    )


# --- comparing ------------------------------------------------------------------------------------


def _same(given: Input, a: Answer, b: Answer, told: str, names: tuple[str, str]) -> None:
    for output, stream in given.pipeline.outputs.items():
        at = _first_difference(a.rows[output], b.rows[output])
        if at is None:
            at = _first_difference(a.origins[output], b.origins[output], without="tape_offset")
        if at is not None:
            shown = [_shown(stream.of, found.rows[output], at) for found in (a, b)]
            width = max(map(len, names))
            longer = a if len(a.rows[output]) > at else b
            raise CheckFailed(
                f"output {output!r} {told}. The first difference is at row {at}, which comes from "
                f"{_cause(given, longer.origins[output][at])}:\n"
                f"  {names[0]:{width}}  {shown[0]}\n  {names[1]:{width}}  {shown[1]}"
                f"{_fields(a.rows[output], b.rows[output], at)}"
            )
    for count, value in a.counts.items():
        if value != b.counts[count]:
            raise CheckFailed(
                f"the count of {count} {told}: {names[0]} {value}, {names[1]} {b.counts[count]}"
            )
    if a.state_digest != b.state_digest:
        raise CheckFailed(
            f"all rows are the same, but the state of the operators {told} ({names[0]} "
            f"{a.state_digest}, {names[1]} {b.state_digest})"
        )


def _first_difference(a: Any, b: Any, without: str = "") -> int | None:
    """Of the first row that differs in a field, bit by bit; or that only one has."""
    count = min(len(a), len(b))
    differs = np.zeros(count, bool)
    for name in (a.dtype.names or ()) if count else ():
        if name != without:
            left, right = (_bytes_of(block[name][:count]) for block in (a, b))
            differs |= (left != right).any(axis=1)
    if differs.any():
        return int(np.argmax(differs))
    return None if len(a) == len(b) else count


def _bytes_of(column: Any) -> Any:
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)


def _fields(a: Any, b: Any, at: int) -> str:
    if at >= min(len(a), len(b)):
        return ""
    left, right = a[at], b[at]
    names = [n for n in a.dtype.names if left[n].tobytes() != right[n].tobytes()]
    if not names:
        return "\nthe rows are the same, their causes are not"
    parts = [f"{n}: {left[n].tolist()} and {right[n].tolist()}" for n in names]
    return f"\nthey differ in {'; '.join(parts)}"


def _shown(of: Any, block: Any, at: int) -> str:
    return (
        repr(records_of(of, block[at : at + 1])[0])
        if at < len(block)
        else f"no row: it has {len(block)}"
    )


def _cause(given: Input, origin: Any) -> str:
    if origin["root"] == TIMER_ROOT:
        return f"what was due for key {origin['key']} at {origin['sequence']} ns"
    source = given.pipeline.sources[origin["source"]].name
    if origin["root"] == GAP_ROOT:
        return f"a gap in source {source}, before its message {origin['sequence']}"
    return f"event {origin['sequence']} of source {source}"
