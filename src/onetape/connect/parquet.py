"""Outputs as Parquet files, one an output: written aside, renamed when complete.

A thread of its own turns blocks into row groups (pyarrow works without the interpreter lock), so
the engine does not wait for compression. The queue between them is bounded: a disk that cannot
keep up slows a replay down, it never loses rows.
"""

import fcntl
import os
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np

from onetape.records import OperatorError
from onetape.records.schemas import arrow_schema

ROW_GROUP_ROWS = 1 << 18
QUEUE_BLOCKS = 64


class ParquetSink:
    """`with ParquetSink(folder, plan) as sink: sink.write(name, rows)`; `commit` makes it visible.

    Leaving the block without `commit` (an error, Ctrl-C) removes what was begun.
    """

    def __init__(
        self, folder: Path, outputs: dict[str, Any], metadata: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._metadata = metadata or {}
        self._outputs = outputs
        self._blocks: queue.Queue[Any] = queue.Queue(QUEUE_BLOCKS)
        self._fault: BaseException | None = None
        self._symbols: Any = None
        self._kept: dict[str, list[Any]] = {name: [] for name in outputs}
        self._rows = dict.fromkeys(outputs, 0)
        self._writers: dict[str, Any] = {}
        self.rows_written = dict.fromkeys(outputs, 0)
        self._thread = threading.Thread(target=self._work, name="parquet", daemon=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._locks = [self._locked(self._partial(name)) for name in outputs]
        except OSError as error:
            raise OperatorError(
                f"cannot write to {folder}: {error.strerror}; choose another folder with --out"
            ) from None

    def __enter__(self) -> "ParquetSink":
        self._thread.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._blocks.put(None)
        self._thread.join()
        for writer in self._writers.values():
            writer.close()
        for name in self._outputs:
            self._partial(name).unlink(missing_ok=True)
        for fd in self._locks:
            os.close(fd)

    def write(self, name: str, rows: Any, symbols: Any) -> None:
        """Take a block of rows (copied); `symbols` is the word of each instrument's symbol."""
        self._symbols = symbols
        self._kept[name].append(rows.copy())
        self._rows[name] += len(rows)
        if self._rows[name] >= ROW_GROUP_ROWS:
            self._flush(name)

    def commit(self) -> list[Path]:
        """Write what is left, make the files complete and visible; returns them."""
        for name in self._outputs:
            self._flush(name)
        self._blocks.join()
        self._check()
        files = []
        for name, of in self._outputs.items():
            writer = self._writers.pop(name, None) or self._writer(name, of)
            writer.close()
            final = self.folder / f"{name}.parquet"
            os.replace(self._partial(name), final)
            files.append(final)
        return files

    def _flush(self, name: str) -> None:
        self._check()
        if self._kept[name]:
            self._blocks.put((name, self._kept[name], np.array(self._symbols)))
            self._kept[name], self._rows[name] = [], 0

    def _check(self) -> None:
        if self._fault is not None:
            raise OperatorError(f"cannot write to {self.folder}: {self._fault}") from self._fault

    def _partial(self, name: str) -> Path:
        return self.folder / f".{name}.parquet.partial"

    @staticmethod
    def _locked(path: Path) -> int:
        """A descriptor that keeps others from writing the same file."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise OperatorError(
                f"{path.parent} is being written by another run; choose another folder with --out"
            ) from None
        return fd

    def _work(self) -> None:
        while (item := self._blocks.get()) is not None:
            try:
                if self._fault is None:
                    self._write(*item)
            except BaseException as fault:
                self._fault = fault
            self._blocks.task_done()
        self._blocks.task_done()

    def _write(self, name: str, blocks: list[Any], symbols: Any) -> None:
        of = self._outputs[name]
        if name not in self._writers:
            self._writers[name] = self._writer(name, of)
        rows = np.concatenate(blocks)
        self._writers[name].write_table(_table(of, rows, symbols, self._schema(of)))
        self.rows_written[name] += len(rows)

    def _writer(self, name: str, of: Any) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetWriter(self._partial(name), self._schema(of), compression="zstd")

    def _schema(self, of: Any) -> Any:
        import pyarrow as pa

        schema = arrow_schema(of, self._metadata)
        if _has_symbol(of):
            schema = schema.insert(0, pa.field("symbol", pa.dictionary(pa.int32(), pa.string())))
        return schema


def _table(of: Any, rows: Any, symbols: Any, schema: Any) -> Any:
    import pyarrow as pa

    columns = []
    if _has_symbol(of):
        ids, places = np.unique(rows["instrument_id"], return_inverse=True)
        names = pa.array([symbol_text(int(symbols[i])) if i < len(symbols) else "" for i in ids])
        columns.append(pa.DictionaryArray.from_arrays(places.astype(np.int32), names))
    for name, field in of.fields.items():
        values = np.ascontiguousarray(rows[name])
        if field.length is None:
            columns.append(pa.array(values))
        else:
            columns.append(pa.FixedSizeListArray.from_arrays(values.reshape(-1), field.length))
    return pa.Table.from_arrays(columns, schema=schema)


def _has_symbol(of: Any) -> bool:
    """Is there a column `symbol` to add? Not where the record has its own."""
    return "instrument_id" in of._fields and "symbol" not in of._fields


def symbol_text(word: int) -> str:
    """The symbol in a directory word: eight ASCII letters, space padded, big-endian."""
    return (word % (1 << 64)).to_bytes(8, "big").decode("ascii", "replace").strip("\x00 ")
