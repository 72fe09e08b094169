"""Outputs of a lake: rows in ordinary typed columns, each exactly once.

The rows that a run makes of its input are the same in every run, in the same order. So how many of
them are in the table is all that has to be known to go on: that is the number of the application
transaction that each commit carries, and a run that begins again passes over so many.
"""

import copy
import threading
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from onetape.connect.arrow import arrow_table
from onetape.connect.lake import store
from onetape.records import IntegrityError, OperatorError
from onetape.records.declare import raw_rows

COMMIT_ROWS = 1 << 19
DAY_NS = 86_400 * 10**9


def lake_table(of: Any, rows: Any, symbols: Any, day: date | None) -> Any:
    """Rows as a pyarrow Table in types that Delta has; see `connect/lake`.

    day  of all the rows; None: each row's own, in UTC, by `ts_event_ns`, if the record has one
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    made = arrow_table(of, rows, symbols)
    columns: dict[str, Any] = {}
    for name, column in zip(made.column_names, made.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            columns[name] = column.cast(pa.int64())
            if name == "ts_event_ns":
                columns["ts_event"] = column.cast(pa.timestamp("us", "UTC"), safe=False)
        else:
            columns[name] = column.cast(plain_type(column.type), safe=False)
    if day is not None:
        days = pa.array([day], pa.date32()).take(pa.array([0] * len(rows), pa.int32()))
        columns = {store.DAY: days} | columns
    elif "ts_event_ns" in columns:
        days = pc.cast(pc.divide(columns["ts_event_ns"], DAY_NS), pa.int32()).cast(pa.date32())
        columns = {store.DAY: days} | columns
    return pa.table(columns)


def plain_type(kind: Any) -> Any:
    """The type that Delta has for it."""
    import pyarrow as pa

    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain_type(kind.value_type), kind.list_size)
    return (wider | {pa.uint64(): pa.int64()}).get(kind, kind)


class OutputTable:
    """The Delta table of one output. Threads may share it.

    has_day   it is partitioned by day
    replaces  its first commit takes the place of all that is there
    marks     {name: number} that each commit carries besides
    """

    def __init__(
        self, url: str | Path, name: str, of: Any, *, has_day: bool = True, replaces: bool = False
    ) -> None:
        import numpy as np

        self.url, self.name, self.of = store.place(url, name), name, of
        self.marks: dict[str, int] = {}
        schema = lake_table(of, np.empty(0, of.dtype), {}, date(1970, 1, 1)).schema
        if not has_day:
            schema = schema.remove(schema.get_field_index(store.DAY))
        self._replaces, self._lock = replaces, threading.Lock()
        self._table = store.make_table(self.url, schema, [store.DAY] if has_day else [])
        self._check(schema)

    def count(self, run: str) -> int:
        """How many rows of a run are there."""
        with self._lock, store.heard(f"{self.url} cannot be read"):
            self._table.update_incremental()
            return max(store.came_to(self._table, run), 0)

    def append(self, run: str, data: Any, begin: int) -> None:
        """The rows `begin` to `begin + len(data)` of a run; those that are there are left out."""
        with self._lock:
            for _ in range(store.TRIES):
                with store.heard(f"{self.url} cannot be read"):
                    self._table.update_incremental()
                there = max(store.came_to(self._table, run), 0)
                if there > begin:
                    data, begin = data.slice(there - begin), there
                if there < begin:
                    raise IntegrityError(f"{self.url}: row {there} of run {run} is not there")
                if not len(data):
                    return
                instead_of = store.ALL if self._replaces else None
                try:
                    store.write(
                        self._table,
                        data,
                        {run: begin + len(data)} | self.marks,
                        instead_of=instead_of,
                        properties=writer_properties(),
                    )
                    self._replaces = False
                    return
                except store.TakenBefore:
                    self._table = store.open_table(self.url)
            raise store.busy(self.url)

    def _check(self, schema: Any) -> None:
        import pyarrow as pa

        there = pa.schema(self._table.schema().to_arrow())
        if differ := differing(schema, there):
            raise OperatorError(
                f"{self.url} has other columns than {self.of.__name__} now: {differ}; write to "
                "another place, or have onetape backfill bring the new version in"
            )


class RowsWriter:
    """The rows of one output of one run, in order, into its table."""

    def __init__(self, table: OutputTable, run: str, day: date | None) -> None:
        self._table, self._run, self._day = table, run, day
        self._done = self._begin = table.count(run)
        self._seen = self._kept_rows = 0
        self._kept: list[Any] = []

    def take(self, rows: Any, symbols: Any) -> None:
        """The next rows (copied); see `onetape.connect.arrow.symbol_at` for symbols."""
        first, self._seen = self._seen, self._seen + len(rows)
        if self._seen <= self._done:
            return
        rows = rows[max(self._done - first, 0) :]
        self._kept.append(raw_rows(rows).copy())
        self._kept_rows += len(rows)
        if self._kept_rows >= COMMIT_ROWS:
            self.flush(symbols)

    def flush(self, symbols: Any) -> None:
        """Commit what is kept; after an error it is kept still, for another try."""
        import numpy as np

        if not self._kept:
            return
        rows = np.concatenate(self._kept).view(self._table.of.dtype)
        known = symbols if symbols is None or isinstance(symbols, Mapping) else copy.copy(symbols)
        data = lake_table(self._table.of, rows, known, self._day)
        self._table.append(self._run, data, self._begin)
        self._begin += len(rows)
        self._kept, self._kept_rows = [], 0


def differing(ours: Any, theirs: Any) -> str:
    """Fields that only one has, or that differ in type; '' where there are none."""
    said = []
    for name in dict.fromkeys([*ours.names, *theirs.names]):
        kinds = [str(plain(s.field(name).type)) if name in s.names else "" for s in (ours, theirs)]
        if kinds[0] != kinds[1]:
            said.append(f"{name} was {kinds[1] or 'not there'}, is {kinds[0] or 'gone'}")
    return ", ".join(said)


def plain(kind: Any) -> Any:
    """A type as Delta gives it back."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", plain(kind.value_type)))
    if pa.types.is_large_string(kind) or str(kind) == "string_view":
        return pa.string()
    return kind


def writer_properties() -> Any:
    return store.deltalake().WriterProperties(compression="ZSTD")
