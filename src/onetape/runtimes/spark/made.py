"""What an engine made: its files of blocks, as an answer.

A partition's rows were made in order, but an engine may write them to several files, turn by turn,
and name those as it likes. So all files are read side by side, and a block is taken when it is the
next of its shard and output.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onetape.codecs.block import BlockError
from onetape.engine.graph import Pipeline
from onetape.runtimes.answer import Answer
from onetape.runtimes.spark.adapter import COLUMNS, ENDED, ROWS, STATE, SYMBOLS
from onetape.runtimes.spark.tables import ROW_GROUP, Kept

Rows = tuple[str, Any, Any]  # output, rows, origins
Next = dict[tuple[int, str], int]  # {(shard, output): ordinal of its next block}


@dataclass
class Made:
    """Of a run: `rows(folder)` gives its rows; then the answer is whole.

    ends     {shard: the block that says what it came to}, of those that came to their end
    symbols  of the feed, by locate code; None without one
    state    {shard: pieces}, where they were to be kept
    begun, events_before  blocks and events of the state that the run began with
    """

    answer: Answer
    ends: dict[int, bytes] = field(default_factory=dict)
    symbols: Any = None
    state: dict[int, list[bytes]] = field(default_factory=dict)
    begun: Next = field(default_factory=dict)
    events_before: int = 0

    def rows(self, folder: Path) -> Iterator[Rows]:
        """All rows of all outputs, per instrument in the order they were made.

        BlockError: blocks are missing, or there twice.
        """
        for block in blocks_in(folder, self.begun):
            taken = self.answer.take(block)
            if taken is not None:
                yield taken
        for block in self.ends.values():
            self.answer.take(block)


def made_in(folder: Path, pipeline: Pipeline, since: Kept | None = None) -> Made:
    """All but the rows.

    since  the state that the run began with
    """
    import pyarrow.dataset as ds

    begun: Next = {}
    before = 0
    if since is not None:
        for shard in since.pieces:
            for output, count in since.facts(shard)["made"].items():
                begun[shard, output] = count
            before += since.facts(shard).get("events", 0)
    made = Made(Answer(pipeline, begun), begun=begun, events_before=before)
    pieces: dict[int, dict[int, bytes]] = {}
    rest = ds.dataset(folder, format="parquet").to_table(filter=ds.field("kind") != ROWS)
    for kind, shard, _, ordinal, block in _rows_of(rest):
        if kind == ENDED:
            made.ends[shard] = block
        elif kind == SYMBOLS:
            words = np.frombuffer(block, np.int64)
            made.symbols = words if made.symbols is None else made.symbols | words
        elif kind == STATE:
            pieces.setdefault(shard, {})[ordinal] = block
    made.state = {shard: [by[n] for n in sorted(by)] for shard, by in sorted(pieces.items())}
    return made


def blocks_in(folder: Path, begun: Mapping[tuple[int, str], int]) -> Iterator[bytes]:
    """The blocks of rows, those of a shard and output in order."""
    files = [_Reader(path) for path in sorted(folder.glob("*.parquet"))]
    expected = dict(begun)
    while files := [file for file in files if file.head is not None]:
        moved = False
        for file in files:
            while file.head is not None:
                _, shard, output, ordinal, block = file.head
                if ordinal > expected.get((shard, output), 0):
                    break  # one before it is in another file
                yield block
                expected[shard, output] = ordinal + 1
                file.step()
                moved = True
        if not moved:
            _, shard, output, ordinal, _ = min(file.head for file in files if file.head)
            raise BlockError(
                f"block {expected.get((shard, output), 0)} of shard {shard} ({output}) is not in "
                f"{folder}, and block {ordinal} is: the engine lost it"
            )


class _Reader:
    """The rows of blocks in a file, one after another: `head` is the next."""

    def __init__(self, path: Path) -> None:
        self._rows = self._read(path)
        self.head: Any = None
        self.step()

    def step(self) -> None:
        self.head = next(self._rows, None)

    def _read(self, path: Path) -> Iterator[Any]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROW_GROUP, columns=list(COLUMNS)):
                yield from (row for row in _rows_of(batch) if row[0] == ROWS)


def _rows_of(table: Any) -> Iterator[Any]:
    return zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)
