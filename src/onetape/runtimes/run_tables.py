"""`onetape run PIPELINE --tape DIR` where the sources came with tables: `ot.read(...)`.

The merged tables go on the tape as blocks of records; what is on the tape is what a replay reads.
"""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from onetape.compiled.frame import DATA
from onetape.connect.parquet import ParquetSink
from onetape.engine.digest import digests_of, state_digest
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.inputs import tables_of, ticks_of
from onetape.runtimes.manifest import write_result
from onetape.runtimes.progress import Progress


def run_tables(
    pipeline: Pipeline,
    tape: Path,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: bool = False,
    checkpoint_every_s: float = 0,
) -> dict[str, Any]:
    """Run the tables through a node to their end; returns the facts `--json` prints.

    A run is resumed by the tables being read again: the frames the tape has are passed over.
    """
    merged = tables_of(pipeline)
    totals = [source.table.rows for source in pipeline.sources]
    total = 0 if None in totals else sum(totals)
    with ExitStack() as stack:
        stack.callback(progress.close)
        sink = None
        if out is not None:
            outputs = {name: stream.of for name, stream in pipeline.outputs.items()}
            ticks = {f"{n}.price_scale": str(tick) for n, tick in ticks_of(pipeline).items()}
            sink = stack.enter_context(ParquetSink(out, outputs, ticks))
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                origin={"tables": [source.table.where for source in pipeline.sources]},
                resume=resume,
                checkpoint_every_s=checkpoint_every_s,
            )
        digests = digests_of(node.plan)

        def write(name: str, rows: Any, _origins: Any) -> None:
            if sink is not None:
                sink.write(name, rows, {number: text for text, number in merged.symbols.items()})

        def take(blocks: Iterable[Any]) -> bool:
            taken = False
            for name, rows, origins in blocks:
                digests[name].update(rows, origins)
                write(name, rows, origins)
                taken = True
            return taken

        done = 0
        if resume:
            items = iter(merged)
            for line in node.recover(digests, write if sink is not None else None):
                print(f"onetape: {line}", file=sys.stderr)
