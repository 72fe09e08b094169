"""Prices of a feed on a grid that others share, so that integers of several venues compare.

A price that is no whole number of steps of the grid is not rounded: its row is refused and counted.
The rows on the tape stay as the venue sent them; the grid is part of the pipeline.
"""

from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from onetape.compiled.kernel import kernel
from onetape.engine import Stream, Table, operator
from onetape.records import UNSET, DeclarationError
from onetape.records.market import TopOfBook, Trade
from onetape.records.places import here

OFF_GRID = "price not on the grid"


@kernel
def grid_headroom(tables):
    """Nothing here fills up."""
    return 1 << 20


@kernel
def is_off(price, step):
    """Is there a price, and is it between two steps?"""
    return price != UNSET and price % step != 0


@kernel
def on_step(price, step):
    """The price in steps; one that is not there stays so."""
    return price // step if price != UNSET else UNSET


def canonical_grid(tables: Any) -> list[Any]:
    """The count is all there is."""
    return [tables.refused]


@operator
class QuotesOnGrid:
    """Quotes with prices in steps of the grid, `step` ticks of the feed each."""

    apart_by = ""  # a counter is all it keeps
    capacity: dict[str, int] = {}  # noqa: RUF012
    refused: Any = Table(lambda size: np.zeros(1, np.int64))
    headroom = grid_headroom
    canonical = canonical_grid

    def on_quote(self, q: TopOfBook, *, step: int) -> TopOfBook | None:
        bid, ask = q.bid_price_ticks, q.ask_price_ticks
        if is_off(bid, step) or is_off(ask, step):
            self.refused[0] += 1
            return None
        return TopOfBook(
            q.ts_event_ns,
            on_step(bid, step),
            on_step(ask, step),
            q.bid_qty_lots,
            q.ask_qty_lots,
            q.sequence,
            q.instrument_id,
            q.flags,
            q.asset_id,
            q.reserved,
        )


@operator
class TradesOnGrid:
    """Trades with prices in steps of the grid, `step` ticks of the feed each."""

    apart_by = ""  # a counter is all it keeps
    capacity: dict[str, int] = {}  # noqa: RUF012
    refused: Any = Table(lambda size: np.zeros(1, np.int64))
    headroom = grid_headroom
    canonical = canonical_grid

    def on_trade(self, t: Trade, *, step: int) -> Trade | None:
        price = t.price_ticks
        if is_off(price, step):
            self.refused[0] += 1
            return None
        return Trade(
            t.ts_event_ns,
            on_step(price, step),
            t.qty_lots,
            t.order_id,
            t.match_id,
            t.sequence,
            t.instrument_id,
            t.side,
            t.flags,
            t.kind,
            t.asset_id,
            t.reserved,
        )


BY_RECORD: dict[Any, Any] = {TopOfBook: QuotesOnGrid, Trade: TradesOnGrid}


def grid_step(tick: Any, grid: Any) -> int:
    """How many ticks of a feed are one step of the grid; DeclarationError: it cannot be that."""
    if isinstance(grid, bool | float):
        remedy = f"a float is not exactly that; write it as text: .on_grid('{grid}')"
        raise _refused(grid, remedy)
    try:
        step = Decimal(grid) / tick
    except (InvalidOperation, TypeError, ValueError):
        raise _refused(grid, "expected what one tick is, as text: .on_grid('0.01')") from None
    if not step.is_finite() or step <= 0:
        raise _refused(grid, "a grid is over 0: .on_grid('0.01')")
    if step != int(step) or step >= 1 << 62:
        raise _refused(grid, f"a grid is a whole number of the feed's ticks of {tick:f}")
    return int(step)


def put_on_grid(stream: Stream, tick: Decimal, step: int) -> Stream:
    """The same rows, with prices in steps of so many ticks of the feed."""
    made = BY_RECORD[stream.of].node(stream, step=step)
    node = replace(made, tick=(tick * step).normalize())
    return node.stream(next(iter(made.spec.outputs)))


def refused_by_grids(engine: Any) -> dict[str, int]:
    """How many rows were not on the grid of their pipeline, by the words for it; {} if none."""
    specs = [made.spec for made in BY_RECORD.values()]
    count = sum(
        int(engine.arrays[f"n{number}_refused"][0])
        for number, node in enumerate(engine.plan.pipeline.nodes)
        if getattr(node, "spec", None) in specs
    )
    return {OFF_GRID: count} if count else {}


def _refused(grid: Any, why: str) -> DeclarationError:
    return DeclarationError(here().says(f"on_grid was given {grid!r}; {why}"))
