"""What a pipeline's sources bring along: tables of `ot.read`, or the ITCH file that one names."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from onetape.connect.feed_files import FeedFiles
from onetape.connect.frames.merge import Merged
from onetape.connect.itch_file import open_itch
from onetape.engine.engine import Engine
from onetape.engine.frames import Run, frames_of, packed
from onetape.engine.graph import Node, Pipeline, Source
from onetape.records import OperatorError
from onetape.runtimes.manifest import check_sources
from onetape.runtimes.run.tables_first import TablesFirst, items_first, one_feed
from onetape.runtimes.twin import Twin, check_no_venue
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments


@dataclass
class Inputs:
    """What to run, and what is known of it. `runs()` begins again each time."""

    runs: Callable[[], Iterator[Run]]
    symbols: Callable[[Engine], Any]  # as connect.arrow.symbol_at takes them
    ticks: dict[str, Decimal]
    rows: int | None = None
    framing: dict[str, str] = field(default_factory=dict)
    midnight_ns: int = 0
    is_taped: bool = False  # frames may be the clock's, not only data


def has_tables(pipeline: Pipeline) -> bool:
    """Did all of its sources come with a table?"""
    return all(source.table is not None for source in pipeline.sources)


def tables_of(pipeline: Pipeline) -> Merged:
    """The tables of all its sources, merged by event time."""
    return Merged([source.table for source in pipeline.sources])


def ticks_of(pipeline: Pipeline) -> dict[str, Decimal]:
    """What one tick is in each output, where all that it comes from agree."""
    ticks = {name: _ticks_of(stream.node) for name, stream in pipeline.outputs.items()}
    return {name: found.pop() for name, found in ticks.items() if len(found) == 1 and any(found)}


def _ticks_of(node: Node) -> set[Any]:
    """Of all that its rows come from; None where that is not known."""
    if isinstance(node, Source) and node.table is not None:
        return {node.table.tick}
    if node.tick is not None or isinstance(node, Source):
        return {node.tick}
    return {tick for _, stream in node.inputs for tick in _ticks_of(stream.node)}


def inputs_of_tape(pipeline: Pipeline, folder: str | Path) -> Inputs:
    """What a run has recorded; OperatorError: of other sources than the pipeline reads."""
    manifest = read_facts(str(folder)).manifest
    check_sources(pipeline, folder, manifest)
    return Inputs(
        runs=lambda: read_segments(folder),
        symbols=lambda _: None,
        ticks={},
        framing=manifest["framing"],
        midnight_ns=manifest["midnight_ns"],
        is_taped=True,
    )


def simulated(pipeline: Pipeline, *, seed: int, milliseconds: int) -> Inputs:
    """What the twin of its venues brings."""
    twin = Twin(pipeline, seed=seed, milliseconds=milliseconds)
    return Inputs(
        runs=lambda: packed(twin),
        symbols=lambda _: twin.names,
        ticks=ticks_of(pipeline),
        midnight_ns=twin.midnight_ns,
    )


def has_several_feeds(pipeline: Pipeline) -> bool:
    """Does it take feeds, more than one of them or a drop copy, and beside them only tables?"""
    feeds = [source.feed for source in pipeline.sources if source.feed]
    beside = pipeline.sources[len(feeds) :]
    has_tables = all(source.table is not None for source in beside)
    return has_tables and (len(feeds) > 1 or feeds == ["fix"])


def feed_files(pipeline: Pipeline, given: Mapping[str, Any] | str | Path | None) -> FeedFiles:
    """The recorded files of its feeds: those given by the names of the sources, else their own.

    OperatorError: a source without a file.
    """
    sources = [source for source in pipeline.sources if source.feed]
    if isinstance(given, str | Path):
        if len(sources) > 1:
            names = " and ".join(f"{s.name}=FILE" for s in sources)
            raise OperatorError(f"the file {given} is of which source? Name each: {names}")
        given = {sources[0].name: given}
    given = dict(given or {})
    if unknown := set(given) - {s.name for s in sources}:
        known = ", ".join(s.name for s in sources)
        raise OperatorError(f"the pipeline has no source {min(unknown)!r}; it has {known}")
    own = {s.name: s.url for s in sources if s.url and "//" not in s.url[:6]}
    for source in sources:
        if source.name not in own | given:
            raise OperatorError(
                f"source {source.name!r} names no file; name one in the pipeline "
                f'(ot.source("{source.feed}:FILE")) or where it is run ({source.name}=FILE)'
            )
    return FeedFiles(sources, {name: Path(path) for name, path in (own | given).items()})


def inputs_of(
    pipeline: Pipeline,
    file: str | Path | Mapping[str, str | Path] | None = None,
    day: date | None = None,
) -> Inputs:
    """What its sources bring along; OperatorError says which one brings nothing.

    day  the trading date of a file, where its name does not tell
    """
    if not (file and has_several_feeds(pipeline)):
        check_no_venue(pipeline, 'ot.run(pipeline, simulate="5s")')
    if file is None and has_tables(pipeline):
        merged = tables_of(pipeline)
        counts = [source.table.rows for source in pipeline.sources]
        return Inputs(
            runs=lambda: packed(merged),
            symbols=lambda _: merged.names if merged.has_symbols else None,
            ticks=ticks_of(pipeline),
            rows=None if None in counts else sum(counts),
        )
    if has_several_feeds(pipeline) or isinstance(file, Mapping):
        files = feed_files(pipeline, file)
        return Inputs(
            runs=lambda: packed(TablesFirst(pipeline, files)),
            symbols=symbols_of,
            ticks=ticks_of(pipeline),
            framing=files.framing,
            midnight_ns=files.midnight_ns,
        )
    if pipeline.sources[0].feed and all(s.table is not None for s in pipeline.sources[1:]):
        url = one_feed(pipeline).url
        return _itch(pipeline, file or url, day)
    if file is not None and not any(source.feed for source in pipeline.sources):
        reads = ", ".join(f"{source.name} ({source.of.__name__})" for source in pipeline.sources)
        raise OperatorError(
            f"{file} is taken for a recorded feed (ITCH), and the pipeline reads {reads}, of no "
            "feed; give a tape of these sources (--from-tape), or no file and tables (ot.read)"
        )
    missing = [source.name for source in pipeline.sources if source.table is None]
    raise OperatorError(
        f"source {(missing or [s.name for s in pipeline.sources])[0]!r} has no table to run over; "
        "make all of them with ot.read(...), or have one ITCH source (tables may be beside it): "
        'ot.source("itch:day.itch"), or run(pipeline, file=...)'
    )


def _itch(pipeline: Pipeline, path: str | Path, day: date | None) -> Inputs:
    source = pipeline.sources[0]
    if not str(path) or str(path).startswith("udp:"):
        raise OperatorError(
            f"source {source.name!r} names no file; say which: run(pipeline, file=...), or "
            'ot.source("itch:day.itch")'
        )
    file = open_itch(path, trading_date=day)
    return Inputs(
        runs=lambda: chain(packed(items_first(pipeline)), frames_of(file)),
        symbols=lambda engine: engine.arrays["n0_feed"]["symbols"][0],
        ticks=ticks_of(pipeline),
        framing={source.name: file.framing},
        midnight_ns=file.midnight_ns,
    )


def symbols_of(engine: Engine) -> Any:
    """Those of the public feed, as it tells them; None without one."""
    feeds = [s.name for s in engine.plan.pipeline.sources if s.feed == "itch"]
    return engine.feed_state(feeds[0])["symbols"] if feeds else None
