"""Whatever the table is, a schema and record batches of it, a bounded number of rows at a time.

Files are known by their content: Parquet, Arrow IPC (Feather), else CSV, plain or compressed. A CSV
is read as text in all its columns, so that a price is what was written and not the float near it. A
folder with a `_delta_log`, or an address in an object store, is a Delta table.
"""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onetape.records import DeclarationError, OperatorError, PeerError

CSV_BLOCK_BYTES = 1 << 20
KINDS = "a path of Parquet, CSV, Arrow IPC or a Delta table, a pyarrow, Polars or pandas table"


@dataclass
class Opened:
    """One table: where it is from, its columns' types by name, its batches.

    is_text  every column is text because the format has no other type (CSV)
    rows     how many there are, where that is known beforehand
    """

    where: str
    types: dict[str, Any]
    batches: Callable[[list[str], int], Iterator[Any]]
    is_text: bool = False
    rows: int | None = None


def open_tables(what: Any) -> list[Opened]:
    """The tables of a path, a glob pattern, a list of those, or of a frame in memory."""
    if isinstance(what, str | Path):
        if str(what).startswith("s3://") or (Path(what) / "_delta_log").is_dir():
            return [_delta(str(what))]
        return [_open_file(path) for path in _paths(str(what))]
    if isinstance(what, list | tuple):
        return [opened for each in what for opened in open_tables(each)]
    return [_open_frame(what)]


def _paths(pattern: str) -> list[Path]:
    if Path(pattern).is_file():
        return [Path(pattern)]
    found = sorted(path for path in map(Path, glob.glob(pattern)) if path.is_file())
    if not found:
        raise OperatorError(f"no such file: {pattern}; give a file, or a pattern such as 'day/*'")
    return found


def _open_file(path: Path) -> Opened:
    import pyarrow as pa

    try:
        with open(path, "rb") as stream:
            magic = stream.read(8)
        if magic[:4] == b"PAR1":
            return _parquet(path)
        if magic[:6] == b"ARROW1":
            return _ipc(path, pa.ipc.open_file)
        if magic[:4] == b"\xff\xff\xff\xff":
            return _ipc(path, pa.ipc.open_stream)
        return _csv(path)
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error}") from None
    except pa.ArrowException as error:
        raise PeerError(f"{path} is damaged, or no table: {error}") from None


def _parquet(path: Path) -> Opened:
    import pyarrow.parquet as pq

    def batches(names: list[str], rows: int) -> Iterator[Any]:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(rows, columns=names)

    with pq.ParquetFile(path) as file:
        return Opened(str(path), _types(file.schema_arrow), batches, rows=file.metadata.num_rows)


def _delta(url: str) -> Opened:
    """The current version of a Delta table, file by file."""
    from onetape.connect.lake import store

    table = store.open_table(url)
    if table is None:
        raise OperatorError(f"{url} is no Delta table")
    dataset = table.to_pyarrow_dataset()

    def batches(names: list[str], rows: int) -> Iterator[Any]:
        with store.heard(f"{url} cannot be read"):
            yield from _cut(dataset.to_batches(columns=names), names, rows)

    return Opened(url, _types(dataset.schema), batches)


def _ipc(path: Path, opener: Any) -> Opened:
    import pyarrow as pa

    def batches(names: list[str], rows: int) -> Iterator[Any]:
        with pa.memory_map(str(path)) as stream:
            reader = opener(stream)
            groups = (
                (reader.get_batch(i) for i in range(reader.num_record_batches))
                if hasattr(reader, "get_batch")
                else reader
            )
            yield from _cut(groups, names, rows)

    with pa.memory_map(str(path)) as stream:
        return Opened(str(path), _types(opener(stream).schema), batches)


def _csv(path: Path) -> Opened:
    import pyarrow as pa
    from pyarrow import csv

    with pa.input_stream(str(path), compression="detect") as stream:
        head = stream.read(1 << 16)
    line = head.split(b"\n")[0].decode("utf-8", "replace").lstrip("\ufeff").rstrip("\r")
    if not line.strip() or (not line.isprintable() and "\t" not in line):
        raise PeerError(f"{path} is no table: expected {KINDS}; it begins with {head[:16]!r}")
    separator = max(",;\t|", key=line.count)
    parse = csv.ParseOptions(delimiter=separator)
    names = csv.read_csv(pa.BufferReader(line.encode() + b"\n"), parse_options=parse).column_names

    def batches(names: list[str], rows: int) -> Iterator[Any]:
        with pa.input_stream(str(path), compression="detect") as stream:
            reader = csv.open_csv(
                stream,
                read_options=csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
                parse_options=parse,
                convert_options=csv.ConvertOptions(
                    include_columns=names,
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],  # NA and NULL are symbols somewhere
                ),
            )
            yield from _cut(reader, names, rows)

    return Opened(str(path), dict.fromkeys(names, pa.string()), batches, is_text=True)


def _open_frame(what: Any) -> Opened:
    import pyarrow as pa

    kind = type(what)
    where = f"the {kind.__module__.split('.')[0]} {kind.__name__}"
    if kind.__module__.startswith("polars"):
        what = what.collect() if hasattr(what, "collect") else what
        what = what.to_arrow()
    elif kind.__module__.startswith("pandas"):
        what = pa.Table.from_pandas(what, preserve_index=False)
    if isinstance(what, pa.RecordBatch):
        what = pa.Table.from_batches([what])
    if isinstance(what, pa.Table):
        table = what
        return Opened(
            where,
            _types(table.schema),
            lambda names, rows: iter(table.select(names).to_batches(max_chunksize=rows)),
            rows=table.num_rows,
        )
    if isinstance(what, pa.RecordBatchReader):
        return _once(where, what)
    raise DeclarationError(f"cannot read {where}; expected {KINDS}")


def _once(where: str, reader: Any) -> Opened:
    used = [False]

    def batches(names: list[str], rows: int) -> Iterator[Any]:
        if used[0]:
            raise OperatorError(f"{where} was read already, and can be once; give it as a table")
        used[0] = True
        yield from _cut(reader, names, rows)

    return Opened(where, _types(reader.schema), batches)


def _cut(batches: Any, names: list[str], rows: int) -> Iterator[Any]:
    for batch in batches:
        chosen = batch.select(names)
        for at in range(0, len(chosen), rows):
            yield chosen.slice(at, rows)


def _types(schema: Any) -> dict[str, Any]:
    return {field.name: field.type for field in schema}
