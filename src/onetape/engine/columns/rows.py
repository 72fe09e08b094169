"""Columns row by row: filter, select, with_columns. They cost what the same line by hand costs.

Neither has state or a call: a filter is an `if` in the driver around what follows, a selection
writes its fields into one row that those that follow read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.codecs.feed import symbol_of
from onetape.engine.columns.bind import INT, bind, condition, name_of
from onetape.engine.columns.expr import Expr, lift
from onetape.engine.node import Node
from onetape.engine.stream import Stream
from onetape.records import DeclarationError
from onetape.records.declare import made_record
from onetape.records.types import Field

if TYPE_CHECKING:
    from onetape.engine.planner import Plan, _Planner

KEPT = ("ts_event_ns", "flags")  # time, and what says that a row may be wrong, always stay


@dataclass(frozen=True, eq=False)
class Filter(Node):
    """Rows for which all conditions hold, as they are."""

    kind = "filter"

    def keyed_by(self) -> str | None:
        return ""

    conditions: tuple[Expr, ...] = ()

    def write(self, planner: _Planner, name: str, event: str) -> None:
        of = self.inputs[0][1].of
        texts = [condition(expr, of, event) for expr in self.conditions]
        with planner.text.block(f"if {' and '.join(texts)}"):
            planner.push(Stream(self, "rows", of), event)

    def lines(self, plan: Plan) -> list[str]:
        """What it does, for a person."""
        return [repr(expr) for expr in self.conditions]

    def comes_with_time(self, output: str) -> bool:
        return _comes_with_time(self)

    def expressions(self) -> list[Expr]:
        return list(self.conditions)


@dataclass(frozen=True, eq=False)
class Symbols(Node):
    """Events of a feed that are of these instruments, by the words of their symbols."""

    kind = "symbols"

    def keyed_by(self) -> str | None:
        return ""

    words: tuple[int, ...] = ()

    def write(self, planner: _Planner, name: str, event: str) -> None:
        feed = f"{planner.label(self.inputs[0][1].node)}_feed"
        planner.text.add(f"word = row({feed}, 0).symbols[{event}.instrument_id]")
        with planner.text.block(f"if {' or '.join(f'word == {word}' for word in self.words)}"):
            planner.push(Stream(self, "rows", self.inputs[0][1].of), event)

    def lines(self, plan: Plan) -> list[str]:
        """What it does, for a person."""
        return [f"only {', '.join(symbol_of(word) for word in self.words)}"]


@dataclass(frozen=True, eq=False)
class Select(Node):
    """New rows, each field an expression over the old."""

    kind = "select"

    def keyed_by(self) -> str | None:
        return ""

    of: Any = None
    fields: tuple[tuple[str, Expr | None], ...] = ()  # None: the same field, an array perhaps

    def write(self, planner: _Planner, name: str, event: str) -> None:
        number = planner.number[id(self)]
        block = planner.array(f"x{number}_row", lambda: np.zeros(1, self.of.dtype))
        row = f"n{number}_row"
        planner.text.add(f"{row} = row({block}, 0)")
        for field, expr in self.fields:
            if expr is not None:
                value = bind(expr, self.inputs[0][1].of, event).text
                planner.text.add(f"{row}.{field} = {value}")
                continue
            length = self.of.fields[field].length
            if length is None:
                planner.text.add(f"{row}.{field} = {event}.{field}")
            else:
                with planner.text.block(f"for i in range({length})"):
                    planner.text.add(f"{row}.{field}[i] = {event}.{field}[i]")
        planner.push(Stream(self, "rows", self.of), f"fixed({row})")

    def lines(self, plan: Plan) -> list[str]:
        """What it makes, for a person."""
        return [f"{n} = {expr!r}" for n, expr in self.fields if expr is not None]

    def comes_with_time(self, output: str) -> bool:
        return ("ts_event_ns", None) in self.fields and _comes_with_time(self)

    def expressions(self) -> list[Expr]:
        return [expr for _, expr in self.fields if expr is not None]


def _comes_with_time(node: Node) -> bool:
    stream = node.inputs[0][1]
    return stream.node.comes_with_time(stream.output)


def filter_rows(stream: Stream, *conditions: Expr) -> Stream:
    """The rows for which every condition holds."""
    if not conditions:
        raise DeclarationError("filter was given no condition")
    for expr in conditions:
        condition(expr, stream.of)
    node = Filter(f"filter_{stream.node.name}", (("rows", stream),), tuple(conditions))
    return Stream(node, "rows", stream.of)


def select(stream: Stream, *columns: Expr, **named: Any) -> Stream:
    """Rows of only these columns; time and flags stay."""
    of = stream.of
    fields: dict[str, Expr | None] = {name: None for name in KEPT[:1] if name in of.fields}
    for expr in columns:
        name = name_of(expr) if isinstance(expr, Expr) else None
        if name is None:
            raise DeclarationError(
                f"select was given {expr!r} without a name; write name=... or .alias('name')"
            )
        is_array = name in of.fields and of.fields[name].length is not None
        fields[name] = None if expr.op == "field" and is_array else expr
    fields |= {name: lift(value) for name, value in named.items()}
    fields |= {name: None for name in KEPT[1:] if name in of.fields and name not in fields}
    return _selected(stream, f"{of.__name__}Columns", fields)


def with_columns(stream: Stream, **named: Any) -> Stream:
    """Rows with all they have, and these columns."""
    if not named:
        raise DeclarationError("with_columns was given no columns; write name=expression")
    fields: dict[str, Expr | None] = dict.fromkeys(stream.of._fields)
    fields |= {name: lift(value) for name, value in named.items()}
    return _selected(stream, f"{stream.of.__name__}Columns", fields)


def _selected(stream: Stream, name: str, fields: dict[str, Expr | None]) -> Stream:
    described: dict[str, Field] = {}
    ts = fields.get("ts_event_ns")
    if ts is not None and bind(ts, stream.of).kind != INT:
        raise DeclarationError(ts.place.says("ts_event_ns is ns since 1970, a whole number"))
    for field, expr in fields.items():
        described[field] = stream.of.fields[field] if expr is None else _field(expr, stream.of)
    of = made_record(name, described)
    node = Select(f"select_{stream.node.name}", (("rows", stream),), of, tuple(fields.items()))
    return Stream(node, "rows", of)


def _field(expr: Expr, of: Any) -> Field:
    if expr.op == "alias":
        return _field(expr.args[0], of)
    return bind(expr, of).field
