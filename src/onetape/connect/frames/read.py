"""`ot.read(...)`: a stranger's table as a source of records.

    trades = ot.read("trades.csv.gz", as_=mk.Trade, tick="0.01", tz="America/New_York",
                     columns={"ts_event_ns": "time", "price_ticks": "price", "qty_lots": "size"})

A batch of rows at a time is converted whole, checked, and becomes a block; nothing else is kept.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onetape.connect.frames import fields, numbers
from onetape.connect.frames.tables import Opened, open_tables
from onetape.connect.frames.times import TimeRule
from onetape.engine import records_source
from onetape.engine.graph import Stream
from onetape.records import UNSET, DeclarationError, PeerError, empty_block
from onetape.records.declare import raw_rows

BATCH_ROWS = 1 << 16


def read(
    what: Any,
    as_: Any,
    *,
    columns: Mapping[str, str | None] | None = None,
    tick: Any = None,
    lot: Any = "1",
    tz: str | None = None,
    time_unit: str | None = None,
    side_of: str | None = None,
    symbols: Mapping[str, int] | None = None,
    off_grid: str = "refuse",
    on_bad: str = "raise",
    sort: bool = False,
    batch_rows: int = BATCH_ROWS,
    name: str | None = None,
    lateness: str | int = 0,
) -> Stream:
    """A source of `as_` records from a table: files are read when the pipeline runs, in batches.

    what       a path or pattern of Parquet, CSV (also .gz) or Arrow IPC files, in order; a pyarrow
               table or reader, a Polars or pandas frame; a list of those
    columns    {our field: their column}. Fields of the same name need no mention; a price or a size
               is only left out by None. "ts_event_ns": None: the table has no times, and its rows
               are from before all else (0), as those of reference data (`ot.table`)
    tick, lot  what one tick and one lot are, as text: "0.01". Decimals, text and floats are taken
               exactly or refused; off_grid="round" takes the nearest tick
    tz         the zone of times that have none; time_unit: "s", "ms", "us" or "ns" of integers
    side_of    whose side a column of sides tells: "maker" (who rested) or "taker" (the aggressor)
    symbols    {"AAPL": 1}: the ids of a text column that is mapped to a u32 id. Not given: numbered
               from 1, in the order they appear in the run
    on_bad     "raise" at the first row that cannot be taken, or "skip" it and count it
    sort       order by time first, in memory; without it a step back in time is a bad row

    ```python
    names = {"ts_event_ns": "time", "price_ticks": "px", "qty_lots": "size"}
    trades = ot.read(their, as_=mk.Trade, columns=names, tick="0.01")
    ```

    DeclarationError: a column that is not there, a setting that is missing. PeerError: a bad row.
    """
    table = Table(
        open_tables(what),
        as_,
        dict(columns or {}),
        fields.Rules(
            tick=numbers.grid("tick", tick if tick is not None else "1"),
            lot=numbers.grid("lot", lot),
            time=TimeRule(tz, time_unit),
            off_grid=_one_of("off_grid", off_grid, ("refuse", "round")),
            side_of=side_of and _one_of("side_of", side_of, fields.SIDES_OF),
            symbols=symbols,
        ),
        is_skipping=_one_of("on_bad", on_bad, ("raise", "skip")) == "skip",
        is_sorted=sort,
        batch_rows=batch_rows,
    )
    if tick is None and (priced := [n for n in table.columns if n.endswith("_ticks")]):
        raise DeclarationError(
            f"{table.columns[priced[0]]!r} is a price; say what one tick is, for example tick="
            '"0.01" (tick="1": these are ticks already)'
        )
    return records_source(as_, name=name, lateness=lateness, table=table)


class Table:
    """What a source made by `read` reads: blocks of records, in time order.

    columns   {field: column} as resolved
    refused   rows that were skipped, by reason, in the last reading
    """

    def __init__(
        self,
        opened: list[Opened],
        of: Any,
        columns: dict[str, Any],
        rules: fields.Rules,
        *,
        is_skipping: bool,
        is_sorted: bool,
        batch_rows: int,
    ) -> None:
        if not isinstance(batch_rows, int) or batch_rows < 1:
            raise DeclarationError(f"batch_rows was {batch_rows!r}; expected 1 or more")
        self.of, self.rules, self._opened = of, rules, opened
        mapped = [fields.columns_of(of, each.types, columns, each.where) for each in opened]
        self.columns: dict[str, str] = mapped[0]
        self._mapped = mapped
        self._is_skipping, self._is_sorted, self._batch_rows = is_skipping, is_sorted, batch_rows
        self.refused: Counter[str] = Counter()
        self.symbol_fields = [
            name
            for name, column in self.columns.items()
            if fields.is_symbol(of, name, column, opened[0].types[column], opened[0].is_text)
        ]
        for each, columns_ in zip(opened, mapped, strict=True):
            if each.is_text != opened[0].is_text or set(columns_) != set(self.columns):
                raise DeclarationError(
                    f"{each.where} and {opened[0].where} differ in kind or columns; read each on "
                    "its own, and merge the streams: ot.merge(a, b)"
                )
        self._is_one_asset = {"instrument_id", "asset_id"} <= set(of.fields) and (
            "asset_id" not in self.columns
        )
        if self._is_one_asset and "instrument_id" in self.symbol_fields:
            self.symbol_fields.append("asset_id")

    @property
    def tick(self) -> Any:
        """What one tick is, a Decimal."""
        return self.rules.tick.step

    @property
    def where(self) -> list[str]:
        """Where the rows are from."""
        return [each.where for each in self._opened]

    @property
    def rows(self) -> int | None:
        """How many rows there are, if the table says so beforehand."""
        counts = [each.rows for each in self._opened]
        return None if None in counts else sum(counts)  # type: ignore[arg-type]

    def blocks(self) -> Iterator[Any]:
        """Blocks of records, none empty. A symbol is its place in `rules.seen`, unless given."""
        self.refused.clear()
        self.rules.seen.clear()
        if not self._is_sorted:
            yield from self._ordered()
            return
        parts = list(self._converted())
        if parts:
            whole = np.concatenate([raw_rows(block) for _, block, _, _ in parts])
            order = np.argsort(whole.view(self.of.dtype)["ts_event_ns"], kind="stable")
            whole = whole[order].view(self.of.dtype)
            for at in range(0, len(whole), self._batch_rows):
                yield whole[at : at + self._batch_rows]

    def _ordered(self) -> Iterator[Any]:
        newest = 0
        for where, block, numbers_, column in self._converted():
            times = block["ts_event_ns"]
            before = np.maximum.accumulate(np.concatenate([[newest], times]))
            late = times < before[:-1]
            newest = int(before[-1])
            if late.any():
                i = int(np.argmax(late))
                self._refuse(
                    f"{where}, row {int(numbers_[i])}, column {column!r}",
                    f"its time is {int(before[i]) - int(times[i])} ns before that of a row above; "
                    "say sort=True",
                    "out of time order",
                    int(late.sum()),
                )
                block = raw_rows(block)[~late].view(self.of.dtype)
            if len(block):
                yield block

    def _converted(self) -> Iterator[tuple[str, Any, Any, str]]:
        """(where, rows that are good, their numbers in the file, the column of the time)."""
        for opened, mapped in zip(self._opened, self._mapped, strict=True):
            first = 0
            for batch in self._batches(opened, list(dict.fromkeys(mapped.values()))):
                block, good = self._convert(batch, opened, mapped, first)
                numbers_ = first + np.flatnonzero(good)
                first += len(batch)
                kept = raw_rows(block)[good].view(self.of.dtype)
                yield opened.where, kept, numbers_, mapped.get("ts_event_ns", "")

    def _batches(self, opened: Opened, names: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from opened.batches(names, self._batch_rows)
        except pa.ArrowException as error:
            raise PeerError(f"{opened.where} is damaged: {error}") from None

    def _convert(self, batch: Any, opened: Opened, mapped: Any, first: int) -> tuple[Any, Any]:
        block = empty_block(self.of, len(batch))
        good = np.ones(len(batch), bool)
        worst: tuple[int, str, str] | None = None
        for name, field in self.of.fields.items():
            if name not in mapped:
                if field.length is None:
                    block[name] = fields.empty_value(name, field.code)
                continue
            column = mapped[name]
            values = batch.column(batch.schema.get_field_index(column))
            found = fields.convert(self.of, name, column, values, self.rules, opened.is_text)
            lacks = found.missing if field.code != "<f8" else np.zeros(len(batch), bool)
            if fields.may_be_unset(self.of, name):
                unset = 0 if fields.is_quoted_size(name) else UNSET
                found.values = np.where(lacks, unset, found.values)
                lacks = np.zeros(len(batch), bool)
            negative = lacks
            if name.endswith("_lots") and field.length is None:
                negative = (found.values < 0) & ~found.missing
            bad = found.bad | lacks | negative
            if bad.any():
                i = int(np.argmax(bad))
                why = (
                    found.why(i) if found.bad[i] else "it is empty" if lacks[i] else "it is below 0"
                )
                if worst is None or i < worst[0]:
                    worst = (i, column, why)
                good &= ~bad
                if self._is_skipping:
                    self.refused[f"{column} -> {name}"] += int(bad.sum())
            block[name] = found.values
        if self._is_one_asset:
            block["asset_id"] = block["instrument_id"]
        if worst is not None and not self._is_skipping:
            i, column, why = worst
            self._refuse(f"{opened.where}, row {first + i}, column {column!r}", why, column, 1)
        return block, good

    def _refuse(self, where: str, why: str, reason: str, count: int) -> None:
        if not self._is_skipping:
            raise PeerError(
                f'{where}: {why}. Rows count from 0; on_bad="skip" leaves such rows out'
            )
        self.refused[reason] += count


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise DeclarationError(f"{what} was {value!r}; expected one of {', '.join(known)}")
    return value
