"""Columns pass the checks too: windows, joins and alerts that nobody wrote an operator for."""

import onetape as ot
from onetape import c, testing
from onetape import market as mk

TRADES = ot.source(mk.Trade, name="trades")
VWAP = TRADES.window("1s", every="100ms", by=c.instrument_id).agg(
    vwap=mk.vwap(), lots=c.qty_lots.sum(), mean=c.price_ticks.mean()
)
FAR = (
    TRADES.asof_join(VWAP, by=c.instrument_id, max_age="200ms")
    .filter(c.lots > 1, (c.price_ticks - c.vwap).abs() * 10_000 > 50 * c.vwap)
    .alert("50 bp from VWAP", severity="warn", once_per="5s")
)
PIPELINE = ot.Pipeline(vwap=VWAP, far=FAR)


def test_a_pipeline_of_columns_passes():
    rows = [
        testing.row(
            mk.Trade,
            ts_event_ns=n * 10**8,
            instrument_id=n % 2,
            price_ticks=100 + n % 7,
            qty_lots=2,
        )
        for n in range(80)
    ]

    t = testing.check(PIPELINE, trades=rows, splits=4)

    assert len(t.rows("vwap")) > 50
    assert len(t.rows("far")) > 0
