"""Outputs as Parquet files, one an output: written aside, renamed when complete.

A thread of its own turns blocks into row groups (pyarrow works without the interpreter lock), so
the engine does not wait for compression. The queue between them is bounded: a disk that cannot
keep up slows a replay down, it never loses rows.

Each file has one writer: what it is written aside as is locked, and another run that would write
the same output into the same folder is refused. The kernel drops the lock with the process,
however that ends, and the next run takes over what a crash has left behind.
"""

import copy
import fcntl
import json
import os
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np

from onetape.connect.arrow import arrow_table
from onetape.records import OperatorError
from onetape.records.declare import copied

ROW_GROUP_ROWS = 1 << 18
QUEUE_BLOCKS = 64


class ParquetSink:
    """`with ParquetSink(folder, plan) as sink: sink.write(name, rows)`; `commit` makes it visible.

    Leaving the block without `commit` (an error, Ctrl-C) removes what was begun.
    """

    def __init__(
        self,
        folder: Path,
        outputs: dict[str, Any],
        metadata: dict[str, str] | None = None,
        rules: dict[int, str] | None = None,
    ) -> None:
        self.folder = folder
        self._rules = rules or {}  # texts of alerts by the number of their rule
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
        self._locks: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in outputs:
                self._locks[name] = _locked(self._partial(name))
        except OperatorError:
            self._release()
            raise
        except OSError as error:
            self._release()
            raise OperatorError(
                f"cannot write to {folder}: {error.strerror}; choose another folder with --out"
            ) from None

    def __enter__(self) -> "ParquetSink":
        self._thread.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._blocks.put(None)
        self._thread.join()
        try:
            for writer in self._writers.values():
                writer.close()
        finally:
            self._release()

    def write(self, name: str, rows: Any, symbols: Any) -> None:
        """Take a block of rows (copied); `symbols`: see `onetape.connect.arrow.symbol_at`."""
        self._symbols = symbols
        self._kept[name].append(copied(rows))
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
            os.close(self._locks.pop(name))
            files.append(final)
        return files

    def _flush(self, name: str) -> None:
        self._check()
        if self._kept[name]:
            self._blocks.put((name, self._kept[name], copy.copy(self._symbols)))
            self._kept[name], self._rows[name] = [], 0

    def _check(self) -> None:
        if self._fault is not None:
            raise OperatorError(f"cannot write to {self.folder}: {self._fault}") from self._fault

    def _partial(self, name: str) -> Path:
        return self.folder / f".{name}.parquet.partial"

    def _release(self) -> None:
        """Remove what was begun and not committed: only what is ours."""
        for name, fd in self._locks.items():
            self._partial(name).unlink(missing_ok=True)
            os.close(fd)
        self._locks.clear()

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
        self._writers[name].write_table(self._table(of, rows, symbols))
        self.rows_written[name] += len(rows)

    def _writer(self, name: str, of: Any) -> Any:
        import pyarrow.parquet as pq

        schema = self._table(of, np.empty(0, of.dtype), {}).schema
        return pq.ParquetWriter(self._partial(name), schema, compression="zstd")

    def _table(self, of: Any, rows: Any, symbols: Any) -> Any:
        """The rows as others read them, and in the file's metadata what they are."""
        table = arrow_table(of, rows, symbols)
        base = {"record": of.__name__, "version": str(of.version)}
        if "rule" in of.fields:
            base["rules"] = json.dumps(self._rules)
        return table.replace_schema_metadata(base | self._metadata)


def _locked(path: Path) -> int:
    """Open the file; the descriptor keeps others from writing it until it is closed."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                return fd
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(fd)
            raise OperatorError(
                f"{path.parent} is being written by another run, which makes the same output there "
                f"({path.name}); choose another folder with --out, or wait for its end"
            ) from None
        except OSError:
            os.close(fd)
            raise
        os.close(fd)  # its owner renamed or removed it just now: make a new one
