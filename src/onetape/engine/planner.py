"""Graph in, one readable Python module out: the event-major driver.

The driver is a loop with three cases, tried in this order: a timer is due; an event is decoded
and waits; read on. Each timer and each event (a *root*) goes depth-first through the whole graph
before the next. Before a root touches any state the driver knows that there is room for all it can
cause: the planner has counted, for each output, the most rows, and for each keyed operator the most
new keys, that one root can make. `budget` is the number of roots that surely fit, worked out anew
only when it is used up.

An operator reached by several paths appears in the text once a path; its handler is one function.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onetape.codecs import FRAMING_OF
from onetape.compiled.counts import CELLS
from onetape.compiled.index import new_index
from onetape.compiled.ticks import record_at, ticks
from onetape.compiled.timers import new_timers
from onetape.engine import closure, layout, operator_text, source_text, spill_text, stages
from onetape.engine.columns import values
from onetape.engine.graph import Node, Pipeline, Source, Stream
from onetape.engine.keeping import HALT
from onetape.engine.keyed import DIRECT, new_links
from onetape.engine.text import Text
from onetape.records import DeclarationError

OUTPUT_ROWS = 1 << 14  # rows of an output ring, unless a runtime asks for more


@dataclass
class Plan:
    """A planned pipeline: the driver's text, what it names, and the arrays it works on."""

    pipeline: Pipeline
    framing: dict[str, str]
    text: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Callable[[], Any]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    rows_most: list[int] = field(default_factory=list)  # of each output, that one root can make
    node_names: list[str] = field(default_factory=list)
    driver: str = ""  # fingerprint of the code that answers: the same with and without sampling


def plan(
    pipeline: Pipeline,
    framing: dict[str, str] | None = None,
    *,
    sampled: bool = False,
    apart: bool = False,
    placed: bool = False,
) -> Plan:
    """Plan `pipeline`. `framing` says how the bytes of each feed source are framed.

    sampled  the driver can also count how long each operator takes, where run.sampled says so. It
             costs some 3 %, and the answer is the same
    apart    operators are compiled apart from the driver: see onetape/engine/apart.py
    placed   origins tell a root's place among all roots in place of its tape offset: see `layout`
    """
    made = _Planner(pipeline, framing or {}, sampled, apart, placed).plan()
    made.driver = closure.fingerprint(made.text, made.names | _initial_state(pipeline))
    if sampled:
        made.driver = plan(pipeline, framing).driver
    return made


def _initial_state(pipeline: Pipeline) -> dict[str, Any]:
    """What state begins with: data, not code, but an answer depends on it all the same."""
    specs = {f"initial {n}": getattr(node, "spec", None) for n, node in enumerate(pipeline.nodes)}
    return {
        name: operator_text.initial_block(spec.state, spec.initial)
        for name, spec in specs.items()
        if spec is not None and spec.state is not None
    }


class _Planner:
    """The state of writing one driver; `*_text` modules write the parts through it."""

    def __init__(
        self,
        pipeline: Pipeline,
        framing: dict[str, str],
        sampled: bool,
        apart: bool,
        placed: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.sampled = sampled
        self.apart = apart
        self.placed = placed
        self._is_handed = any(isinstance(source, stages.Handed) for source in pipeline.sources)
        self.outputs = list(pipeline.outputs)
        self.framing = {
            s.name: framing.get(s.name) or FRAMING_OF.get(s.feed or "itch", "length_prefixed")
            for s in pipeline.sources
        }
        self.names: dict[str, Any] = {}
        self.arrays: dict[str, Callable[[], Any]] = {}
        self.number = {id(node): n for n, node in enumerate(pipeline.nodes)}
        self.text = Text()
        self.consumers = self._consumers()
        self.timed = [n for n in pipeline.nodes if n.is_timed()]
        # What the root being written can cause, and the most of any root so far.
        self.times = 1
        self.rows = [0] * len(self.outputs)
        self.rows_most = [0] * len(self.outputs)
        self.calls: dict[int, int] = {}
        self.calls_most: dict[int, int] = {}
        self._loops = 0
        if len({s.name for s in pipeline.sources}) != len(pipeline.sources):
            raise DeclarationError("two sources have one name; give them different names")
        if len(pipeline.sources) > 256:
            raise DeclarationError(f"{len(pipeline.sources)} sources; a pipeline has at most 256")

    # --- what the parts use ---------------------------------------------------------------------

    def label(self, node: Node) -> str:
        """Prefix of everything that belongs to a node: n0, n1 ..."""
        return f"n{self.number[id(node)]}"

    def array(self, name: str, make: Callable[[], Any]) -> str:
        self.arrays.setdefault(name, make)
        return name

    def name(self, name: str, thing: Any) -> str:
        self.names[name] = thing
        return name

    def is_wired(self, stream: Stream) -> bool:
        return bool(self.consumers.get((id(stream.node), stream.output)))

    def keyed_arrays(self, node: Node, keys: int) -> Callable[[], int]:
        """Reserve slots for `keys` keys and for those one root may bring; returns how many.

        So a node that holds exactly `keys` goes on: it halts when one root has brought more.
        """
        label, number = self.label(node), self.number[id(node)]

        def slots() -> int:
            return keys + self.calls_most.get(number, 1)

        self.array(f"{label}_direct", lambda: np.zeros(DIRECT, np.int64))
        self.array(f"{label}_index", lambda: new_index(slots()))
        self.array(f"{label}_keys", lambda: np.zeros(slots(), np.int64))
        if node.keeping.is_ordered:
            self.array(f"{label}_links", lambda: new_links(slots()))
        if node.is_timed():
            self.array(f"{label}_timers", lambda: new_timers(slots())[0])
            self.array(f"{label}_heap", lambda: new_timers(slots())[1])
        return slots

    def sample(self, node: Node, at_end: bool = False) -> None:
        """Count how long a call takes, in the few turns that are sampled."""
        if not self.sampled:
            return
        self.name("ticks", ticks)
        self.name("record_at", record_at)
        size = len(self.pipeline.nodes) * CELLS
        counts = self.array("x_ticks", lambda: np.zeros(size, np.int64))
        with self.text.block("if sampled"):
            if at_end:
                base = self.number[id(node)] * CELLS
                self.text.add(f"record_at({counts}, {base}, ticks() - began)")
            else:
                self.text.add("began = ticks()")

    def mark_stale(self, node: Node, of: Any, block: str, used: str, at_most: int) -> None:
        """Rows made after a loss in a feed that the node depends on say so in their `flags`."""
        feeds = " | ".join(f"stale{n}" for n in self._feeds_of(node))
        if not feeds or "flags" not in of.fields:
            return
        with self.text.block(f"if {feeds}"):
            if at_most == 1:
                self.text.add(f"row({block}, 0).flags |= STALE")
            else:
                with self.text.block(f"for i in range({used})"):
                    self.text.add(f"row({block}, i).flags |= STALE")

    def _feeds_of(self, node: Node) -> list[int]:
        """Numbers of the sources that a node's rows come from, of those that read feeds."""
        if isinstance(node, Source):
            is_fed = isinstance(node, stages.Handed) and node.feeds
            return [self.number[id(node)]] if node.feed or is_fed else []
        return sorted({n for _, s in node.inputs for n in self._feeds_of(s.node)})

    def place(self, moment: str | int, node: int = 0) -> list[str]:
        """The text that notes a root's place among all roots, where that is asked for."""
        bits = layout.ROOT_NODES_MAX.bit_length() - 1
        line = f"place = (events << {bits + 2}) | ({moment} << {bits}) | {node}"
        return [line] if self.placed else []

    def time_is_over(self) -> str:
        """An expression: has the input ended, here or in the stage before?"""
        return "watermark >= FAR" + (" or n_over[0] != 0" if self._is_handed else "")

    def timer_is_due(self) -> str:
        """An expression: may a timer fire now? Not in the middle of a root."""
        return "next_wake <= watermark" + (" and n_more[0] == 0" if self._is_handed else "")

    def count_call(self, node: Node) -> None:
        """This root can bring one (times the loops around it) new key to the node."""
        number = self.number[id(node)]
        self.calls[number] = self.calls.get(number, 0) + self.times

    def push(self, stream: Stream, event: str) -> None:
        """Write what happens to one row (an expression): to outputs first, then operators."""
        for kind, what in self.consumers.get((id(stream.node), stream.output), []):
            if kind == "output":
                self._emit(what, event, self.number[id(stream.node)])
            else:
                node, name = what
                node.write(self, name, event)

    def push_each(self, stream: Stream, block: str, used: str, at_most: int) -> None:
        """Write what happens to each of the `used` rows of a block, in order."""
        if not self.is_wired(stream):
            return
        if at_most == 1:
            with self.text.block(f"if {used} > 0"):
                self.push(stream, f"fixed(row({block}, 0))")
            return
        variable, self._loops = f"i{self._loops}", self._loops + 1
        self.times *= at_most
        with self.text.block(f"for {variable} in range({used})"):
            self.push(stream, f"fixed(row({block}, {variable}))")
        self.times //= at_most

    def root_done(self) -> None:
        """A root's text is complete: remember what it can cause."""
        self.rows_most = [max(a, b) for a, b in zip(self.rows, self.rows_most, strict=True)]
        for number, calls in self.calls.items():
            self.calls_most[number] = max(calls, self.calls_most.get(number, 0))
        self.rows = [0] * len(self.outputs)
        self.calls = {}

    # --- the driver -----------------------------------------------------------------------------

    def plan(self) -> Plan:
        body = self._body()
        self.text = Text()
        heading = f"Driver of {self.pipeline!r}, generated: see onetape/engine/planner.py."
        self.text.add(f'"""{heading}"""', "", "")
        fixed = ["run", "sources", "buffer", "end", "heads", "tails", "counts"]
        with self.text.block(f"def turn({', '.join(fixed + list(self.arrays))})"):
            self.text.add("r = row(run, 0)", *_loads(self))
            self.text.add(*body.lines)
            self.text.add(*_saves(self), "return status")
        self.names |= values.used(str(self.text))
        return Plan(
            pipeline=self.pipeline,
            framing=self.framing,
            text=str(self.text),
            names=self.names,
            arrays=self.arrays,
            outputs=self.outputs,
            rows_most=self.rows_most,
            node_names=[node.name for node in self.pipeline.nodes],
        )

    def _body(self) -> Text:
        source_text.import_names(self)
        roots = self._roots()  # first: the room a root needs is known only when all are written
        self.text = Text()
        text = self.text
        with text.block("while True"):
            with text.block(f"if {self.timer_is_due()} or pending != 0"):
                with text.block("if budget == 0"):
                    self._budget()
                    with text.block("if budget == 0"):
                        text.add("break")
                text.add("budget -= 1", "made_rows = 0", *roots.lines, "continue")
            with text.block("if at < stop"):
                source_text.next_event(self)
                text.add("continue")
            source_text.next_frame(self)
        return text

    def _roots(self) -> Text:
        self.text = Text()
        with self.text.block(f"if {self.timer_is_due()}"):
            # Thousands of keys may be due at once: what is made by then leaves in between.
            with self.text.block(f"if fired == {layout.TIMERS_MAX}"):
                self.text.add("status = PAUSED", "break")
            self.text.add("fired += 1")
            self._timer_roots()
            self.text.add("continue")
        for n, source in enumerate(self.pipeline.sources):
            head = "if" if n == 0 else "elif"
            with self.text.block(f"{head} pending == {n + 1}"):
                spill_text.fetch_first(self, source, n)
                source_text.begin_root(self, source, n)
                self.push(source.stream(), f"{self.label(source)}_event")
                self.root_done()
            if self.is_wired(source.gaps()):
                with self.text.block(f"elif pending == {-(n + 1)}"):
                    source_text.begin_gap(self, source, n)
                    self.push(source.gaps(), f"{self.label(source)}_gap")
                    self.root_done()
        self.text.add("pending = 0")
        return self.text

    def _timer_roots(self) -> None:
        """Fire the earliest timer; among equal times the operator that comes first."""
        text = self.text
        text.add("due = NEVER", "which = -1")
        for node in self.timed:
            label = self.label(node)
            text.add(f"wake = next_wake_of({label}_timers, {label}_heap)")
            with text.block("if wake < due"):
                text.add("due = wake", f"which = {self.number[id(node)]}")
        # A timer that was cancelled or put off is still in `next_wake`: then nothing happens now.
        text.add("next_wake = due")
        with text.block("if due <= watermark"):
            self._fire()

    def _fire(self) -> None:
        """The timer of operator `which`. An event may be waiting: what it came with stays as it is.

        To what a timer causes, time has come as far as the timer, even where the watermark is ahead
        already; and never goes back, where a late event set a timer to the past.
        """
        text = self.text
        text.add(
            "root = TIMER_ROOT",
            "root_sequence = due",
            "root_source = 0",
            "root_late = 0",
            "reached_ns = max(reached_ns, due)",
            "root_time = reached_ns",
            "r.index = index",
            *source_text.stale(self),
            *stages.stale(self, of_row=False),
        )
        for n, node in enumerate(self.timed):
            label = self.label(node)
            head = "if" if n == 0 else "elif"
            with text.block(f"{head} which == {self.number[id(node)]}"):
                text.add(
                    *self.place(
                        f"({layout.BEFORE_EVENT} if pending > 0 else {layout.AFTER_EVENT})",
                        self.number[id(node)],
                    ),
                    f"slot = first({label}_heap)",
                    f"key = row({label}_timers, slot).key",
                    "root_key = key",
                )
                node.write_timer(self)
                self.root_done()

    def _budget(self) -> None:
        """How many roots surely fit; `status` and `r.node` say what is lacking if none does."""
        text = self.text
        text.add(f"budget = {1 << 20}", "status = DONE")
        for k, most in enumerate(self.rows_most):
            if most:
                text.add(
                    f"room = (o{k}.shape[0] - (h{k} - load_acquire(tails, {k * layout.LINE})))"
                    f" // {most}"
                )
                with text.block("if room < budget"):
                    text.add("budget = room", "status = OUT_FULL")
        for number, most in self.calls_most.items():
            node = self.pipeline.nodes[number]
            if node.keeping.when_full != HALT:
                continue  # it makes room, or takes no more
            text.add(f"room = {node.write_headroom(self)} // {most}")
            with text.block("if room < budget"):
                text.add("budget = room", "status = AT_CAPACITY", f"r.node = {number}")
        with text.block("if budget > 0"):
            text.add("status = DONE")

    def _emit(self, k: int, event: str, node: int) -> None:
        """Copy one row to output k, with where it comes from."""
        self.rows[k] += self.times
        of = self.pipeline.outputs[self.outputs[k]].of
        rows = self.array(f"o{k}", lambda: np.zeros(OUTPUT_ROWS, of.dtype))
        origins = self.array(f"g{k}", lambda: np.zeros(OUTPUT_ROWS, layout.ORIGIN))
        self.text.add(
            f"put_row({rows}, h{k} & m{k}, {event})",
            f"g = row({origins}, h{k} & m{k})",
            f"g.tape_offset = {'place' if self.placed else 'offset'}",
            "g.sequence = root_sequence",
            "g.key = root_key",
            "g.index = made_rows",
            f"g.node = {node}",
            "g.source = root_source",
            "g.root = root",
            f"h{k} += 1",
            f"store_release(heads, {k * layout.LINE}, h{k})",
            "made_rows += 1",
        )

    def _consumers(self) -> dict[tuple[int, str], list[tuple[str, Any]]]:
        found: dict[tuple[int, str], list[tuple[str, Any]]] = {}
        for k, stream in enumerate(self.pipeline.outputs.values()):
            found.setdefault((id(stream.node), stream.output), []).append(("output", k))
        for node in self.pipeline.nodes:
            for name, stream in node.inputs:
                found.setdefault((id(stream.node), stream.output), []).append(
                    ("node", (node, name))
                )
        return found


def _loads(planner: _Planner) -> list[str]:
    """Fields of `run` become local variables, and back at the end."""
    lines = [f"{name} = r.{name}" for name in _LOCALS]
    lines += ["watermark = r.watermark_ns", "next_wake = r.next_wake_ns"]
    for n, _ in enumerate(planner.pipeline.sources):
        lines.append(f"w{n} = row(sources, {n}).watermark_ns")
        lines.append(f"s{n} = row(sources, {n}).events")
    for k, _ in enumerate(planner.outputs):
        if f"o{k}" in planner.arrays:
            lines += [f"h{k} = heads[{k * layout.LINE}]", f"m{k} = o{k}.shape[0] - 1"]
    if planner.sampled:
        lines += ["sampled = r.sampled", "began = 0"]
    return [*lines, "budget = 0", "fired = 0", "status = DONE"]


def _saves(planner: _Planner) -> list[str]:
    lines = [f"r.{name} = {name}" for name in _LOCALS]
    lines += ["r.watermark_ns = watermark", "r.next_wake_ns = next_wake"]
    for n, _ in enumerate(planner.pipeline.sources):
        lines.append(f"row(sources, {n}).watermark_ns = w{n}")
        lines.append(f"row(sources, {n}).events = s{n}")
    return lines


_LOCALS = (
    "frame_at",
    "at",
    "stop",
    "ts_recv_ns",
    "offset",
    "index",
    "event_at",
    "reached_ns",
    "events",
    "source",
    "pending",
    "late",
    "sequence",
)

__all__ = ["OUTPUT_ROWS", "Plan", "Source", "plan"]
