"""Inside Spark and Sail: the blocks of a partition, each shard's through a worker of its own.

    frame.repartition(...).sortWithinPartitions("shard", "ordinal").mapInArrow(Work(...), SCHEMA)

Rows in are (shard, ordinal, block), all of a shard in one partition: nothing in `mapInArrow`
outlives one. Spark sorts them; Sail (0.7.2) drops the sort, because nothing in its plan asks for
order, and reads parts of a file side by side. So a block that comes early waits for those before
it. State that another run left is in front of its shard's blocks: pieces numbered -count to -1.
Rows out are (kind, shard, output, ordinal, block):

    rows      a block of rows of `output`
    end       the block that says what the shard came to
    symbols   of its feed: the word of each locate code
    state     a piece of all that the shard has come to, where another run is to go on from it
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onetape.codecs.block import END, read_header
from onetape.engine.graph import Pipeline
from onetape.records import OnetapeError
from onetape.runtimes.code import Code
from onetape.runtimes.inputs import symbols_of
from onetape.runtimes.worker import Worker

COLUMNS = ("kind", "shard", "output", "ordinal", "block")
SCHEMA = "kind string, shard int, output string, ordinal bigint, block binary"
ROWS, ENDED, SYMBOLS, STATE = "rows", "end", "symbols", "state"
MARKS = "[[onetape: ", " :onetape]]"  # around what an error says, in whatever an engine makes of it

Row = tuple[str, int, str, int, bytes]


@dataclass(frozen=True)
class Work:
    """What `mapInArrow` calls; it travels to the machines of a cluster, and the code with it.

    code         of the pipeline: `Code.text()`
    pieces       {shard: of how many pieces the state is that it goes on from}
    keeps_state  hand out the state of each shard behind its rows
    progress     file of int64, the events that each shard has taken; where there is no such file,
                 nobody looks
    """

    code: str
    pieces: Mapping[int, int] = field(default_factory=dict)
    keeps_state: bool = False
    progress: str = ""

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from map(_batch, filter(None, self._made(batches)))
        except OnetapeError as error:
            raise RuntimeError(f"{error}".join(MARKS)) from error

    def _made(self, batches: Iterator[Any]) -> Iterator[list[Row]]:
        """What each batch of blocks makes."""
        told, shards = self._told(), dict[int, Shard]()
        for batch in batches:
            made: list[Row] = []
            columns = (batch.column(name).to_pylist() for name in ("shard", "ordinal", "block"))
            for number, ordinal, block in zip(*columns, strict=True):
                if number not in shards:
                    shards[number] = Shard(number, self)
                made += shards[number].take(ordinal, block)
            for shard in shards.values():
                shard.tell(told)
            yield made
        for shard in shards.values():
            yield shard.finish()

    def _told(self) -> Any:
        try:
            return np.memmap(self.progress, np.int64, "r+") if self.progress else None
        except FileNotFoundError:
            return None


class Shard:
    """The stream of one shard through its worker."""

    def __init__(self, number: int, work: Work) -> None:
        self.number, self._work = number, work
        self._worker = worker_of(work.code)
        self._base: dict[int, bytes] = {}
        self._waiting: dict[int, bytes] = {}
        self._has_begun = False

    def tell(self, told: Any) -> None:
        """How far it is, where somebody looks."""
        if told is not None and self._has_begun and self._worker.engine is not None:
            told[self.number] = self._worker.engine.run["events"][0]

    def take(self, ordinal: int, block: bytes) -> list[Row]:
        """What can be run now."""
        (self._base if ordinal < 0 else self._waiting)[ordinal] = block
        if not self._waiting or len(self._base) < self._work.pieces.get(self.number, 0):
            return []
        if not self._has_begun:
            self._begin()
        made: list[Row] = []
        while self._worker.next_ordinal in self._waiting:
            made += self._turn(self._waiting.pop(self._worker.next_ordinal))
        return made

    def finish(self) -> list[Row]:
        """What is left to say when no more blocks come. BlockError: one of them is missing."""
        if not self._has_begun and not self._waiting:
            return self._pieces(self._in_order())  # nothing came: its state is what it was
        if not self._has_begun:
            self._begin()  # says which piece is missing
        late = [ordinal for ordinal in self._waiting if ordinal > self._worker.next_ordinal]
        if late:
            self._worker.turn(self._waiting[min(late)])  # says what is missing
        made: list[Row] = []
        symbols = symbols_of(self._worker.engine) if self._worker.engine is not None else None
        if symbols is not None:
            made.append((SYMBOLS, self.number, "", 0, np.array(symbols).tobytes()))
        return made + (self._pieces(self._worker.save()) if self._work.keeps_state else [])

    def _begin(self) -> None:
        """An engine is planned, and compiled if it must be: with the first block, or for a base."""
        if self._base:
            with _BUILDING:
                self._worker.restore(self._in_order())
            self._has_begun = True

    def _turn(self, block: bytes) -> list[Row]:
        if self._has_begun:
            return self._rows(self._worker.turn(block))
        with _BUILDING:
            made = self._rows(self._worker.turn(block))
        self._has_begun = True
        return made

    def _in_order(self) -> list[bytes]:
        return [self._base[n] for n in sorted(self._base)]

    def _rows(self, blocks: list[bytes]) -> list[Row]:
        made = []
        for block in blocks:
            header = read_header(block)
            kind = ENDED if header.kind == END else ROWS
            made.append((kind, self.number, header.name, header.ordinal, block))
        return made

    def _pieces(self, pieces: list[bytes]) -> list[Row]:
        return [(STATE, self.number, "", n, piece) for n, piece in enumerate(pieces)]


def worker_of(code: str) -> Worker:
    """A new worker of the pipeline; in one process only the first loads machine code."""
    with _BUILDING:
        if code not in _PIPELINES:
            _PIPELINES[code] = Code(**json.loads(code)).pipeline()
        worker = Worker(_PIPELINES[code])
        if code in _FIRST:
            worker.engine = _FIRST[code].engine
        else:
            _FIRST[code] = worker
        return worker


def warm(code: str, manifest: dict[str, Any]) -> None:
    """Compile what the streams will need, here and on disk, before many ask for it at once."""
    worker_of(code).warm(manifest["framing"], manifest["shards"], manifest["by"])


def _batch(rows: list[Row]) -> Any:
    import pyarrow as pa

    types = (pa.string(), pa.int32(), pa.string(), pa.int64(), pa.binary())
    columns = [pa.array(values, of) for values, of in zip(zip(*rows), types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=list(COLUMNS))


# Sail runs all partitions as threads of one process; Spark a process each, one after another.
_BUILDING = threading.RLock()
_PIPELINES: dict[str, Pipeline] = {}
_FIRST: dict[str, Worker] = {}
