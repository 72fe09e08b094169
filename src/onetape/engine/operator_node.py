"""Operators in a graph: a declared operator, called with streams and settings, is a node."""

from __future__ import annotations

import inspect
import itertools
import typing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.compiled.kernel import is_ours
from onetape.engine.keeping import Keeping, keeping
from onetape.engine.node import Canonical, Node
from onetape.engine.operators import OperatorSpec, describe
from onetape.engine.stream import Stream
from onetape.records import DeclarationError

if typing.TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan, _Planner


@dataclass(frozen=True, eq=False)
class OperatorNode(Node):
    """A use of an operator, with its settings resolved to integers."""

    kind = "operator"

    spec: Any = None
    settings: dict[str, int] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=dict)

    def write(self, planner: _Planner, name: str, event: str) -> None:
        operator_text.on_event(planner, self, name, event)

    def keyed_by(self) -> str | None:
        spec = self.spec
        if spec.key is None and spec.state is None and not spec.tables:
            return ""
        return spec.key or getattr(spec.source, "apart_by", None)

    def is_timed(self) -> bool:
        return self.spec.timer is not None

    def write_timer(self, planner: _Planner) -> None:
        operator_text.on_timer(planner, self)

    def write_headroom(self, planner: _Planner) -> str:
        if self.keeping.memory_bytes:
            return spill_text.headroom(planner, self)
        if not self.spec.tables:
            return super().write_headroom(planner)
        said = planner.name(f"{planner.label(self)}_headroom", self.spec.headroom)
        return f"{said}({operator_text.tables(planner, self)})"

    def limits(self) -> dict[str, int]:
        return self.capacity

    def canonical(self, engine: Engine, label: str) -> Canonical:
        arrays, spec = engine.arrays, self.spec
        if spec.tables:
            book = spec.tables_type()(*(arrays[f"{label}_{t}"] for t in spec.tables))
            for block in spec.canonical(book):
                yield np.arange(len(block)), [block]
        elif f"{label}_index" in arrays:
            held = held_slots(arrays[f"{label}_index"])
            yield arrays[f"{label}_keys"][held], [arrays[f"{label}_state"][held]]

    def code(self) -> Any:
        return self.spec.source

    def manifest(self) -> dict[str, Any]:
        return {"settings": self.settings} | self.keeping.facts()

    def lines(self, plan: Plan) -> list[str]:
        if self.tick is not None:
            return [
                f"prices in ticks of {self.tick:f}; what is not on that grid is refused, counted"
            ]
        lines, units = [], {name: unit for name, (_, unit) in self.spec.settings().items()}
        shown = [
            f"{name}={value}" + (f" {units[name].name}" if units[name] else "")
            for name, value in self.shown_settings().items()
        ]
        if shown:
            lines.append("settings " + ", ".join(shown))
        limits = ", ".join(f"{v:,} {k}" for k, v in self.capacity.items())
        if limits and (self.spec.state is not None or self.spec.tables):
            by = f"by {self.spec.key}; " if self.spec.key else ""
            lines.append(by + self.keeping.line(limits))
        return lines

    def shown_settings(self) -> dict[str, int]:
        """Less those that the planner gives operators of this package."""
        hidden = "with_" if is_ours(self.spec.source) else "\0"
        return {n: value for n, value in self.settings.items() if not n.startswith(hidden)}

    def stream(self, output: str) -> Stream:
        return Stream(self, output, self.spec.outputs[output].of)


class Operator:
    """A declared operator: call it with streams and settings to put it into a pipeline.

    The class or function as written is `.source`; it runs in plain Python as it stands.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        self.spec = spec
        self.source = spec.source
        self.__doc__ = spec.source.__doc__
        self.__name__ = spec.name

    def __repr__(self) -> str:
        return f"<operator {self.spec.name}>"

    def __call__(self, *streams: Stream, **named: Any) -> Any:
        """A stream (one output) or an `Outputs` (several). Inputs in order or by name."""
        node = self.node(*streams, **named)
        if len(self.spec.outputs) == 1:
            return node.stream(next(iter(self.spec.outputs)))
        return Outputs(node)

    def node(self, *streams: Stream, **named: Any) -> OperatorNode:
        spec = self.spec
        order = "arrival" if "order" in spec.inputs else named.pop("order", "arrival")
        said = named.pop("capacity", {})
        if not isinstance(said, dict):
            of, most = next(iter(spec.capacity), "keys"), said if isinstance(said, int) else "N"
            raise DeclarationError(
                f'{spec.name}: capacity was {said!r}; write capacity={{"{of}": {most}}}'
            )
        capacity = spec.capacity | said
        waiting = capacity.pop("waiting", 1 << 16) if order != "arrival" else 1
        unknown = set(capacity) - set(spec.capacity)
        if unknown:
            raise DeclarationError(
                f"{spec.name}: capacity has no {sorted(unknown)}; it has {sorted(spec.capacity)}"
            )
        for name, count in capacity.items():
            if not isinstance(count, int) or count < 1:
                raise DeclarationError(
                    f"{spec.name}: capacity of {name} was {count!r}; expected 1 or more"
                )
        kept = {n: named.pop(n) for n in _KEEPING if n in named and n not in spec.settings()}
        wired = dict(zip(spec.inputs, streams, strict=False))
        if len(streams) > len(spec.inputs):
            raise DeclarationError(
                f"{spec.name} has {len(spec.inputs)} inputs, was given {len(streams)} streams"
            )
        wired |= {name: named.pop(name) for name in list(named) if name in spec.inputs}
        missing = [name for name in spec.inputs if name not in wired]
        if missing:
            raise DeclarationError(f"{spec.name} needs a stream for input {missing[0]!r}")
        for name, stream in wired.items():
            _check_input(spec, name, stream)
        made = OperatorNode(
            name=spec.name,
            inputs=tuple(in_order(spec.name, order, wired, waiting).items()),
            spec=spec,
            settings=resolved(spec, named),
            capacity=capacity,
            keeping=_kept(spec, kept),
        )
        if made.keeping.memory_bytes:
            spill_text.check(made)
        return made


class Outputs:
    """The named outputs of an operator, as attributes."""

    def __init__(self, node: OperatorNode) -> None:
        self._node = node

    def __repr__(self) -> str:
        return f"<outputs {', '.join(self._node.spec.outputs)} of {self._node.name}>"

    def __getattr__(self, name: str) -> Stream:
        if name not in self._node.spec.outputs:
            raise AttributeError(
                f"{self._node.name} has no output {name!r}; it has "
                f"{', '.join(self._node.spec.outputs)}"
            )
        return self._node.stream(name)


def operator(
    thing: Any = None,
    *,
    key: str | None = None,
    ttl: str | int | None = None,
    when_full: str | None = None,
    memory: str | int | None = None,
) -> Any:
    """An operator, of a function, or of a class whose annotated attributes are one key's state.

    ```python
    @ot.operator(key="instrument_id")
    class Jumps:
        last_ticks: ot.i64 = ot.UNSET

        def on_trade(self, t: mk.Trade, *, at_least: ot.Ticks = 5) -> Jump | None:
            was, self.last_ticks = self.last_ticks, t.price_ticks
            if was == ot.UNSET or abs(t.price_ticks - was) < at_least:
                return None
            return Jump(t.ts_event_ns, t.instrument_id, t.price_ticks - was)

    jumps = Jumps(trades, at_least=10)
    ```

    `on_NAME` makes an input of that name, `on_timer` runs when the state's `wake_ns` is due; what
    stands after `*` is a setting; `migrate` is for a hot swap (docs/HOT_SWAP.md). `Jumps.source` is
    the class as written. DeclarationError names the line that cannot be.

    ttl        of event time: a key not seen for so long is forgotten, with its timer
    when_full  at `capacity` keys: "halt", "drop_new" (events of further keys are left out) or
               "evict_oldest" (the key seen longest ago is forgotten)
    memory     bytes, or "256MB": keys that do not fit are put away on the disk until they are seen

    All may be said where it is used, too: `Jumps(trades, ttl="10m", capacity={"keys": 1_000})`.
    """
    said = {"ttl": ttl, "when_full": when_full, "memory": memory}
    given = {name: value for name, value in said.items() if value is not None}

    def declared(of: Any) -> Operator:
        spec = describe(of, key)
        return Operator(replace(spec, keeping=_kept(spec, given)) if given else spec)

    return declared if thing is None else declared(thing)


_KEEPING = ("ttl", "when_full", "memory")


def _kept(spec: OperatorSpec, given: dict[str, Any]) -> Keeping:
    """What bounds the keys of a use: as declared, and what it says itself."""
    if given and spec.state is None:
        raise DeclarationError(
            f"{spec.name}: {' and '.join(given)} bounds keys, each with a state; this operator has "
            + ("tables" if spec.tables else "no state")
        )
    declared = spec.keeping
    when_full = given.get("when_full", declared.when_full)
    said = keeping(spec.name, when_full, given.get("ttl"), given.get("memory"))
    return replace(
        said,
        ttl_ns=said.ttl_ns or declared.ttl_ns,
        memory_bytes=said.memory_bytes or declared.memory_bytes,
    )


def _check_input(spec: OperatorSpec, name: str, stream: Any) -> None:
    if not isinstance(stream, Stream):
        raise DeclarationError(f"{spec.name}: input {name!r} was {stream!r}; expected a stream")
    expected = spec.inputs[name].event
    if stream.of is not expected:
        raise DeclarationError(
            f"{spec.name}: input {name!r} takes {expected.__name__}, "
            f"was given a stream of {stream.of.__name__}"
        )
    if spec.key is not None and spec.key not in stream.of._fields:
        raise DeclarationError(
            f"{spec.name} is keyed by {spec.key!r}, which {stream.of.__name__} does not have; "
            f"its fields are {', '.join(stream.of._fields)}"
        )
    if spec.key is not None:
        check_key(spec.name, spec.key, stream.of)


def check_key(name: str, key: str, of: Any) -> None:
    """A key is one integer."""
    field = of.fields[key]
    if field.length is not None or field.code == "<f8":
        raise DeclarationError(
            f"{name} is keyed by {key!r}, which is {'an array' if field.length else 'a float'} in "
            f"{of.__name__}; expected an integer field"
        )


def resolved(spec: OperatorSpec, given: dict[str, Any]) -> dict[str, int]:
    """All settings of an operator as integers in their units: those given, else the defaults."""
    known = spec.settings()
    resolved = {}
    for name in itertools.chain(known, given):
        if name not in known:
            raise DeclarationError(
                f"{spec.name} has no input or setting {name!r}; it has inputs "
                f"{', '.join(spec.inputs)} and settings {', '.join(known) or 'none'}"
            )
        default, unit = known[name]
        value = given.get(name, default)
        if value is inspect.Parameter.empty:
            raise DeclarationError(f"{spec.name} needs a value for setting {name!r}")
        try:
            value = unit.parse(value) if unit else value
        except DeclarationError as error:
            raise DeclarationError(f"{spec.name}: setting {name!r}: {error}") from None
        if isinstance(value, bool) or not isinstance(value, int):
            raise DeclarationError(
                f"{spec.name}: setting {name!r} was {value!r}; expected a whole number"
                + (f" of {unit.name}" if unit else "")
            )
        if not -(2**63) <= value < 2**63:
            raise DeclarationError(f"{spec.name}: setting {name!r} was {value}; it has 64 bits")
        resolved[name] = value
    return resolved


# Last: the text of an operator knows this node.
from onetape.engine import operator_text, spill_text  # noqa: E402
from onetape.engine.in_order import in_order  # noqa: E402
