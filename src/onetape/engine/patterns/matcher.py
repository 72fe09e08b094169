"""A pattern on a stream, a node of the graph: its driver text finds the key, calls the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from onetape.compiled.index import held_slots
from onetape.engine import closure
from onetape.engine.columns.bind import field_name
from onetape.engine.emit import Emitter
from onetape.engine.keyed import give_back, slot_known
from onetape.engine.layout import NODE_WORDS, UNMATCHED
from onetape.engine.node import Canonical, Node
from onetape.engine.operator_node import check_key
from onetape.engine.operator_text import _earliest, call, initial_block
from onetape.engine.patterns.declare import ENDLESS, Pattern, Step
from onetape.engine.patterns.reading import Read, read_pattern
from onetape.engine.patterns.runs import KEY, canonical_key
from onetape.engine.patterns.text import Writing
from onetape.engine.stream import Stream
from onetape.records import UNSET, DeclarationError, snake_name
from onetape.records.places import here

if TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan, _Planner

CELLS_MOST = 1 << 28


@dataclass(frozen=True, eq=False)
class Matcher(Node):
    """Looks for a pattern; its output `matches` has what each match gives."""

    kind = "pattern"

    pattern: Any = None
    key: str = ""
    read: Any = None
    writing: Any = None
    module: Any = None
    conditions: str = ""  # a hash of their code

    def keyed_by(self) -> str | None:
        return self.key

    def matches(self) -> Stream:
        return Stream(self, "matches", self.read.makes)

    def write(self, planner: _Planner, name: str, event: str) -> None:
        """An event is looked at if it may begin a match, or if its key has one open."""
        label, number = planner.label(self), planner.number[id(self)]
        planner.count_call(self)
        self._arrays(planner)
        for said, thing in (("slot_known", slot_known), (f"{label}_begins", self.module.begins)):
            planner.name(said, thing)
        planner.text.add(
            f"r.node = {number}",
            f"key = {event}.{self.key}",
            f"is_first = {label}_begins({event}, row(x{number}_blank, 0))",
            f"{label}_slot = slot_known({label}_direct, {label}_index, key)",
        )
        is_open = f"{label}_slot >= 0 and row({label}_state, {label}_slot).head != 0"
        with planner.text.block(f"if is_first or ({is_open})"):
            planner.text.add(
                f"{label}_slot = slot_of({label}_direct, {label}_index, {label}_keys, "
                f"{label}_state, x{number}_initial, key)",
            )
            time = f"min(max({event}.ts_event_ns, root_time, 0), FAR)"
            given = [event, "is_first", f"x{number}_blank", time]
            self._call(planner, "on_event", given, f"{label}_slot", "key")

    def is_timed(self) -> bool:
        return bool(self.writing.is_timed)

    def write_timer(self, planner: _Planner) -> None:
        """The time of a match is over, which may make it one."""
        label, number = planner.label(self), planner.number[id(self)]
        self._arrays(planner)
        planner.text.add(f"r.node = {number}", f"{label}_slot = slot")
        self._call(planner, "on_time", ["due"], f"{label}_slot", "root_key")
        planner.text.add(f"next_wake = {_earliest(planner)}")

    def _call(
        self, planner: _Planner, function: str, given: list[str], slot: str, key: str
    ) -> None:
        text, label, number = planner.text, planner.label(self), planner.number[id(self)]
        cells, makes = self.writing.cells, self.read.makes
        block = planner.array(f"x{number}_matches", partial(np.zeros, cells, makes.dtype))
        used = planner.array(f"u{number}_matches", lambda: np.zeros(1, np.int64))
        planner.name("Emitter", Emitter)
        planner.name("give_back", give_back)
        text.add(f"{used}[0] = 0")
        planner.sample(self)
        arguments = [
            f"row({label}_state, {slot})", *given, f"{label}_runs", f"{slot} * {cells}", "counts",
            str(number * NODE_WORDS + UNMATCHED), f"Emitter({block}, {used})",
        ]  # fmt: skip
        call(planner, f"{label}_{function}", getattr(self.module, function), arguments, [])
        planner.sample(self, at_end=True)
        if self.is_timed():
            text.add(
                f"wake = rearm({label}_timers, {label}_heap, {slot}, {key}, "
                f"row({label}_state, {slot}).wake_ns)",
                "next_wake = min(next_wake, wake)",
            )
        with text.block(f"if row({label}_state, {slot}).head == 0"):  # nothing of the key is open
            text.add(f"give_back({label}_direct, {label}_index, {label}_keys, {slot})")
        planner.mark_stale(self, makes, block, f"{used}[0]", cells)
        planner.push_each(self.matches(), block, f"{used}[0]", cells)

    def _arrays(self, planner: _Planner) -> None:
        label, number, writing = planner.label(self), planner.number[id(self)], self.writing
        slots = planner.keyed_arrays(self, self.pattern.capacity)
        layout, cells = writing.layout(), writing.cells
        planner.array(f"{label}_state", lambda: np.zeros(slots(), KEY))
        planner.array(f"{label}_runs", lambda: np.zeros(slots() * cells, layout))
        planner.array(f"x{number}_blank", writing.blank)
        nothing = tuple(UNSET if name == "wake_ns" else 0 for name in KEY.names or ())
        planner.array(f"x{number}_initial", lambda: initial_block(KEY, nothing))

    def limits(self) -> dict[str, int]:
        return {"keys": self.pattern.capacity}

    def canonical(self, engine: Engine, label: str) -> Canonical:
        """The partial matches of each key, in order. Events are numbered within a key's own."""
        arrays = engine.arrays
        keys, state = arrays[f"{label}_keys"], arrays[f"{label}_state"]
        for slot in held_slots(arrays[f"{label}_index"]).tolist():
            made = canonical_key(state, arrays[f"{label}_runs"], slot, self.writing.cells)
            yield np.full(len(made), keys[slot]), [np.arange(len(made)), made]

    def code(self) -> Any:
        return self.module.on_event

    def written(self) -> str:
        return str(self.writing.text)

    def meaning(self) -> dict[str, Any]:
        """A partial match stands at a step, by what was asked there: those of another pattern are
        no partial matches of this one. What a match gives may change."""
        p, asked = self.pattern, {n: r for n, r in self.read.readers.items() if n != "emit"}
        steps = [
            f"{_said(s)}: {asked[s.name].text}"
            + "".join(f", without {a.name}: {asked[a.name].text}" for a in s.absent)
            for s in p.steps
        ]
        return {
            "steps": "; ".join(steps), "within_ns": p.within_ns, "skip": p.skip,
            "at_most": p.at_most,
        }  # fmt: skip

    def manifest(self) -> dict[str, Any]:
        p = self.pattern
        return {
            "key": self.key, "steps": [s.name for s in p.steps], "within_ns": p.within_ns,
            "at_most": p.at_most, "when_full": p.when_full, "skip": p.skip,
        }  # fmt: skip

    def lines(self, plan: Plan) -> list[str]:
        p = self.pattern
        lines = []
        for step in p.steps:
            lines.append(f"{_said(step)}: {self.read.readers[step.name].text}")
            for absent in step.absent:
                lines.append(f"without {absent.name}: {self.read.readers[absent.name].text}")
        within = "any time" if p.within_ns == ENDLESS else f"{p.within_ns} ns"
        full = {
            "halt": "then the pipeline halts and says so",
            "drop_oldest": "then the oldest is dropped, counted",
            "drop_newest": "then the newest is dropped, counted",
        }
        return [
            *lines,
            f"within {within}, by {self.key}; skip {p.skip}",
            f"at most {p.at_most:,} partial matches a key, {full[p.when_full]}",
            f"at most {p.capacity:,} keys with one open; then the pipeline halts and says so",
        ]


def _said(step: Step) -> str:
    most = "or more" if step.most == ENDLESS else f"to {step.most}"
    times = f"{step.least} {most} times" if step.most != step.least else f"{step.least} times"
    parts = [times] * ((step.least, step.most) != (1, 1))
    parts += ["in a row"] * (step.in_a_row and step.most > 1) + ["greedy"] * step.greedy
    return f"{step.how} {step.name}" + (f" ({', '.join(parts)})" if parts else "")


def matches(pattern: Pattern, stream: Stream) -> Stream:
    """The matches of a pattern in a stream."""
    if not isinstance(stream, Stream):
        raise DeclarationError(here().says(f"a pattern was given {stream!r}; expected a stream"))
    if pattern.makes is None:
        raise DeclarationError(
            here().says("the pattern says not what a match gives; end it with .emit(lambda m: ...)")
        )
    of = stream.of
    key = field_name(pattern.by, of, "Pattern: by")
    read: Read = read_pattern(pattern, of)
    name = f"pattern_{snake_name(read.makes)}"
    check_key(name, key, of)
    if "ts_event_ns" not in of.fields:
        raise DeclarationError(f"{of.__name__} has no field ts_event_ns, which `within` is of")
    writing = Writing(pattern, read, of)
    if pattern.capacity * writing.cells > CELLS_MOST:
        raise DeclarationError(
            f"{name}: {pattern.capacity} keys of {writing.cells} partial matches are more than "
            f"{CELLS_MOST}; lower capacity or at_most"
        )
    asked = {name: r.function for name, r in read.readers.items() if name != "emit"}
    node = Matcher(
        name=name,
        inputs=(("events", stream),),
        pattern=pattern,
        key=key,
        read=read,
        writing=writing,
        module=writing.module(),
        conditions=closure.fingerprint("", asked),
    )
    return node.matches()
