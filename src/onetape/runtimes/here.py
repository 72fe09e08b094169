"""`ot.run(pipeline)`: run it in this process over what its sources bring, return its tables."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from onetape.connect.sinks.taking import Replayed
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline
from onetape.engine.partition import BY
from onetape.engine.settings import with_settings
from onetape.engine.usage import usage
from onetape.market.grid import refused_by_grids
from onetape.records import OperatorError
from onetape.records.declare import raw_rows
from onetape.records.types import parse_duration_ns as _ns
from onetape.runtimes import batch
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.inputs import Inputs, inputs_of, simulated
from onetape.runtimes.partitions import Parts
from onetape.runtimes.partitions import run as run_in
from onetape.runtimes.results import Results, Table
from onetape.runtimes.twin import milliseconds_of


def run(
    pipeline: Pipeline,
    *,
    file: str | Path | Mapping[str, str | Path] | None = None,
    simulate: str | int | None = None,
    seed: int = 1,
    settings: Mapping[str, Any] | None = None,
    partitions: int = 1,
    partition_by: str = BY,
    quiet: bool = False,
) -> Results:
    """Run a pipeline over its tables (`ot.read`) or its ITCH file, as fast as it goes.

    ```python
    results = ot.run(ot.Pipeline(trade=ot.read(table, as_=mk.Trade, tick="0.01")))
    assert results.trade.to_dicts()[0]["price_ticks"] == 1000
    ```

    file      to run over, in place of the one the source names; of several feeds, a file each by
              the source's name: {"fix": "drop.fix", "itch": "day.itch"}
    simulate  how long a market, "5s", of the venues that its sources name is simulated, from `seed`
    settings  {"LeadLag.edge": 5}: in place of what the program says, as `--set` does
    partitions  how many parts by the field `partition_by` run beside each other: the same rows in
              the same order, on several cores; the state has no digest then (docs/PARTITIONS.md)
    quiet     no progress; it is shown in a terminal or a notebook only

    Rows go to the sinks the pipeline names, and all of them are kept in memory. Compiling takes
    seconds the first time. PeerError: a row that cannot be taken; OperatorError: nothing to run.
    """
    pipeline = with_settings(pipeline, settings or {})
    if simulate is None:
        inputs = inputs_of(pipeline, file)
    elif file is None:
        inputs = simulated(pipeline, seed=seed, milliseconds=milliseconds_of(_ns(simulate)))
    else:
        raise OperatorError("run over a file, or simulate: leave out one of them")
    kept: dict[str, list[Any]] = {name: [] for name in pipeline.outputs}
    with _progress(inputs, quiet=quiet) as show:
        about: dict[str, Any] = {"framing": inputs.framing, "midnight_ns": inputs.midnight_ns}
        parts = Parts(pipeline, partitions, by=partition_by, **about) if partitions != 1 else None
        engine = parts.engines[0] if parts else batch.make_engine(pipeline, **about)
        symbols = inputs.symbols(engine)
        again = Replayed(pipeline, inputs.framing, inputs.midnight_ns, lambda _: inputs.runs())
        with Delivery(pipeline, symbols=symbols, ticks=inputs.ticks, replay=again) as delivery:

            def take(name: str, rows: Any, origins: Any) -> None:
                kept[name].append(raw_rows(rows).copy())
                delivery.take(name, rows, origins)

            watched = _watched(inputs, engine, show)
            result = run_in(parts, watched, take) if parts else batch.run(engine, watched, take)
            delivery.finish()
    tables = {
        name: Table(
            name, stream.of, _joined(kept[name], stream.of), symbols, inputs.ticks.get(name)
        )
        for name, stream in pipeline.outputs.items()
    }
    return Results(
        tables,
        digests=result.digests,
        state_digest=result.state_digest,
        counts=result.counts,
        state={} if parts else usage(engine),
        refused=_refused(pipeline, parts.engines if parts else [engine]),
        elapsed_s=result.elapsed_s,
    )


def _refused(pipeline: Pipeline, engines: list[Engine]) -> dict[str, dict[str, int]]:
    """Rows that were left out, by source or step, and reason."""
    tables = {s.name: dict(s.table.refused) for s in pipeline.sources if s.table is not None}
    off_grid: Counter[str] = Counter()
    for engine in engines:
        off_grid.update(refused_by_grids(engine))
    return tables | ({"on_grid": dict(off_grid)} if off_grid else {})


def _joined(blocks: list[Any], of: Any) -> Any:
    if not blocks:
        return np.empty(0, of.dtype)
    return np.concatenate(blocks).view(of.dtype)


def _watched(inputs: Inputs, engine: Engine, show: Any) -> Iterator[Any]:
    for run_of_frames in inputs.runs():
        yield run_of_frames
        show(int(engine.run["events"][0]))


@contextmanager
def _progress(inputs: Inputs, *, quiet: bool) -> Iterator[Any]:
    """A bar where the number of rows is known, else a count; nothing where nobody looks."""
    if quiet or not _is_watched():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), transient=True) as bar:
        task = bar.add_task("compiling", total=inputs.rows)
        yield lambda events: bar.update(task, description="events", completed=events)


def _is_watched() -> bool:
    if "ipykernel" in sys.modules:
        return find_spec("ipywidgets") is not None  # what rich shows a bar with
    return sys.stdout.isatty()
