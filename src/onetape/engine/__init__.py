"""Pipelines: operators and windows, the graph, the planner, the compiled driver."""

from onetape.engine.graph import Pipeline, Stream, merge, operator, records_source
from onetape.engine.operators import Table, UpTo
from onetape.engine.sessions import session
from onetape.engine.window import aggregate, window

__all__ = [
    "Pipeline",
    "Stream",
    "Table",
    "UpTo",
    "aggregate",
    "merge",
    "operator",
    "records_source",
    "session",
    "window",
]
