"""Pipelines: operators and windows, the graph, the planner, the compiled driver."""

# First: what is built from streams is imported at its end, and needs nothing that comes later.
from onetape.engine.stream import Stream  # isort: split

from onetape.engine.graph import Pipeline, merge, operator, records_source
from onetape.engine.operators import Table, UpTo
from onetape.engine.patterns import Pattern
from onetape.engine.sessions import session
from onetape.engine.window import aggregate, window

__all__ = [
    "Pattern",
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
