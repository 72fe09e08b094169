"""State that does not fit into memory, in an LMDB file in the folder for temporary files (TMPDIR).

It is a copy of what the input gives again: nothing is synced, and it has no name.
What it has in memory is the system's page cache, which gives way.
"""

import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from onetape.records import OperatorError

KEY_BYTES = 8
LEAST_BYTES = 1 << 26
PUT_KEYS = 2048  # in one transaction, which has a page of memory for each page that it changes


class LmdbStore:
    """Rows of `size` bytes by key, at most `keys` of them. OperatorError: lmdb is not installed."""

    def __init__(self, size: int, keys: int) -> None:
        try:
            import lmdb
        except ImportError:
            raise OperatorError(
                "an operator with memory= puts state away with lmdb, which is not installed: "
                "pip install 'onetape[spill]', or leave memory= out"
            ) from None
        self.size = size
        folder = tempfile.mkdtemp(prefix="onetape_spill_")
        self._env = lmdb.open(
            folder,
            map_size=LEAST_BYTES + keys * (size + 64) * 3,  # address space; pages are half full
            sync=False,
            metasync=False,
            lock=False,
            readahead=False,
            max_dbs=0,
        )
        shutil.rmtree(folder)  # the file stays until it is closed, and no crash leaves it behind

    def put(self, keys: Any, rows: Any) -> None:
        order = np.argsort(_sortable(keys))
        for at in range(0, len(keys), PUT_KEYS):
            some = order[at : at + PUT_KEYS]
            names, data = _sortable(keys[some]).tobytes(), rows[some].tobytes()
            size = self.size
            pairs = [
                (names[n * KEY_BYTES : (n + 1) * KEY_BYTES], data[n * size : (n + 1) * size])
                for n in range(len(some))
            ]
            with self._env.begin(write=True) as change:
                change.cursor().putmulti(pairs)

    def get(self, keys: Any) -> tuple[Any, Any]:
        names, found, rows = _sortable(keys).tobytes(), [], []
        with self._env.begin(buffers=True) as look:
            for n, key in enumerate(keys.tolist()):
                row = look.get(names[n * KEY_BYTES : (n + 1) * KEY_BYTES])
                if row is not None:
                    found.append(key)
                    rows.append(bytes(row))
        return np.array(found, np.int64), self._block(rows)

    def chunks(self, count: int) -> Iterator[tuple[Any, Any]]:
        with self._env.begin() as look:
            names: list[bytes] = []
            rows: list[bytes] = []
            for name, row in look.cursor():
                names.append(name)
                rows.append(row)
                if len(names) == count:
                    yield _keys(names), self._block(rows)
                    names, rows = [], []
            if names:
                yield _keys(names), self._block(rows)

    def clear(self) -> None:
        with self._env.begin(write=True) as change:
            change.drop(self._env.open_db(), delete=False)

    def _block(self, rows: list[bytes]) -> Any:
        return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), self.size)


def _sortable(keys: Any) -> Any:
    """Keys as big-endian words: LMDB orders by bytes, and neighbours share a page."""
    return np.ascontiguousarray(keys).astype(">i8")


def _keys(names: list[bytes]) -> Any:
    return np.frombuffer(b"".join(names), ">i8").astype(np.int64)
