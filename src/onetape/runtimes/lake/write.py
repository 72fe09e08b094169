"""Recorded input into a lake: a file, or a tape, as streams of blocks of one day."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from onetape.codecs.block import read_header
from onetape.connect.itch_file import open_itch
from onetape.connect.lake.tape_table import TapeWriter
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.blocks import blocks_of, blocks_of_tape
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.same import origin_of
from onetape.tape.layout import read_facts

NOON_NS = 12 * 3600 * 10**9
EVENTS = 16_384  # of a block: a table's row may be larger than a topic's record


def write(
    pipeline: Pipeline,
    url: str,
    *,
    file: Path | None = None,
    tape: Path | None = None,
    day: date | None = None,
    shards: int = 1,
    events: int = EVENTS,
    replaces: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """Write a day that is not there, or the rest of one; returns the facts `--json` prints.

    OperatorError: nothing tells the day; the day is there from another input.
    """
    how: dict[str, Any] = {"shards": shards, "events": events, "codec": "lz4"}
    if file is not None:
        inputs = inputs_of(pipeline, file, day)
        midnight_ns, size = inputs.midnight_ns, file.stat().st_size
        content = origin_of(open_itch(file, trading_date=day), 0)
        told = {name: content[name] for name in ("size_bytes", "sha256_of_ends")}
        runs = inputs.runs
        read = [0]

        def watched() -> Iterator[Run]:
            for run in runs():
                read[0] += run[2] - run[1]
                yield run

        blocks = blocks_of(pipeline, replace(inputs, runs=watched), **how)
    elif tape is not None:
        facts, size, read = read_facts(str(tape)), 0, [0]
        midnight_ns, told = facts.manifest["midnight_ns"], {"tape": f"{facts.tape_id:016x}"}
        blocks = blocks_of_tape(pipeline, tape, **how)
    else:
        raise OperatorError("nothing to write; give --file FILE or --from-tape DIR")
    sources = [source.name for source in pipeline.sources]
    text = json.dumps([how, told, midnight_ns, sources], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    writer = TapeWriter(url, day or _day_of(midnight_ns), name, replace=replaces)
    count = [0, 0]

    def counted() -> Iterator[tuple[int, bytes]]:
        for shard, block in blocks:
            count[0] += read_header(block).count
            count[1] += len(block)
            progress.update(read[0], size, count[0], "events")
            yield shard, block

    has_end = writer.write(counted())
    return {
        "url": writer.url,
        "day": str(writer.day),
        "shards": shards,
        "events": count[0],
        "blocks": writer.written,
        "blocks_there": writer.skipped,
        "size_bytes": count[1],
        "input": name,
        "is_complete": has_end,
    }


def _day_of(midnight_ns: int) -> date:
    """The date whose midnight that is, in whichever time zone."""
    if midnight_ns <= 0 or (day := _utc(midnight_ns + NOON_NS)).year == 1970:
        raise OperatorError("nothing tells which day this is; say it: --day YYYY-MM-DD")
    return day


def _utc(ns: int) -> date:
    return datetime.fromtimestamp(ns // 10**9, UTC).date()
