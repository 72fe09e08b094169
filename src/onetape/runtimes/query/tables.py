"""What a folder holds, as tables for a query: Parquet files and Delta tables here, tapes in
`of_tape.py`.

A time is a whole number of ns in the column of its name (`ts_event_ns`), and beside it a timestamp
without `_ns`; DuckDB's own reading of a time with a zone would cut it to microseconds. Texts are
texts, UNSET is null. Nothing is read before a query asks for it, and a table can be read twice.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from onetape.connect.frames.fields import is_time
from onetape.records import OperatorError

SUFFIX = ".parquet"


@dataclass
class QueryTable:
    """One table. `source` is what DuckDB scans: an Arrow dataset, or a `Streamed`.

    rows  how many there are, where that is known without reading them
    tick  what one tick is in it
    """

    name: str
    schema: Any
    source: Any
    where: str
    rows: int | None = None
    tick: Decimal | None = None

    def units(self) -> dict[str, str]:
        """What the numbers of each column count, by the rule of their names."""
        return {each.name: unit_of(each.name, self.tick) for each in self.schema}


@dataclass
class Streamed:
    """Batches that are made when they are asked for, in the form that DuckDB takes: any number of
    readings, each from the beginning, each only as far as somebody reads it.

    fault  what stopped a reading: its class is lost on the way through DuckDB
    """

    schema: Any
    batches: Callable[[], Iterator[Any]]
    fault: BaseException | None = field(default=None, init=False)

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self._watched()).__arrow_c_stream__()

    def _watched(self) -> Iterator[Any]:
        try:
            yield from self.batches()
        except Exception as fault:
            self.fault = fault
            raise


def parquet_tables(folder: Path) -> list[QueryTable]:
    """One table a Parquet file of the folder. One that is being written is not there yet."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            raise OperatorError(f"{path} cannot be read: {error}") from None
        scale = (schema.metadata or {}).get(b"price_scale")
        plain = plain_schema(schema)
        found.append(
            QueryTable(
                path.name.removesuffix(SUFFIX),
                plain,
                ds.dataset(str(path), schema=plain, format="parquet"),
                str(path),
                rows,
                Decimal(scale.decode()) if scale else None,
            )
        )
    return found


def delta_tables(folder: Path) -> list[QueryTable]:
    """The folder as a Delta table, in its current version, if it is one."""
    if not (folder / "_delta_log").is_dir():
        return []
    from onetape.connect.lake import store

    table = store.open_table(str(folder))
    dataset = table.to_pyarrow_dataset()
    # Its timestamps are of microseconds; the query makes its own, of ns.
    made = [moment_of(each) for each in dataset.schema]
    fields = [each for each in dataset.schema if each.name not in made]
    plain = plain_schema(fields)
    return [QueryTable(folder.name, plain, dataset.replace_schema(plain), str(folder))]


def plain_schema(schema: Iterable[Any]) -> Any:
    """The same columns: times as numbers of ns, texts as texts."""
    import pyarrow as pa

    fields = []
    for each in schema:
        kind = each.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        elif pa.types.is_timestamp(kind) and kind.unit == "ns" and is_time(each.name):
            kind = pa.int64()
        fields.append(pa.field(each.name, kind))
    return pa.schema(fields)


def moment_of(column: Any) -> str:
    """What a column of times is called as a timestamp; empty if it has none."""
    import pyarrow as pa

    is_moment = is_time(column.name) and pa.types.is_int64(column.type)
    return column.name.removesuffix("_ns") if is_moment else ""


def unit_of(name: str, tick: Decimal | None) -> str:
    """'ns since 1970-01-01 UTC', 'ticks of 0.01', 'lots' ...; empty where the name says nothing."""
    if is_time(name):
        return "ns since 1970-01-01 UTC"
    kind = name.rsplit("_", 1)[-1]
    if kind == "ticks":
        return "ticks" if tick is None else f"ticks of {tick:f}"
    known = {"ns": "ns", "lots": "lots", "ticklots": "ticks x lots", "bytes": "bytes"}
    return known.get(kind, "")


def described(tables: list[QueryTable]) -> str:
    """The tables with their columns, for people."""
    lines = []
    for table in tables:
        rows = "" if table.rows is None else f", {table.rows:,} rows"
        lines.append(f"{table.name}{rows}  ({table.where})")
        units = table.units()
        for each in table.schema:
            moment = moment_of(each) and f"; {moment_of(each)}: the same as a timestamp"
            lines.append(f"  {each.name:24s} {each.type!s:24s} {units[each.name]}{moment}".rstrip())
    return "\n".join(lines)


def described_json(tables: list[QueryTable]) -> str:
    return json.dumps(
        {
            table.name: {
                "where": table.where,
                "rows": table.rows,
                "tick": None if table.tick is None else f"{table.tick:f}",
                "columns": {
                    each.name: {"type": str(each.type), "unit": table.units()[each.name]}
                    for each in table.schema
                },
            }
            for table in tables
        }
    )
