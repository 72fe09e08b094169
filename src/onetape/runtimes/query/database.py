"""DuckDB over the tables of some folders, and over nothing else: it reads no file, writes none,
loads nothing, reaches no network, and its settings are locked before a query is seen.
"""

import importlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.records import OnetapeError, OperatorError
from onetape.runtimes.query.of_tape import tape_tables
from onetape.runtimes.query.tables import (
    QueryTable,
    Streamed,
    delta_tables,
    moment_of,
    parquet_tables,
)
from onetape.tape.layout import MANIFEST, WATERMARK

BATCH_ROWS = 1 << 16
LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
READING = ("SELECT", "EXPLAIN")  # DESCRIBE and SUMMARIZE are a SELECT to DuckDB


def tables_of(folders: list[Path], pipeline: Pipeline | None = None) -> list[QueryTable]:
    """The tables of the folders and of the folders in them. Where several folders have one of the
    same name, each is called by its folder too: `monday/trade`.

    What a Parquet file has is not made again from the tape of the same run (beside the file).
    """
    places: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise OperatorError(f"no such folder: {folder}; give --out or --tape of a run")
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        places |= {place.resolve(): None for place in (folder, *inner)}
    found: dict[str, dict[Path, QueryTable]] = {}
    for place in places:
        for table in delta_tables(place) or parquet_tables(place):
            found.setdefault(table.name, {})[place] = table
    written = {name: list(of) for name, of in found.items()}
    for place in places:
        if all((place / name).is_file() for name in (MANIFEST, WATERMARK)):
            for table in tape_tables(place, pipeline):
                if not any(_are_of_one_run(place, other) for other in written.get(table.name, ())):
                    found.setdefault(table.name, {})[place] = table
    if not found:
        raise OperatorError(
            f"{', '.join(map(str, folders))}: no Parquet file and no tape is in there; give a "
            "folder that --out or --tape of a run named"
        )
    return [table for of in found.values() for table in _told_apart(of)]


def _are_of_one_run(place: Path, other: Path) -> bool:
    return not {place, place.parent}.isdisjoint({other, other.parent})


def _told_apart(of: dict[Path, QueryTable]) -> list[QueryTable]:
    """The tables of one name, with as much of each one's folder as tells them apart."""
    if len(of) == 1:
        return list(of.values())
    parts = next(
        n
        for n in range(1, max(len(place.parts) for place in of) + 1)
        if len({place.parts[-n:] for place in of}) == len(of)
    )
    return [
        replace(table, name="/".join([*place.parts[-parts:], table.name]))
        for place, table in of.items()
    ]


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
        moment, column = moment_of(each), _quoted(each.name)
        if moment and moment not in schema.names:
            shown.append(f"make_timestamp_ns({column}) AS {_quoted(moment)}")
        # In the file a time is a timestamp, which Arrow does not compare with a number: xor keeps
        # DuckDB from giving the comparison to Arrow, and changes nothing else.
        shown.append(f"xor({column}, 0) AS {column}" if moment else column)
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
        unknown = re.search(r"Table with name (.+?) does not exist", said)
        if unknown is not None:
            views = [view for t in tables for view in (t.name, f"{t.name}_price")]
            several = [_quoted(view) for view in views if view.endswith(f"/{unknown[1]}")]
            if several:
                raise OperatorError(
                    f"{unknown[1]!r} is in several folders: {', '.join(several)}; name one of "
                    "them, in double quotes, or put them together by UNION ALL"
                ) from None
            names = [table.name for table in tables]
            near = get_close_matches(unknown[1], names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise OperatorError(
                f"no table {unknown[1]!r}{hint} There are {', '.join(names)}"
            ) from None
        raise OperatorError(f"the query failed: {said}") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
