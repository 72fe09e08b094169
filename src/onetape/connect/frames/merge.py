"""Several tables as one run of frames, by event time.

Rows of equal time come in the order of their sources. How the tables are cut into blocks has no
part in the order, nor in the numbers that symbols get: they are given in the order of the run.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from onetape.compiled.frame import DATA, END
from onetape.connect.frames.read import Table
from onetape.records import DeclarationError
from onetape.records.declare import copied

FRAME_BYTES = 1 << 16

Item = tuple[int, int, Any]  # number of the source, kind of frame, payload


class Merged:
    """Iterate for (source, kind, payload): blocks of records and each source's end.

    symbols   {symbol: id} of all tables, complete after an iteration
    names     {id: symbol}
    """

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables
        self._given: dict[str, int] = {}
        for table in tables:
            for symbol, number in (table.rules.symbols or {}).items():
                if self._given.setdefault(symbol, number) != number:
                    raise DeclarationError(
                        f"symbol {symbol!r} is {number} in one source and {self._given[symbol]} in "
                        "another; give them the same symbols"
                    )
        self.symbols: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.has_symbols = any(table.symbol_fields for table in tables)
        self._begin()

    def __iter__(self) -> Iterator[Item]:
        self._begin()
        heads = [_Head(n, table) for n, table in enumerate(self.tables)]
        for head in heads:
            if head.is_over:
                yield head.number, END, b""
        while live := [head for head in heads if not head.is_over]:
            yield from self._step(live)

    def _begin(self) -> None:
        for known in (self.symbols, self.names):
            known.clear()
        self.symbols.update(self._given)
        self.names.update({number: symbol for symbol, number in self._given.items()})

    def _step(self, live: "list[_Head]") -> Iterator[Item]:
        """All rows that nothing unread can come before."""
        bound_ns, first = min((int(head.block["ts_event_ns"][-1]), head.number) for head in live)
        taken = [head.take(bound_ns, closed=head.number <= first) for head in live]
        sources = np.repeat(np.arange(len(live)), [len(rows) for rows in taken])
        times = np.concatenate([rows["ts_event_ns"] for rows in taken])
        order = np.argsort(times, kind="stable")
        self._name(live, taken, order)
        merged = sources[order]
        starts = np.flatnonzero(np.diff(merged, prepend=-1))
        at = [0] * len(live)
        for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(merged)], strict=True):
            which = int(merged[begin])
            head, rows = live[which], taken[which]
            stop = at[which] + end - begin
            yield from _frames(head.number, rows[at[which] : stop])
            at[which] = stop
            if head.is_over and stop == len(rows):
                yield head.number, END, b""

    def _name(self, live: "list[_Head]", taken: list[Any], order: Any) -> None:
        """Put ids in place of the tables' own numbers of symbols, new ones in merged order."""
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        met = []
        for i, (head, rows) in enumerate(zip(live, taken, strict=True)):
            start = sum(len(before) for before in taken[:i])
            for name in head.symbol_fields:
                codes, firsts = np.unique(rows[name], return_index=True)
                for code, row in zip(codes.tolist(), firsts.tolist(), strict=True):
                    if code not in head.ids:
                        met.append((int(place[start + row]), i, code))
        for _, i, code in sorted(met):
            symbol = live[i].symbol(code)
            number = self.symbols.setdefault(symbol, max(self.names, default=0) + 1)
            live[i].ids[code], self.names[number] = number, symbol
        for head, rows in zip(live, taken, strict=True):
            if head.symbol_fields and len(rows):
                table = np.zeros(max(head.ids) + 1, np.uint32)
                table[list(head.ids)] = list(head.ids.values())
                for name in head.symbol_fields:
                    rows[name] = table[rows[name]]


class _Head:
    """Where the reading of one table is: a block, and whether there is another behind it."""

    def __init__(self, number: int, table: Table) -> None:
        self.number = number
        self.symbol_fields = [] if table.rules.symbols is not None else table.symbol_fields
        self.ids: dict[int, int] = {}
        self._seen = table.rules.seen
        self._names: list[str] = []
        self._blocks = table.blocks()
        self._following = next(self._blocks, None)
        self.block: Any = None
        self._go_on()

    @property
    def is_over(self) -> bool:
        return self.block is None

    def take(self, bound_ns: int, *, closed: bool) -> Any:
        """A copy of the rows up to `bound_ns`; the head moves behind them."""
        side: Literal["left", "right"] = "right" if closed else "left"
        count = int(np.searchsorted(self.block["ts_event_ns"], bound_ns, side))
        rows = copied(self.block[:count])
        self.block = self.block[count:]
        if not len(self.block):
            self._go_on()
        return rows

    def symbol(self, code: int) -> str:
        if code >= len(self._names):
            self._names = list(self._seen)
        return self._names[code]

    def _go_on(self) -> None:
        self.block = self._following
        if self.block is not None:
            self._following = next(self._blocks, None)


def _frames(number: int, rows: Any) -> Iterator[Item]:
    most = max(1, FRAME_BYTES // rows.dtype.itemsize)
    for at in range(0, len(rows), most):
        yield number, DATA, rows[at : at + most].view(np.uint8).reshape(-1)
