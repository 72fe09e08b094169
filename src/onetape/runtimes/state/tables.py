"""What an engine holds, as Arrow tables, one a node: books, one record a key, open windows.

Keys are those in the index, so what was given up again is not shown. Times are ns, UNSET is null,
and a column `symbol` stands in front where a feed or a table has named the instruments.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.connect.arrow import symbol_at
from onetape.engine.batches import Batches
from onetape.engine.engine import Engine
from onetape.engine.graph import Node, OperatorNode
from onetape.engine.sessions import Session
from onetape.engine.window import Window
from onetape.records import UNSET
from onetape.runtimes.manifest import read_result

LEVELS = 10
BOOK_TABLES = {"sides", "levels", "tops"}


def tables_of(
    engine: Engine, levels: int = LEVELS, tape: str | Path | None = None
) -> dict[str, Any]:
    """{name of the node: pyarrow Table}, of the nodes that hold something a person can read.

    levels  of each side of a book
    tape    that it runs: beside it may be the symbols of instruments, see `symbols_in`
    """
    symbols = symbols_in(engine, tape)
    names = [node.name for node in engine.plan.pipeline.nodes]
    found = {}
    for number, node in enumerate(engine.plan.pipeline.nodes):
        columns = _columns(engine, number, node, levels)
        if columns is not None:
            label = f"{node.name} n{number}" if names.count(node.name) > 1 else node.name
            found[label] = _table(_with_symbols(columns, symbols))
    return found


def _columns(engine: Engine, number: int, node: Node, levels: int) -> dict[str, Any] | None:
    """{name: values} of a node; None: it holds nothing of the kind."""
    label, arrays = f"n{number}_", engine.arrays
    if isinstance(node, OperatorNode) and node.spec.tables:
        if set(node.spec.tables) >= BOOK_TABLES:
            return _book(arrays[f"{label}sides"], arrays[f"{label}levels"], levels)
        return None
    if f"{label}index" not in arrays or f"{label}keys" not in arrays:
        return None
    slots = held_slots(arrays[f"{label}index"])
    keys = arrays[f"{label}keys"][slots]
    of = node if hasattr(node, "key") else getattr(node, "spec", None)
    key = str(getattr(of, "key", None) or "key")  # a window of all rows has the key 0
    if isinstance(node, Window):
        return _windows(node, key, keys, slots, lambda name: arrays[label + name])
    if isinstance(node, Session):
        starts, lasts = arrays[f"{label}starts"], arrays[f"{label}lasts"]
        cells = len(starts) // len(arrays[f"{label}keys"])
        at, of = _cells(slots, cells, lambda cell: starts[cell] != 0)
        spans = {key: keys[of], "start_ns": starts[at] - 1, "last_ns": lasts[at]}
        return spans | _fields(arrays[f"{label}panes"][at], key)
    if isinstance(node, Batches):
        is_open = arrays[f"{label}rows"][slots] > 0
        keys, slots = keys[is_open], slots[is_open]
        begun = {key: keys, "rows": arrays[f"{label}rows"][slots]}
        return begun | _fields(arrays[f"{label}panes"][slots], key)
    if f"{label}state" in arrays:
        return {key: keys} | _fields(arrays[f"{label}state"][slots], key)
    return None


def _windows(
    node: Window, key: str, keys: Any, slots: Any, array: Callable[[str], Any]
) -> dict[str, Any]:
    """The panes that a window yet to end needs: of a sliding window they are `every` long."""
    numbers, timers = array("numbers"), array("timers")
    ring = len(numbers) // len(array("keys"))
    # Told early, it is due within its window. The watermark is not known where a run was stopped.
    first = -(-timers["wake_ns"] // node.every_ns) - node.panes_count()

    def live(cell: Any) -> Any:
        slot = cell // ring
        return (numbers[cell] > np.maximum(first[slot], 0)) & (timers["place"][slot] > 0)

    at, of = _cells(slots, ring, live)
    start_ns = (numbers[at] - 1) * node.every_ns
    spans = {key: keys[of], "start_ns": start_ns, "end_ns": start_ns + node.every_ns}
    return spans | _fields(array("panes")[at], key)


def _cells(slots: Any, each: int, is_live: Callable[[Any], Any]) -> tuple[Any, Any]:
    """(cell, which of the slots it is of) of the live ones."""
    cells = slots[:, None] * each + np.arange(each)
    of, at = np.nonzero(is_live(cells))
    return cells[of, at], of


def _book(sides: Any, levels: Any, most: int) -> dict[str, Any]:
    """A row an instrument and level, the best first: both sides."""
    rows: dict[tuple[int, int], dict[str, int]] = {}
    for at in np.flatnonzero(sides["count"]).tolist():
        side = sides[at]
        begin, end = int(side["start"]), int(side["start"]) + int(side["count"])
        name = "ask" if at % 2 else "bid"
        for rank, level in enumerate(levels[begin:end][::-1][:most], start=1):
            row = rows.setdefault((at // 2, rank), {})
            for field in level.dtype.names:
                row[f"{name}_{field}"] = int(level[field])
    places = sorted(rows)
    found: dict[str, Any] = {
        "instrument_id": np.array([instrument for instrument, _ in places], np.int64),
        "level": np.array([rank for _, rank in places], np.int64),
    }
    for name in ("bid", "ask"):
        for field in levels.dtype.names:
            column = f"{name}_{field}"
            values = [rows[place].get(column, UNSET) for place in places]
            found[column] = np.array(values, np.int64)
    return found


def _fields(block: Any, key: str) -> dict[str, Any]:
    """A column a field; one that has the key's name is kept under another."""
    return {f"own_{name}" if name == key else name: block[name] for name in block.dtype.names}


def symbols_in(engine: Engine, tape: str | Path | None) -> Any:
    """Symbols of instruments, as `connect.arrow.symbol_at` takes them; None: nobody named any.

    Of a pipeline with one feed those that it told; of tables those that the run left beside the
    tape at its end, or that the pipeline gives.
    """
    sources = engine.plan.pipeline.sources
    feeds = [source.name for source in sources if source.feed == "itch"]
    if any(source.feed for source in sources):
        return engine.feed_state(feeds[0])["symbols"] if len(feeds) == 1 else None
    result = read_result(Path(tape)) if tape is not None else None
    known = dict((result or {}).get("symbols", {}))
    for source in sources:
        known |= (source.table and source.table.rules.symbols) or {}
    return {number: symbol for symbol, number in known.items()} or None


def names_in(symbols: Any) -> list[str]:
    """All that `symbols_in` found."""
    if symbols is None or isinstance(symbols, dict):
        return list((symbols or {}).values())
    return [symbol_at(symbols, at) for at in np.flatnonzero(symbols).tolist()]


def _with_symbols(columns: dict[str, Any], symbols: Any) -> dict[str, Any]:
    if symbols is None or "instrument_id" not in columns:
        return columns
    found = [symbol_at(symbols, i) for i in columns["instrument_id"].tolist()]
    return {"symbol": np.array(found, object), **columns}


def _table(columns: dict[str, Any]) -> Any:
    import pyarrow as pa

    made = {}
    for name, values in columns.items():
        flat = np.ascontiguousarray(values).reshape(-1)
        unset = flat == UNSET if flat.dtype == np.int64 else None
        column = pa.array(flat, mask=unset, type=pa.string() if flat.dtype == object else None)
        if values.ndim > 1:
            column = pa.FixedSizeListArray.from_arrays(column, int(np.prod(values.shape[1:])))
        made[name] = column
    return pa.table(made)
