"""Columns: `c.x`, filter, select, with_columns, window(...).agg, asof_join, alert."""

from onetape.engine.columns import alerts, joins, rows, windows
from onetape.engine.columns.expr import Expr, c, count, start_ns, when

__all__ = ["Expr", "alerts", "c", "count", "joins", "rows", "start_ns", "when", "windows"]
