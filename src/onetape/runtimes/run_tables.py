"""`onetape run PIPELINE --tape DIR` where the sources came with tables: `ot.read(...)`.

The merged tables go on the tape as blocks of records; what is on the tape is what a replay reads.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onetape.compiled.frame import DATA
from onetape.connect.frames.merge import Item, Merged
from onetape.engine.digest import digests_of, state_digest
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.account import account
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.inputs import tables_of, ticks_of
from onetape.runtimes.manifest import write_result
from onetape.runtimes.progress import Progress
from onetape.tape.layout import read_facts


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
    origin = {"tables": [source.table.where for source in pipeline.sources]}
    if resume and (was := read_facts(str(tape)).manifest.get("origin")) != origin:
        raise OperatorError(
            f"{tape} was fed from {was}, the pipeline reads {origin}; go on with the same tables, "
            "or give a new folder"
        )
    with ExitStack() as stack:
        stack.callback(progress.close)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                origin=origin,
                resume=resume,
                checkpoint_every_s=checkpoint_every_s,
            )
        delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                symbols=merged.names if merged.has_symbols else None,
                ticks=ticks_of(pipeline),
                durable=lambda: node.tape.durable_offset,
                folder=tape,
            )
        )
        digests = digests_of(node.plan)

        def take(blocks: Iterable[Any]) -> None:
            for name, rows, origins in blocks:
                digests[name].update(rows, origins)
                delivery.take(name, rows, origins)

        if resume:
            _recover(node, merged, digests, delivery)
        items = _not_on_tape(node, merged)
        stack.enter_context(node)
        began_s, events = time.perf_counter(), node.engine.run["events"]
        for source, kind, payload in items:
            while not node.push(payload, source=source, kind=kind):
                take(node.drain())
                progress.update(int(events[0]), total, int(events[0]), "events")
                time.sleep(DRAIN_PAUSE_S)
        take(node.stop())
        elapsed_s = time.perf_counter() - began_s
        node.tape.sync()
        delivery.finish()
        counts = node.engine.counts()
        facts = {
            "messages": counts.events,
            "rows": counts.rows,
            **account(node.engine),
            "refused": {
                f"{reason} ({s.name})": n
                for s in pipeline.sources
                for reason, n in s.table.refused.items()
            },
            "symbols": merged.symbols,
            "elapsed_s": round(elapsed_s, 6),
            "digests": {name: digest.hexdigest() for name, digest in digests.items()},
            "state_digest": state_digest(node.engine),
            **node.statistics(),
        }
        write_result(tape, facts)
        for line in node.troubles():
            print(f"onetape: {line}", file=sys.stderr)
    facts["delivered"] = delivery.told()
    return facts


def _recover(node: EdgeNode, merged: Merged, digests: dict[str, Any], delivery: Delivery) -> None:
    """Bring the node to the end of its tape."""
    if delivery:
        for _ in merged:  # the symbols of the rows that are made again
            pass
    for line in node.recover(digests, delivery.take if delivery else None):
        print(f"onetape: {line}", file=sys.stderr)


def _not_on_tape(node: EdgeNode, merged: Merged) -> Iterator[Item]:
    """Frames are cut alike in each reading, so those on the tape are the first."""
    done, ended = int(node.engine.run["data_frames"][0]), node.engine.sources["ended"].tolist()

    def is_new(item: Item) -> bool:
        nonlocal done
        if item[1] != DATA:
            return not ended[item[0]]
        done -= 1
        return done < 0

    return filter(is_new, merged)
