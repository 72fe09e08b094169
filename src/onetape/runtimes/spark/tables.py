"""Files that go to and from the engines: blocks of shards, and the state they came to by day.

Of blocks, a file a shard: (ordinal, block). Of state, FOLDER/day=YYYY-MM-DD/state.parquet with
(shard, ordinal, block): its pieces, numbered from -pieces to -1, so that sorted with the blocks
that come next they stand in front of them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from onetape.codecs.block import MANIFEST, json_of, read_header
from onetape.records import OperatorError
from onetape.runtimes.base import from_pieces

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


@dataclass(frozen=True)
class Kept:
    """The state that a run left: of all shards, at the end of what it saw of a day.

    pieces  {shard: its pieces, in order}      input  what the streams of that day were made of
    """

    path: Path
    day: date
    input: str
    pieces: dict[int, list[bytes]]

    def facts(self, shard: int) -> dict[str, Any]:
        """What its worker knows of itself: the manifest, the next block, blocks made."""
        facts: dict[str, Any] = from_pieces(self.pieces[shard])[0]
        return facts


def keep(folder: Path, day: date, input: str, state: Mapping[int, list[bytes]]) -> None:
    """In place of what was kept of that day before."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        (shard, n - len(pieces), piece)
        for shard, pieces in sorted(state.items())
        for n, piece in enumerate(pieces)
    ]
    types = [("shard", pa.int32()), ("ordinal", pa.int64()), ("block", pa.binary())]
    schema = pa.schema(types, metadata={"input": input})
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
    where = folder / f"day={day}"
    where.mkdir(parents=True, exist_ok=True)
    partial = where / f".state.{os.getpid()}.partial"
    pq.write_table(table, partial, row_group_size=ROW_GROUP, compression="none")
    partial.replace(where / "state.parquet")


def kept(folder: Path, day: date) -> Kept | None:
    """That of the day, else of the newest day before it; None when there is none."""
    import pyarrow.parquet as pq

    if folder.exists() and not folder.is_dir():
        raise OperatorError(f"{folder} is a file; expected the folder of a state table")
    days = [path.parent.name.removeprefix("day=") for path in folder.glob("day=*/state.parquet")]
    until = [found for found in days if found <= str(day)]
    if not until:
        return None
    path = (folder / f"day={max(until)}" / "state.parquet").resolve()
    table = pq.read_table(path, partitioning=None)
    input = (table.schema.metadata or {}).get(b"input", b"").decode()
    table = table.sort_by([("shard", "ascending"), ("ordinal", "ascending")])
    columns = (table.column(name).to_pylist() for name in ("shard", "block"))
    pieces: dict[int, list[bytes]] = {}
    for shard, block in zip(*columns, strict=True):
        pieces.setdefault(shard, []).append(block)
    return Kept(path, date.fromisoformat(max(until)), input, pieces)
