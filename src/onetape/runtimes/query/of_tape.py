"""A tape as tables: its frames, what its checkpoint knows of each key; and, with the pipeline that
reads it, the events of its sources, their gaps, and the pipeline's outputs.

Events and outputs are made by running the tape, one pipeline a table, a few MiB at a time: a tape
larger than memory does, and a query that has enough rows stops the run. A tape that is still being
written is read up to its durable end, as it was when a reading began.
"""

import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.connect.arrow import arrow_table
from onetape.engine.engine import Engine
from onetape.engine.graph import Pipeline, Stream
from onetape.engine.planner import plan
from onetape.records import UNSET, OperatorError
from onetape.runtimes import code, course
from onetape.runtimes.batch import BATCH_OUTPUT_ROWS, rows_of, set_midnight
from onetape.runtimes.inputs import ticks_of
from onetape.runtimes.manifest import read_result
from onetape.runtimes.query.tables import QueryTable, Streamed, plain_schema
from onetape.tape import checkpoint
from onetape.tape.inspect import KINDS
from onetape.tape.layout import read_facts
from onetape.tape.reader import durable_end, frames, read_segments

FRAMES_A_BATCH = 4096


def tape_tables(folder: Path, pipeline: Pipeline | None) -> list[QueryTable]:
    """All that a tape has. Without its pipeline: frames, and the state of its last checkpoint."""
    path = str(folder.resolve())
    facts = read_facts(path)
    end = durable_end(path, facts).offset
    found = [
        QueryTable("frames", frames_schema(), _frames(path), path, end - facts.start_offset),
        *_states(path, facts.manifest, end),
    ]
    if pipeline is None:
        return found
    streams = _streams(pipeline)
    ticks = ticks_of(Pipeline(**streams))
    rows = (read_result(folder) or {}).get("rows", {})
    has_versions = len(code.all_stored(path)) > 1
    for name, stream in streams.items():
        is_output = name in pipeline.outputs
        follows = pipeline if is_output and has_versions else None
        made = _made(path, facts.manifest, name, stream, follows)
        if is_output and facts.start_offset > 0:
            continue  # what it depends on is no longer there
        where = f"{path}, {'run again' if is_output else 'decoded'}"
        where += ", each part by its version" if follows else ""
        known = rows.get(name) if is_output else None
        found.append(QueryTable(name, made.schema, made, where, known, ticks.get(name)))
    return found


def _streams(pipeline: Pipeline) -> dict[str, Stream]:
    """Outputs; the events of each source by its name, of an only source also as `events`; gaps."""
    found = dict(pipeline.outputs)
    for source in pipeline.sources:
        found.setdefault(source.name, source.stream())
        if source.feed:
            only = sum(bool(each.feed) for each in pipeline.sources) == 1
            found.setdefault("gaps" if only else f"gaps_{source.name}", source.gaps())
    if len(pipeline.sources) == 1:
        found.setdefault("events", pipeline.sources[0].stream())
    return found


def _made(
    path: str, manifest: dict[str, Any], name: str, stream: Stream, follows: Pipeline | None
) -> Streamed:
    """The rows of one stream, by a pipeline that makes nothing else.

    follows  a pipeline of a tape with several versions: if it is one of them, its output is made
             by all of them, each on the frames it ran on
    """
    pipeline = Pipeline(**{name: stream})
    framing, of = manifest["framing"], stream.of
    numbers = _numbers(pipeline, manifest)
    is_feed = any(source.feed for source in pipeline.sources)
    schema = plain_schema(arrow_table(of, np.empty(0, of.dtype), {} if is_feed else None).schema)

    def batches() -> Iterator[Any]:
        ran = (
            None
            if follows is None
            else course.begin(follows, path, manifest, output_rows=BATCH_OUTPUT_ROWS)
        )
        if ran is not None and ran.versions is not None:
            for rows in _by_versions(ran, path, name, of):
                symbols = _symbols(ran.engine) if is_feed else None
                yield from arrow_table(of, rows, symbols).cast(schema).to_batches()
            return
        if follows is not None:
            _tell_swaps(path, name)
        engine = Engine(plan(pipeline, framing), output_rows=BATCH_OUTPUT_ROWS)
        set_midnight(engine, manifest["midnight_ns"])
        symbols = _symbols(engine) if is_feed else None
        for _, rows, _ in rows_of(engine, _renumbered(path, numbers)):
            yield from arrow_table(of, rows, symbols).cast(schema).to_batches()

    return Streamed(schema, batches)


def _symbols(engine: Engine) -> Any:
    n = next(n for n, source in enumerate(engine.plan.pipeline.sources) if source.feed)
    return engine.arrays[f"n{n}_feed"]["symbols"][0]


def _by_versions(ran: course.Course, path: str, name: str, of: Any) -> Iterator[Any]:
    """Blocks of rows of one output, by the versions that ran."""
    for buffer, begin, end in read_segments(path, read_facts(path).start_offset):
        for made, rows, _ in ran.feed(buffer, begin, end):
            if made != name:
                continue
            if rows.dtype != of.dtype:
                raise OperatorError(
                    f"{name!r} has other columns from frame {ran.since} of {path} on, where "
                    f"version {ran.name[:12]} took over; ask the Parquet files of --out"
                )
            yield rows


def _tell_swaps(path: str, name: str) -> None:
    """That versions took over on the tape, and which, to somebody who asks with another one."""
    runs = read_segments(path, read_facts(path).start_offset)
    swaps = [f"{version[:12]} at frame {offset}" for offset, version in course.swaps_in(runs)]
    if swaps:
        print(
            f"onetape: {path}: {name!r} is made by the given pipeline from the first frame on; it "
            f"is none of those that ran there, where others took over: {', '.join(swaps)}",
            file=sys.stderr,
        )


def _numbers(pipeline: Pipeline, manifest: dict[str, Any]) -> dict[int, int]:
    """{number of a source on the tape: its number in the pipeline}."""
    nodes = [operator["name"] for operator in manifest["operators"]]
    on_tape = nodes[: len(manifest["framing"])]  # sources stand in front
    for source in pipeline.sources:
        if source.name not in on_tape:
            raise OperatorError(
                f"the tape has the sources {', '.join(on_tape)}, and the pipeline reads "
                f"{source.name!r}; give the pipeline that the tape was recorded with"
            )
    return {on_tape.index(source.name): n for n, source in enumerate(pipeline.sources)}


def _renumbered(path: str, numbers: dict[int, int]) -> Iterator[Any]:
    """The frames of the tape, of the sources that are asked for, by their numbers there."""
    runs = read_segments(path, read_facts(path).start_offset)
    if all(old == new for old, new in numbers.items()):
        yield from runs  # a source the pipeline does not have is passed over
        return
    from onetape.compiled.frame import frame_bytes, frame_length, frame_source

    for buffer, begin, end in runs:
        part = buffer[begin:end].copy()
        at = 0
        while at < len(part):
            source = int(frame_source(part, at))
            mapped = numbers.get(source & 255, 255)
            part[at + 24 : at + 26] = np.array([source & ~255 | mapped], "<u2").view(np.uint8)
            at += int(frame_bytes(frame_length(part, at)))
        yield part, 0, len(part)


def frames_schema() -> Any:
    """A row a frame: what `onetape tape cat` shows, and its payload."""
    import pyarrow as pa

    numbers = ("offset", "source", "line", "ts_recv_ns", "epoch", "length_bytes", "position")
    fields = [pa.field(name, pa.int64()) for name in numbers]
    return pa.schema([*fields, pa.field("kind", pa.string()), pa.field("payload", pa.binary())])


def _frames(path: str) -> Streamed:
    import pyarrow as pa

    schema = frames_schema()

    def batches() -> Iterator[Any]:
        found = frames(path, read_facts(path).start_offset)
        while some := list(islice(found, FRAMES_A_BATCH)):
            rows = [
                (
                    header.offset,
                    header.source_id & 255,
                    header.source_id >> 8,
                    None if header.ts_recv_ns == UNSET else header.ts_recv_ns,
                    header.epoch,
                    header.length_bytes,
                    header.position,
                    KINDS.get(header.kind, str(header.kind)),
                    payload,
                )
                for header, payload in some
            ]
            columns = [pa.array(c, each.type) for c, each in zip(zip(*rows), schema)]
            yield pa.record_batch(columns, schema=schema)

    return Streamed(schema, batches)


def _states(path: str, manifest: dict[str, Any], end: int) -> list[QueryTable]:
    """`state_NAME` of each keyed operator in the newest checkpoint: its keys and their fields."""
    import pyarrow as pa

    kept = checkpoint.latest_valid(path, end).checkpoint
    found: dict[str, QueryTable] = {}
    if kept is None:
        return []
    for operator in manifest["operators"]:
        label, arrays = operator["id"], kept.arrays
        if not {f"{label}_index", f"{label}_state"} <= set(arrays):
            continue  # no keys, or tables of its own
        held = held_slots(arrays[f"{label}_index"])
        state = arrays[f"{label}_state"][held]
        columns = {"key": pa.array(arrays[f"{label}_keys"][held])}
        columns |= {name: _column(state[name]) for name in state.dtype.names or ()}
        name = "state_" + re.sub("(?<!^)(?=[A-Z])", "_", operator["name"]).lower()
        name = f"{name}_{label}" if name in found else name
        table = pa.table(columns)
        where = f"{path}, checkpoint before frame {kept.offset}"
        found[name] = QueryTable(name, table.schema, table, where, len(held))
    return list(found.values())


def _column(values: Any) -> Any:
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if values.dtype == np.int64:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1), mask=(values == UNSET).ravel())
    if values.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
