"""Files that go to and from the engines: blocks of shards, and the state they came to by day.

Of blocks, a file a shard: (ordinal, block). Of state, FOLDER/day=YYYY-MM-DD/state.parquet with
(shard, ordinal, block): its pieces, numbered from -pieces to -1, so that sorted with the blocks of
the day after they stand in front of them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from onetape.codecs.block import MANIFEST, json_of, read_header
from onetape.records import OperatorError

ROW_GROUP = 64  # blocks of some 100 KB each
Inputs = dict[int, list[str]]  # {shard: files of its blocks}


def write_blocks(
    blocks: Iterable[tuple[int, bytes]], folder: Path, seen: Callable[[int], None]
) -> tuple[Inputs, dict[str, Any], int]:
    """A file a shard: (files, the manifest of their streams, events in them).

    seen  is told now and then how many events were written
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("ordinal", pa.int64()), ("block", pa.binary())])
    folder.mkdir(parents=True, exist_ok=True)
    waiting: dict[int, list[tuple[int, bytes]]] = {}
    files: dict[int, str] = {}
    manifest: dict[str, Any] = {}
    events = 0
    with ExitStack() as stack:
        writers: dict[int, Any] = {}

        def write(shard: int) -> None:
            if shard not in writers:
                files[shard] = str(folder / f"{shard:04}.parquet")
                made = pq.ParquetWriter(
                    files[shard], schema, compression="none", use_dictionary=False
                )
                writers[shard] = stack.enter_context(made)
            columns = [list(column) for column in zip(*waiting.pop(shard), strict=True)]
            writers[shard].write_table(pa.table(columns, schema=schema), ROW_GROUP)
            seen(events)

        for shard, block in blocks:
            header = read_header(block)
            if header.kind == MANIFEST:
                manifest = json_of(block)
            events += header.count
            waiting.setdefault(shard, []).append((header.ordinal, block))
            if len(waiting[shard]) == ROW_GROUP:
                write(shard)
        for shard in sorted(waiting):
            write(shard)
    return {shard: [file] for shard, file in files.items()}, manifest, events


def manifest_in(inputs: Inputs) -> dict[str, Any] | None:
    """What the streams in the files say of themselves; None if they go on from elsewhere."""
    import pyarrow.dataset as ds

    for paths in inputs.values():
        first = ds.dataset(paths, format="parquet").scanner(
            columns=["block"], filter=ds.field("ordinal") == 0, batch_size=ROW_GROUP
        )
        for batch in first.to_batches():
            for block in batch.column("block"):
                return json_of(block.as_py())
    return None


def keep_state(folder: Path, day: date, state: Mapping[int, list[bytes]]) -> None:
    """The state of all shards at the end of a day; in place of what was kept of it before."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = folder / f"day={day}"
    where.mkdir(parents=True, exist_ok=True)
    partial = where / f".state.{os.getpid()}.partial"
    pq.write_table(state_table(state, pa), partial, row_group_size=ROW_GROUP, compression="none")
    partial.replace(where / "state.parquet")


def state_table(state: Mapping[int, list[bytes]], pa: Any) -> Any:
    rows = [
        (shard, n - len(pieces), piece)
        for shard, pieces in sorted(state.items())
        for n, piece in enumerate(pieces)
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    types = [("shard", pa.int32()), ("ordinal", pa.int64()), ("block", pa.binary())]
    return pa.table(columns, schema=pa.schema(types))


def state_before(folder: Path, day: date) -> Path | None:
    """The file of the newest day before that one; None when there is none."""
    if folder.exists() and not folder.is_dir():
        raise OperatorError(f"--state {folder} is a file; expected a folder")
    days = [path.parent.name.removeprefix("day=") for path in folder.glob("day=*/state.parquet")]
    before = [found for found in days if found < str(day)]
    return folder / f"day={max(before)}" / "state.parquet" if before else None


def state_in(path: Path) -> dict[int, list[bytes]]:
    """{shard: its pieces, in order}"""
    import pyarrow.parquet as pq

    state: dict[int, list[bytes]] = {}
    table = pq.read_table(path).sort_by([("shard", "ascending"), ("ordinal", "ascending")])
    for shard, block in zip(
        *(table.column(n).to_pylist() for n in ("shard", "block")), strict=True
    ):
        state.setdefault(shard, []).append(block)
    return state
