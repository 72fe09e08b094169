"""What a node of a graph is: it writes its part of the driver, and knows its state.

The planner asks each node for the text of what happens to one row at an input, and of what happens
when a timer of it is due; digests, manifests and `onetape explain` ask it for the rest. So a new
kind of step is one class, and nothing else has to know of it.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from onetape.compiled.index import COUNT
from onetape.engine.keeping import PLAIN, Keeping

if typing.TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan, _Planner
    from onetape.engine.stream import Stream

Canonical = Iterator[tuple[Any, list[Any]]]


def fed_by(node: Node) -> dict[str, str]:
    """{input: names of the sources that its rows come from}, of a node that keeps rows of each."""
    return {f"input {name}": " + ".join(sorted(_sources(s.node))) for name, s in node.inputs}


def _sources(node: Node) -> set[str]:
    found = [_sources(stream.node) for _, stream in node.inputs]
    return set[str]().union(*found) if found else {node.name}


@dataclass(frozen=True, eq=False)
class Node:
    """One step of a pipeline. `inputs` name the streams it takes.

    tick     what one tick is in its rows, a Decimal, where the step itself decides that
    keeping  what bounds the keys it knows
    """

    kind: ClassVar[str] = "node"  # for a person

    name: str
    inputs: tuple[tuple[str, Stream], ...] = ()
    tick: Any = field(default=None, kw_only=True)
    keeping: Keeping = field(default=PLAIN, kw_only=True)

    def write(self, planner: _Planner, name: str, event: str) -> None:
        """The text of what happens to `event`, a row at the input `name`."""
        raise NotImplementedError(f"{type(self).__name__} takes no rows")

    def keyed_by(self) -> str | None:
        """The field by which it keeps rows apart; '': it keeps nothing; None: it sees all rows."""
        return None

    def is_timed(self) -> bool:
        """Has it timers, one a key?"""
        return False

    def write_timer(self, planner: _Planner) -> None:
        """The text of what happens at `due` to the key in `slot`."""
        raise NotImplementedError(f"{type(self).__name__} has no timers")

    def comes_with_time(self, output: str) -> bool:
        """Do the rows of this output come just when time reaches them, as those of windows do?"""
        return False

    def write_headroom(self, planner: _Planner) -> str:
        """An expression: how many calls surely find room in its state."""
        label = planner.label(self)
        return f"({label}_index[LIMIT] - {label}_index[COUNT])"

    def passes(self, field: str) -> bool:
        """Do its rows have this field of the row they come from, and has it no state itself?"""
        return False

    def used(self, arrays: dict[str, Any], label: str) -> int | None:
        """How much it holds of what `limits` names first; None: it holds nothing."""
        index = arrays.get(f"{label}_index")
        return None if index is None else int(index[COUNT])

    def limits(self) -> dict[str, int]:
        """How much it may hold, by the name of what; {}: it holds nothing."""
        return {}

    def canonical(self, engine: Engine, label: str) -> Canonical:
        """(keys, blocks): what each key holds. What has no meaning, such as slots, is left out."""
        return iter(())

    def code(self) -> Any:
        """The class or function that a person wrote and that it calls; None: it calls none."""
        return None

    def written(self) -> str:
        """The text of the module that was written for it alone; empty: it has none."""
        return ""

    def meaning(self) -> dict[str, Any]:
        """Beside its own numbers and names, all by which what it holds is to be read: a later
        version that says otherwise cannot go on with it."""
        return {}

    def manifest(self) -> dict[str, Any]:
        """What it was declared with, as JSON-ready data."""
        return {}

    def lines(self, plan: Plan) -> list[str]:
        """What it does and what bounds it, for a person."""
        return []

    def expressions(self) -> list[Any]:
        """The expressions of columns in it."""
        return []
