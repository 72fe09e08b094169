"""`onetape run PIPELINE --tape DIR` over recorded files of several feeds, or of a drop copy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.runtimes.inputs import feed_files
from onetape.runtimes.run.items import Brought, run_items
from onetape.runtimes.run.tables_first import TablesFirst


def run_feeds(
    pipeline: Pipeline, tape: Path, given: Mapping[str, Path] | Path | None, **options: Any
) -> dict[str, Any]:
    """Run the files through a node to their end; `given` and `options`: see `feed_files`,
    `run_items`."""
    files = feed_files(pipeline, given)
    items, day_ns = TablesFirst(pipeline, files), files.midnight_ns
    brought = Brought(items, files.origin, None, framing=files.framing, midnight_ns=day_ns)
    return run_items(pipeline, tape, brought, **options)
