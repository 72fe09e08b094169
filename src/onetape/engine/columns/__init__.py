"""Columns: `c.x`, filter, select, with_columns, window(...).agg, asof_join, alert."""

from onetape.engine.columns import alerts, asof, interval_join, lookups, rows, windows
from onetape.engine.columns.expr import Expr, c, count, start_ns, when

__all__ = [
    "Expr",
    "alerts",
    "asof",
    "c",
    "count",
    "interval_join",
    "lookups",
    "rows",
    "start_ns",
    "when",
    "windows",
]
