"""What a run in this process gives back: a table an output, for a notebook or a test.

results = ot.run(pipeline)
results.vwap                   # shown as a small table
results.vwap.to_polars()       # prices as integer ticks; to_arrow, to_pandas, to_dicts
results.vwap.with_prices().to_pandas()
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import numpy as np

from onetape.connect.arrow import arrow_table
from onetape.engine.engine import Counts
from onetape.records import OperatorError

SHOWN_ROWS = 8
Lines = list[list[str]]


@dataclass(frozen=True, repr=False)
class Table:
    """The rows of one output.

    rows      all of them, a NumPy array of the record's layout, as the engine made them
    symbols   of instruments: see `onetape.connect.arrow.symbol_at`
    tick      what one tick is; None: not known
    """

    name: str
    of: Any
    rows: Any
    symbols: Any
    tick: Decimal | None = None
    has_prices: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def with_prices(self) -> "Table":
        """The same rows, shown and handed out with decimal prices in place of ticks."""
        if self.tick is None:
            raise OperatorError(
                f"{self.name}: it comes from sources of different ticks; multiply them yourself"
            )
        return replace(self, has_prices=True)

    def to_arrow(self, *, prices: bool = False) -> Any:
        """A pyarrow Table: see `onetape.connect.arrow`. Prices are ticks, or decimals if asked."""
        shown = self.with_prices() if prices else self
        tick = shown.tick if shown.has_prices else None
        return arrow_table(self.of, self.rows, self.symbols, tick)

    def to_polars(self, *, prices: bool = False) -> Any:
        """A Polars DataFrame; needs polars installed."""
        return _module("polars").from_arrow(self.to_arrow(prices=prices))

    def to_pandas(self, *, prices: bool = False) -> Any:
        """A pandas DataFrame; needs pandas installed. A column with nulls of integers is float64
        there: `to_arrow().to_pandas(types_mapper=pandas.ArrowDtype)` keeps integers."""
        _module("pandas")
        return self.to_arrow(prices=prices).to_pandas()

    def to_dicts(self, *, prices: bool = False) -> list[dict[str, Any]]:
        """A dict a row, of plain values as in `to_arrow`, but times as integers of ns: Python's own
        hold only microseconds. For some thousand rows; more are quicker as columns."""
        import pyarrow as pa

        table = self.to_arrow(prices=prices)
        for i, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):
                table = table.set_column(i, field.name, table.column(i).cast(pa.int64()))
        return table.to_pylist()  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        lines = self._lines()
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        texts = ["  ".join(t.rjust(w) for t, w in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self._title(), *texts])

    def _repr_html_(self) -> str:
        first, *rest = self._lines()
        head = "".join(f"<th>{html.escape(text)}</th>" for text in first)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>"
            for line in rest
        )
        title = html.escape(self._title())
        return f"<p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _title(self) -> str:
        some = f", the first {SHOWN_ROWS}" if len(self) > SHOWN_ROWS else ""
        return f"{self.name}: {len(self):,} rows of {self.of.__name__}{some}"

    def _lines(self) -> Lines:
        """Names and then rows, as text. Columns that say nothing in these rows are left out."""
        few = replace(self, rows=self.rows[:SHOWN_ROWS]).to_arrow()
        columns = []
        for name in few.column_names:
            texts = _cells(few.column(name))
            if name not in ("flags", "reserved") or any(text not in ("", "0") for text in texts):
                columns.append([name, *texts])
        return [list(line) for line in zip(*columns, strict=True)]


class Results:
    """All outputs of a run, as attributes and items.

    digests        {output: digest}: equal digests, equal answers
    state_digest   of all the state that was left
    counts         events, late events, rows ... of the engine
    state          {node: how many keys it holds, may hold, forgot, evicted, left out}
    refused        {source: {reason: rows that were skipped}} of `ot.read(..., on_bad="skip")`, and
                   under "on_grid" those that were not on the grid of their feed
    elapsed_s      without compiling
    """

    def __init__(
        self,
        tables: dict[str, Table],
        *,
        digests: dict[str, str],
        state_digest: str,
        counts: Counts,
        state: dict[str, dict[str, Any]],
        refused: dict[str, dict[str, int]],
        elapsed_s: float,
    ) -> None:
        self._tables = tables
        self.digests, self.state_digest, self.counts = digests, state_digest, counts
        self.refused, self.elapsed_s, self.state = refused, elapsed_s, state

    def __getitem__(self, name: str) -> Table:
        if name not in self._tables:
            raise KeyError(self._unknown(name))
        return self._tables[name]

    def __getattr__(self, name: str) -> Table:
        if name.startswith("_") or name not in self._tables:
            raise AttributeError(self._unknown(name))
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._tables]

    def __repr__(self) -> str:
        return "\n\n".join([self._title(), *(repr(table) for table in self._tables.values())])

    def _repr_html_(self) -> str:
        tables = "".join(table._repr_html_() for table in self._tables.values())
        return f"<p>{html.escape(self._title())}</p>{tables}"

    def _title(self) -> str:
        refused = sum(sum(reasons.values()) for reasons in self.refused.values())
        left_out = f", {refused:,} refused" if refused else ""
        return f"{self.counts.events:,} events in {self.elapsed_s:.2f} s{left_out}"

    def _unknown(self, name: str) -> str:
        tables = self.__dict__.get("_tables", {})
        near = get_close_matches(name, tables, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"no output {name!r}{hint} The outputs are {', '.join(tables)}"


def _cells(column: Any) -> list[str]:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        moments = np.asarray(column.cast(pa.int64()).fill_null(UNSET_TIME)).view("datetime64[ns]")
        return [str(moment).replace("T", " ") if moment == moment else "" for moment in moments]
    return ["" if value is None else str(value) for value in column.to_pylist()]


UNSET_TIME = -(2**63)  # NumPy's "not a time" too


def _module(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise OperatorError(
            f"{name} is not installed (pip install {name}); to_arrow() needs nothing more"
        ) from None
