"""DuckDB over the tables of some folders, and over nothing else: it reads no file, writes none,
loads nothing, reaches no network, and its settings are locked before a query is seen.
"""

import importlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.records import OnetapeError, OperatorError
from onetape.runtimes.query.of_tape import tape_tables
from onetape.runtimes.query.tables import QueryTable, Streamed, moment_of, parquet_tables
from onetape.tape.layout import MANIFEST, WATERMARK

BATCH_ROWS = 1 << 16
LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
READING = ("SELECT", "EXPLAIN")  # DESCRIBE and SUMMARIZE are a SELECT to DuckDB


def tables_of(folders: list[Path], pipeline: Pipeline | None = None) -> list[QueryTable]:
    """The tables of the folders and of the folders in them. The first of a name stands: what is in
    Parquet before what would be made again from a tape."""
    found: dict[str, QueryTable] = {}
    for folder in folders:
        if not folder.is_dir():
            raise OperatorError(f"no such folder: {folder}; give --out or --tape of a run")
        places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        here = [table for place in places for table in parquet_tables(place)]
        for place in places:
            if all((place / name).is_file() for name in (MANIFEST, WATERMARK)):
                here += tape_tables(place, pipeline)
        for table in here:
            found.setdefault(table.name, table)
    if not found:
        raise OperatorError(
            f"{', '.join(map(str, folders))}: no Parquet file and no tape is in there; give a "
            "folder that --out or --tape of a run named"
        )
    return list(found.values())


@contextmanager
def answer(tables: list[QueryTable], sql: str) -> Iterator[Any]:
    """A pyarrow RecordBatchReader of the answer; reading it is what runs the query."""
    duckdb = _duckdb()
    with tempfile.TemporaryDirectory(prefix="onetape_query_") as spill:
        connection = duckdb.connect(":memory:", config=LOCKED | {"temp_directory": spill})
        try:
            _register(connection, tables)
            with _errors(duckdb, tables):
                statements = connection.extract_statements(sql)
                kinds = [statement.type.name for statement in statements]
                if len(kinds) != 1 or kinds[0] not in READING:
                    raise OperatorError(
                        f"a query is one SELECT (WITH, FROM, DESCRIBE, SUMMARIZE, EXPLAIN); was "
                        f"{' and '.join(kinds) or 'nothing'}"
                    )
                yield connection.sql(sql).to_arrow_reader(BATCH_ROWS)
        finally:
            connection.close()


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise OperatorError(
            "a query needs DuckDB, which is not installed: pip install 'onetape[query]'"
        ) from None


def _register(connection: Any, tables: list[QueryTable]) -> None:
    """Each table as a view with times as timestamps too; NAME_price has prices for ticks."""
    for table in tables:
        scanned = f"{table.name} as recorded"
        connection.register(scanned, table.source)
        for view, shown in (
            (table.name, _shown(table.schema)),
            (f"{table.name}_price", _priced(table)),
        ):
            if shown:
                made = f"CREATE VIEW {_quoted(view)} AS SELECT {', '.join(shown)} FROM "
                connection.execute(made + _quoted(scanned))
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")


def _shown(schema: Any) -> list[str]:
    shown = []
    for each in schema:
        moment = moment_of(each)
        if moment and moment not in schema.names:
            shown.append(f"make_timestamp_ns({_quoted(each.name)}) AS {_quoted(moment)}")
        shown.append(_quoted(each.name))
    return shown


def _priced(table: QueryTable) -> list[str]:
    """As `_shown`, with the prices exact: decimals of whole ticks, doubles of averages."""
    import pyarrow as pa

    if table.tick is None or not any(each.name.endswith("_ticks") for each in table.schema):
        return []
    shown = {text.rsplit(" AS ", 1)[-1]: text for text in _shown(table.schema)}
    scale = max(0, -int(table.tick.as_tuple().exponent))
    for each in table.schema:
        if each.name.endswith("_ticks"):
            column, called = _quoted(each.name), _quoted(each.name.removesuffix("_ticks"))
            if pa.types.is_integer(each.type):
                text = f"CAST({column} AS DECIMAL(19, 0)) * {table.tick:f}::DECIMAL(18, {scale})"
            elif pa.types.is_floating(each.type):
                text = f"{column} * {table.tick:f}::DOUBLE"
            else:
                continue
            shown[column] = f"{text} AS {called}"
    return list(shown.values())


@contextmanager
def _errors(duckdb: Any, tables: list[QueryTable]) -> Iterator[None]:
    """What DuckDB says, as errors meant for a person; what stopped a table, as itself."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        faults = [t.source.fault for t in tables if isinstance(t.source, Streamed)]
        fault = next((f for f in faults if f is not None), None)
        if isinstance(fault, OnetapeError):
            raise fault from None
        said = str(error).strip()
        unknown = re.search(r"Table with name (\S+) does not exist", said)
        if unknown is not None:
            names = [table.name for table in tables]
            near = get_close_matches(unknown[1], names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise OperatorError(
                f"no table {unknown[1]!r}{hint} There are {', '.join(names)}"
            ) from None
        raise OperatorError(f"the query failed: {said}") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
