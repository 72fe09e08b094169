"""An outbox of rows as they lie in memory, for stores that take thousands of rows at once.

It keeps the promises of `outbox.py` and costs a fiftieth of its JSON: an entry of the file is a row
and its origin. When all of them were delivered the file begins again, so it is as large as what
waits. `deliver` is given `RowsOf`: rows that stand in order, and the number of the first.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.connect.sinks import outbox
from onetape.connect.sinks.outbox import Outbox
from onetape.connect.sinks.taking import Output
from onetape.engine.layout import ORIGIN
from onetape.records.declare import raw_rows


@dataclass(frozen=True)
class RowsOf:
    """Rows number `first`, `first` + 1 ... of an output, and what caused each."""

    first: int
    rows: Any
    origins: Any

    def __len__(self) -> int:
        return len(self.rows)


class RowsOutbox(Outbox):
    """As `Outbox`; `deliver` takes `RowsOf`."""

    def __init__(
        self,
        output: Output,
        deliver: Callable[[RowsOf], list[str]],
        to: str,
        hang_up: Callable[[], None] = lambda: None,
        *,
        rows_at_once: int,
    ) -> None:
        # Opaque bytes: NumPy would leave out padding, which digests hold.
        self._entry = np.dtype([("row", np.void, output.of.dtype.itemsize), ("origin", ORIGIN)])
        super().__init__(output, deliver, to, hang_up, rows_at_once)

    def finish(self) -> None:
        """Wait for as long as rows leave; `close` gives the rest its last chance."""
        seen, end_s = -1, 0.0
        while self._to_do() and (self.delivered != seen or time.monotonic() < end_s):
            if self.delivered != seen:
                seen, end_s = self.delivered, time.monotonic() + outbox.LAST_TRY_S
            time.sleep(outbox.DURABLE_POLL_S)

    def _as_kept(self, rows: Any, origins: Any) -> bytes:
        entries = np.empty(len(rows), self._entry)
        entries["row"], entries["origin"] = raw_rows(rows), origins
        return entries.tobytes()

    def _next_kept(self, rows_max: int) -> tuple[Any, int]:
        size = self._entry.itemsize
        data = os.pread(self._rows.fileno(), rows_max * size, self._rows.tell())
        whole = len(data) // size * size
        return np.frombuffer(data[:whole], self._entry), whole

    def _last_offset(self, kept: Any) -> int:
        return int(kept["origin"]["tape_offset"].max())

    def _as_delivered(self, kept: Any) -> Any:
        rows = np.ascontiguousarray(kept["row"]).view(self._output.of.dtype)
        return RowsOf(self.delivered, rows, np.ascontiguousarray(kept["origin"]))

    def _after_all(self, at: int) -> int:
        return 0 if self._file.begin_again() else at
