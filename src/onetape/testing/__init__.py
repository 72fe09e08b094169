"""Testing what people write: feed rows, drive time, look at what comes out, check what must hold.

    from onetape import testing

    t = testing.Run(pipeline)
    t.feed(trades=[testing.row(mk.Trade, ts_event_ns=1, price_ticks=100, qty_lots=5)])
    t.advance("5s").end()
    assert t.rows("vwap") == [...]

    testing.check(pipeline, trades=rows)  # any split, twice, plain Python, overflow: in one call

`testing.strategies` (Hypothesis) and the pytest plugin `onetape.testing.plugin` are loaded only
where they are used.
"""

from typing import Any

from onetape.testing.checking import CheckFailed, check
from onetape.testing.feeding import day, row
from onetape.testing.run import Run

__all__ = ["CheckFailed", "Run", "check", "day", "row", "strategies"]


def __getattr__(name: str) -> Any:
    if name == "strategies":
        import importlib

        return importlib.import_module("onetape.testing.strategies")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
