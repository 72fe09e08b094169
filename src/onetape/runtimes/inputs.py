"""What a pipeline's sources bring along: tables of `ot.read`, or the ITCH file that one names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from onetape.connect.frames.merge import Merged
from onetape.connect.itch_file import open_itch
from onetape.engine.engine import Engine
from onetape.engine.frames import Run, frames_of, packed
from onetape.engine.graph import Node, Pipeline, Source
from onetape.records import OperatorError

ITCH_TICK = Decimal("0.0001")


@dataclass
class Inputs:
    """What to run, and what is known of it. `runs()` begins again each time."""

    runs: Callable[[], Iterator[Run]]
    symbols: Callable[[Engine], Any]  # as connect.arrow.symbol_at takes them
    ticks: dict[str, Decimal]
    rows: int | None = None
    framing: dict[str, str] = field(default_factory=dict)
    midnight_ns: int = 0


def has_tables(pipeline: Pipeline) -> bool:
    """Did all of its sources come with a table?"""
    return all(source.table is not None for source in pipeline.sources)


def tables_of(pipeline: Pipeline) -> Merged:
    """The tables of all its sources, merged by event time."""
    return Merged([source.table for source in pipeline.sources])


def ticks_of(pipeline: Pipeline) -> dict[str, Decimal]:
    """What one tick is in each output, where all the tables that it comes from agree."""
    found = {}
    for name, stream in pipeline.outputs.items():
        ticks = {source.table.tick for source in _sources_of(stream.node)}
        if len(ticks) == 1:
            found[name] = ticks.pop()
    return found


def _sources_of(node: Node) -> set[Source]:
    if isinstance(node, Source):
        return {node}
    return {source for _, stream in node.inputs for source in _sources_of(stream.node)}


def inputs_of(pipeline: Pipeline, file: str | Path | None = None) -> Inputs:
    """What its sources bring along; OperatorError says which one brings nothing."""
    if file is None and has_tables(pipeline):
        merged = tables_of(pipeline)
        counts = [source.table.rows for source in pipeline.sources]
        return Inputs(
            runs=lambda: packed(merged),
            symbols=lambda _: merged.names if merged.has_symbols else None,
            ticks=ticks_of(pipeline),
            rows=None if None in counts else sum(counts),
        )
    if len(pipeline.sources) == 1 and pipeline.sources[0].feed:
        return _itch(pipeline, file or pipeline.sources[0].url)
    missing = [source.name for source in pipeline.sources if source.table is None]
    raise OperatorError(
        f"source {(missing or [s.name for s in pipeline.sources])[0]!r} has no table to run over; "
        "make all of them with ot.read(...), or have one ITCH source and a file: "
        'ot.source("itch:day.itch"), or run(pipeline, file=...)'
    )


def _itch(pipeline: Pipeline, path: str | Path) -> Inputs:
    source = pipeline.sources[0]
    if not str(path) or str(path).startswith("udp:"):
        raise OperatorError(
            f"source {source.name!r} names no file; say which: run(pipeline, file=...), or "
            'ot.source("itch:day.itch")'
        )
    file = open_itch(path)
    return Inputs(
        runs=lambda: frames_of(file),
        symbols=lambda engine: engine.arrays["n0_feed"]["symbols"][0],
        ticks=dict.fromkeys(pipeline.outputs, ITCH_TICK),
        framing={source.name: file.framing},
        midnight_ns=file.midnight_ns,
    )
