"""`onetape run PIPELINE --partitions N`: recorded input in parts by key, on one tape for all parts.

The tape holds the input as a run in one part would have it, so `onetape verify` compares what the
parts made with a run in one part, and everything else that reads a tape reads this one.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onetape.compiled.frame import (
    HEADER_BYTES,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
)
from onetape.engine.digest import digests_of
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.inputs import Inputs
from onetape.runtimes.manifest import code_of, manifest_of, write_result
from onetape.runtimes.partitions import Parts
from onetape.runtimes.progress import Progress
from onetape.tape.tape import Tape


def run_parts(
    pipeline: Pipeline,
    inputs: Inputs,
    tape: Path,
    *,
    count: int,
    by: str,
    origin: dict[str, Any],
    out: Path | None,
    progress: Progress,
) -> dict[str, Any]:
    """Run the input to its end; returns the facts `--json` prints, also left beside the tape."""
    with progress.compiling():
        parts = Parts(
            pipeline, count, by=by, framing=inputs.framing, midnight_ns=inputs.midnight_ns
        )
    whole = plan(pipeline, inputs.framing)
    manifest = manifest_of(whole, inputs.midnight_ns, origin)
    engine, digests = parts.engines[0], digests_of(whole)
    symbols = inputs.symbols(engine)
    with (
        Tape.create(tape, manifest, code=code_of(whole)) as journal,
        Delivery(pipeline, out=out, symbols=symbols, ticks=inputs.ticks, folder=tape) as delivery,
    ):
        began_s = time.perf_counter()
        for made in parts.steps(_journaled(inputs.runs(), journal)):
            for name, (rows, origins) in made.items():
                if len(rows):
                    digests[name].update(rows, origins)
                    delivery.take(name, rows, origins)
            events = int(engine.run["events"][0])
            progress.update(events, inputs.rows or 0, events, "events")
        elapsed_s = time.perf_counter() - began_s
        journal.sync()
        delivery.finish()
    progress.close()
    counts = parts.counts()
    facts = {
        "messages": counts.events,
        "partitions": count,
        "partitioned_by": by,
        "rows": counts.rows,
        "late": counts.late,
        "elapsed_s": round(elapsed_s, 6),
        "digests": {name: digest.hexdigest() for name, digest in digests.items()},
        "delivered": delivery.told(),
        "rows_waiting": delivery.waiting(),
    }
    write_result(tape, facts)
    return facts


def lines_of(facts: dict[str, Any]) -> list[str]:
    """What a run in parts came to, for a person."""
    lines = [
        f"{facts['messages']:,} events in {facts['elapsed_s']:.2f} s, in {facts['partitions']} "
        f"parts by {facts['partitioned_by']}"
    ]
    for name, digest in facts["digests"].items():
        lines.append(f"  {name:12s} {facts['rows'][name]:>12,} rows   digest {digest}")
    return [*lines, *(f"  {line}" for line in facts["delivered"])]


def _journaled(runs: Iterator[Run], journal: Tape) -> Iterator[Run]:
    """The same frames; each is on its way to the disk before a part runs it."""
    for buffer, begin, end in runs:
        at = begin
        while at < end:
            length = int(frame_length(buffer, at))
            payload = buffer[at + HEADER_BYTES : at + HEADER_BYTES + length].tobytes()
            journal.append(int(frame_source(buffer, at)), int(frame_kind(buffer, at)), payload)
            at += int(frame_bytes(length))
        yield buffer, begin, end
