"""`onetape run PIPELINE --tape DIR` where the sources came with tables: `ot.read(...)`.

The merged tables go on the tape as blocks of records.
"""

from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.runtimes.inputs import tables_of
from onetape.runtimes.run.items import Brought, run_items


def run_tables(pipeline: Pipeline, tape: Path, **options: Any) -> dict[str, Any]:
    """Run the tables through a node to their end; `options` are those of `run_items`."""
    merged = tables_of(pipeline)
    totals = [source.table.rows for source in pipeline.sources]

    def facts() -> dict[str, Any]:
        refused = {
            f"{reason} ({s.name})": n
            for s in pipeline.sources
            for reason, n in s.table.refused.items()
        }
        return {"refused": refused, "symbols": merged.symbols}

    brought = Brought(
        merged,
        {"tables": [source.table.where for source in pipeline.sources]},
        merged.names if merged.has_symbols else None,
        learns=True,
        rows=0 if None in totals else sum(totals),
        facts=facts,
    )
    return run_items(pipeline, tape, brought, **options)
