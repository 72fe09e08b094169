"""Watch a driver's calls: what each operator was given, what it changed, what it made.

Only in plain Python: the functions that the driver names are put behind a function that looks.
"""

import re
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from onetape.compiled.kernel import is_ours
from onetape.compiled.rows import Cells, RowView
from onetape.engine.compile import positional
from onetape.engine.emit import Emitter
from onetape.engine.engine import Engine
from onetape.engine.layout import LINE
from onetape.engine.planner import Plan
from onetape.engine.window import Aggregating

Values = dict[str, Any]

LEFT_ALONE = ("headroom", "merge", "carry", "begins")  # they say nothing that others do not


@dataclass
class Call:
    """One call of a function of an operator or a window."""

    offset: int
    index: int  # of the event in its frame; -1: before its first, or the frame has none
    node: int
    operator: str
    function: str
    key: int | None
    time_ns: int  # of the event, or when the timer was due
    event: Values | None  # None for a timer
    before: Values | None  # None: an operator without state, or with tables
    after: Values | None = None
    rows: list[Values] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)  # rows of each output before it

    def facts(self) -> Values:
        """For JSON."""
        return asdict(self)


Runner = Callable[[Call, Any, tuple[Any, ...]], Any]


class Watch:
    """Keeps each call; `run(call, function, arguments)` makes it (the debugger is put there)."""

    def __init__(self, run: Runner | None = None) -> None:
        self.calls: list[Call] = []
        self._run = run or (lambda _call, function, arguments: function(*arguments))

    def plan(self, engine: Engine) -> Plan:
        """The engine's plan, with every function of a node watched."""
        names = dict(engine.plan.names)
        for name, thing in names.items():
            found = re.fullmatch(r"n(\d+)_(\w+)", name)
            if found and isinstance(thing, types.FunctionType) and found[2] not in LEFT_ALONE:
                names[name] = self._watched(engine, int(found[1]), positional(thing))
        return replace(engine.plan, names=names)

    def _watched(self, engine: Engine, number: int, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            made = _described(engine, number, function, arguments)
            self.calls.append(made)
            returned = self._run(made, function, arguments)
            own = _state_of(engine, number, arguments)
            made.after = values_of(own) if own is not None else None
            made.rows = _rows(returned, arguments)
            return returned

        return call


def is_users(engine: Engine, number: int) -> bool:
    """Did a person write this operator or aggregate? (Columns count as ours.)"""
    node = engine.plan.pipeline.nodes[number]
    source = node.code()
    if source is None:
        return False
    return not is_ours(source) and not source.__module__.startswith("onetape_columns_")


def values_of(row: Any) -> Values:
    """The fields of a row as plain values: a copy."""
    if isinstance(row, RowView):
        names = row._block.dtype.names
        return {name: _plain(getattr(row, name)) for name in names}
    return {name: _plain(getattr(row, name)) for name in row._fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Cells | np.ndarray):
        return [_plain(value[i]) for i in range(len(value))]
    return value.item() if isinstance(value, np.generic) else value


def _described(engine: Engine, number: int, function: Any, arguments: tuple[Any, ...]) -> Call:
    run, node = engine.run[0], engine.plan.pipeline.nodes[number]
    own = _state_of(engine, number, arguments)
    rows = [a for a in arguments if isinstance(a, RowView) and a is not own]
    is_result = isinstance(node, Aggregating) and function.__name__ == "result"
    event = values_of(rows[0]) if rows and not is_result else None
    key = None
    if isinstance(node, Aggregating):
        key = arguments[1] if event is None else event[node.key] if node.key else 0
    elif own is not None:
        key = engine.arrays[f"n{number}_keys"][own._index]
    if event is not None:
        time_ns = event["ts_event_ns"]
    else:  # result(self, key, start_ns, end_ns), on_timer(self, now_ns)
        time_ns = arguments[3] if isinstance(node, Aggregating) else arguments[1]
    return Call(
        offset=int(run["offset"]),
        index=int(run["index"]),
        node=number,
        operator=node.name,
        function=function.__name__,
        key=None if key is None else int(key),
        time_ns=int(time_ns),
        event=event,
        before=None if own is None else values_of(own),
        heads=[int(engine.heads[k * LINE]) for k in range(len(engine.plan.outputs))],
    )


def _state_of(engine: Engine, number: int, arguments: tuple[Any, ...]) -> Any:
    """The row that is the state of one key, among the arguments."""
    names = (f"n{number}_state", f"n{number}_panes", f"x{number}_total")
    blocks = [engine.arrays[name] for name in names if name in engine.arrays]
    for argument in arguments:
        if isinstance(argument, RowView) and any(argument._block is block for block in blocks):
            return argument
    return None


def _rows(returned: Any, arguments: tuple[Any, ...]) -> list[Values]:
    emitters = [argument for argument in arguments if isinstance(argument, Emitter)]
    rows = [values_of(RowView(e.block, at)) for e in emitters for at in range(int(e.used[0]))]
    return rows if returned is None else [values_of(returned)]
