"""Inside Spark and Sail: the blocks of a partition, each shard's through a worker of its own.

    frame.repartition(...).sortWithinPartitions("shard", "ordinal").mapInArrow(Work(...), SCHEMA)

Rows in are (shard, ordinal, block), all of a shard in one partition and in order: nothing else in
`mapInArrow` outlives a partition. State that another run left stands in front of its shard's
blocks, numbered -pieces to -1. Rows out are (kind, shard, output, ordinal, block):

    rows      a block of rows of `output`
    end       the block that says what the shard came to
    symbols   of its feed: the word of each locate code
    state     a piece of all that the shard has come to, where another run is to go on from it
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
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
    keeps_state  hand out the state of each shard behind its rows
    progress     file of int64, the events that each shard has taken; where there is no such file,
                 nobody looks
    """

    code: str
    keeps_state: bool = False
    progress: str = ""

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from map(_batch, filter(None, self._made(batches)))
        except OnetapeError as error:
            raise RuntimeError(f"{error}".join(MARKS)) from error

    def _made(self, batches: Iterator[Any]) -> Iterator[list[Row]]:
        """What each batch of blocks makes."""
        told, shard = self._told(), None
        for batch in batches:
            made: list[Row] = []
            columns = (batch.column(name).to_pylist() for name in ("shard", "ordinal", "block"))
            for of, ordinal, block in zip(*columns, strict=True):
                if shard is None or of != shard.number:
                    made += shard.finish(told) if shard is not None else []
                    shard = Shard(of, self)
                made += shard.take(ordinal, block)
            if shard is not None:
                shard.tell(told)
            yield made
        yield shard.finish(told) if shard is not None else []

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
        self._base: list[bytes] = []
        self._has_begun = False

    def tell(self, told: Any) -> None:
        """How far it is, where somebody looks."""
        if told is not None and self._has_begun and self._worker.engine is not None:
            told[self.number] = self._worker.engine.run["events"][0]

    def take(self, ordinal: int, block: bytes) -> list[Row]:
        if ordinal < 0:
            self._base.append(block)
            return []
        if self._has_begun:
            return self._rows(self._worker.turn(block))
        self._has_begun = True
        with _BUILDING:  # an engine is planned, and compiled if it must be
            if self._base:
                self._worker.restore(self._base)
            return self._rows(self._worker.turn(block))

    def finish(self, told: Any) -> list[Row]:
        self.tell(told)
        if not self._has_begun:
            return self._pieces(self._base)  # nothing came: its state is what it was
        made: list[Row] = []
        symbols = symbols_of(self._worker.engine) if self._worker.engine is not None else None
        if symbols is not None:
            made.append((SYMBOLS, self.number, "", 0, np.array(symbols).tobytes()))
        return made + (self._pieces(self._worker.save()) if self._work.keeps_state else [])

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
