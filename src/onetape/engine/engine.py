"""A pipeline that runs: its driver and the memory it works on. Pure: frames in, rows out.

    engine = Engine(plan(pipeline))
    for name, rows, origins in engine.feed(buffer, begin, end): ...

The buffer holds frames as they stand on the tape. `feed` returns when all of them are consumed;
what it yields are views that are good until the next step.
"""

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.compiled import mode
from onetape.compiled.atomics import peek, poke
from onetape.compiled.kernel import is_ours
from onetape.engine import compile as compiler
from onetape.engine import layout
from onetape.engine.columns.expr import is_arithmetic
from onetape.engine.columns.values import TOO_LARGE
from onetape.engine.planner import OUTPUT_ROWS, Plan
from onetape.engine.spill import DictStore, Spill, Store, row_and_keys
from onetape.records import OnetapeError, OperatorError
from onetape.records.places import OWN, Place

Rows = tuple[str, Any, Any]


class StepError(OnetapeError):
    """An operator raised: the pipeline halts at (offset, index, operator)."""

    def __init__(
        self, offset: int, index: int, operator: str, why: BaseException, where: str = ""
    ) -> None:
        self.offset, self.index, self.operator, self.why = offset, index, operator, why
        super().__init__(
            f"operator {operator}{where} raised {type(why).__name__}: {why} at offset {offset}, "
            f"event {index} of its frame; the pipeline halts there. Correct the operator, and run "
            "the same input on a new tape (an event cannot be left out)"
        )


class ColumnError(StepError):
    """An expression came to more than 64 bits hold. Which one, compiled code does not tell."""

    def __init__(self, offset: int, index: int, why: BaseException, written: list[Any]) -> None:
        self.offset, self.index, self.operator, self.why = offset, index, "columns", why
        some = "\n".join(expr.place.says(repr(expr)) for expr in written if is_arithmetic(expr))
        OnetapeError.__init__(
            self,
            f"{why} at offset {offset}, event {index} of its frame; the pipeline halts there. "
            "Divide before you multiply, compare in smaller steps, or use .to_float(). It is one "
            f"of these:\n{some}",
        )


@dataclass(frozen=True)
class Counts:
    """What a run has seen so far."""

    events: int
    frames: int
    ticks: int
    late: int  # events older than their source's watermark
    late_at_windows: int  # what windows refused as late: those, and what operators date back
    ahead: int  # what windows refused as too far ahead
    dropped_matches: int  # partial matches that patterns had no room for
    keys_forgotten: int  # not seen for the ttl of their node
    keys_evicted: int  # seen longest ago, when a node was full
    rows_dropped: int  # left out, as of keys that came when a node was full
    bad_frames: int
    bad_events: int
    rows: dict[str, int]


def _in_memory(size: int, keys: int) -> Store:
    return DictStore(size)


class Engine:
    """A planned pipeline with its state. One thread at a time.

    stops  outputs of which each row stops the engine right behind the event that made it
    turn   the driver of another engine of the same plan and mode: nothing is compiled or loaded
    store  (bytes of a row, keys at most) -> where a node with `memory=` puts state away; in a dict,
           where none is given
    given  arrays to work on, by name ("run", "sources" and those of nodes), in place of new ones
    """

    def __init__(
        self,
        plan: Plan,
        output_rows: int = OUTPUT_ROWS,
        turn: Any = None,
        stops: Collection[str] = (),
        store: Callable[[int, int], Store] | None = None,
        given: dict[str, Any] | None = None,
    ) -> None:
        if output_rows & (output_rows - 1):
            raise ValueError(f"output_rows was {output_rows}; expected a power of two")
        for name, most in zip(plan.outputs, plan.rows_most, strict=True):
            if most > output_rows:
                raise OperatorError(
                    f"one event of this pipeline can make {most} rows of output {name!r}, and its "
                    f"ring holds {output_rows}; give it more, or lower the UpTo of its operators"
                )
        self.plan = plan
        given = given or {}
        self.run = given.get("run", layout.new_run())
        self.sources = given.get("sources", layout.new_sources(len(plan.pipeline.sources)))
        self.heads = np.zeros(layout.LINE * max(len(plan.outputs), 1), np.int64)
        self.tails = np.zeros_like(self.heads)
        self.counts_words = np.zeros(layout.NODE_WORDS * len(plan.node_names), np.int64)
        makers = plan.arrays.items()
        self.arrays = {name: given[name] if name in given else make() for name, make in makers}
        self._blocked = [0] * len(plan.outputs)
        for k, output in enumerate(plan.outputs):
            if f"o{k}" in self.arrays:
                for name in (f"o{k}", f"g{k}"):
                    self.arrays[name] = np.zeros(output_rows, self.arrays[name].dtype)
                if output in stops:  # the rest of its ring counts as full: no room behind a row
                    self._blocked[k] = output_rows - plan.rows_most[k]
                    self.tails[k * layout.LINE] = -self._blocked[k]
        self.spills = {
            number: Spill(self, number, (store or _in_memory)(*row_and_keys(node)))
            for number, node in enumerate(plan.pipeline.nodes)
            if node.keeping.memory_bytes
        }
        self._midway = False
        self._turn = turn or compiler.driver(plan, self.arguments(np.zeros(8, np.uint8), 0))

    def arguments(self, buffer: Any, end: int) -> list[Any]:
        """The driver's arguments, in its order."""
        fixed = [self.run, self.sources, buffer, end, self.heads, self.tails, self.counts_words]
        return fixed + list(self.arrays.values())

    @property
    def turn(self) -> Any:
        """The compiled driver itself, for a loop that calls it from compiled code."""
        return self._turn

    def feed(self, buffer: Any, begin: int, end: int) -> Iterator[Rows]:
        """Run the frames in buffer[begin:end]; yields (output, rows, origins) as rings fill."""
        for made in self.turns(buffer, begin, end):
            yield from made

    def turns(self, buffer: Any, begin: int, end: int) -> Iterator[Iterator[Rows]]:
        """As `feed`, turn by turn: while one's rows are taken, all of them, the state stands."""
        flags = buffer.flags
        if buffer.dtype != np.uint8 or not (flags.c_contiguous and flags.writeable):
            raise ValueError(
                f"the buffer was {buffer.dtype}, contiguous {flags.c_contiguous}, writable "
                f"{flags.writeable}; expected writable contiguous uint8 (a bytearray, not bytes)"
            )
        if self._midway:
            raise OperatorError(
                "the engine stopped in the middle of its input (an operator raised, or its rows "
                "were not all taken); make a new one and restore the last checkpoint"
            )
        self._midway = True
        self.run["frame_at"] = begin
        arguments = self.arguments(buffer, end)
        while True:
            try:
                status = self._turn(*arguments)
            except Exception as why:
                yield self.drain()  # what was made before it, however the input is split
                raise self.step_error(why) from why
            yield self.drain()
            if status == layout.DONE:
                self._midway = False
                return
            if status == layout.AT_CAPACITY and not self._has_made_room():
                raise self.capacity_error()
            if status == layout.FETCH and not self._has_fetched(buffer):
                raise self.capacity_error()

    def _has_made_room(self) -> bool:
        spill = self.spills.get(int(self.run["node"][0]))
        return spill is not None and spill.make_room()

    def _has_fetched(self, buffer: Any) -> bool:
        """The state of the key that an event waits for, and of those of its frame that follow."""
        run, spill = self.run[0], self.spills[int(self.run["node"][0])]
        source = self.plan.pipeline.sources[int(run["source"])]
        ahead = np.zeros(0, np.int64)
        if not source.feed:
            rows = buffer[int(run["event_at"]) : int(run["stop"])].view(source.of.dtype)
            ahead = rows[spill.node.spec.key].astype(np.int64)
        return spill.fetch(ahead)

    @contextmanager
    def in_plain_python(self, plan: Plan) -> Iterator[None]:
        """Inside the block the same state is driven without the compiler, by the driver of `plan`.

        plan  this engine's, or one that differs only in the functions it names: with watchers
        """
        before = self._turn
        with mode.running("interpreted"):
            self._turn = compiler.driver(plan, [])
            try:
                yield
            finally:
                self._turn = before

    def drain(self) -> Iterator[Rows]:
        """What is in the output rings, in order; releases it after each step."""
        for k, name in enumerate(self.plan.outputs):
            head = int(peek(self.heads, k * layout.LINE))
            tail = int(self.tails[k * layout.LINE]) + self._blocked[k]
            while tail < head:
                rows, origins = self.arrays[f"o{k}"], self.arrays[f"g{k}"]
                at = tail & (len(rows) - 1)
                count = min(head - tail, len(rows) - at)
                yield name, rows[at : at + count], origins[at : at + count]
                tail += count
                poke(self.tails, k * layout.LINE, tail - self._blocked[k])

    def undrained(self) -> tuple[int, int]:
        """Rows that wait in the fullest output ring, and how many it holds."""
        waiting = (self.heads - self.tails)[:: layout.LINE].tolist()
        rings = [(k, self.arrays.get(f"o{k}")) for k in range(len(waiting))]
        return max(((waiting[k], len(r)) for k, r in rings if r is not None), default=(0, 0))

    def step_error(self, why: BaseException) -> OnetapeError:
        run = self.run[0]
        if str(why) == TOO_LARGE:
            written = [e for node in self.plan.pipeline.nodes for e in node.expressions()]
            return ColumnError(int(run["offset"]), int(run["index"]), why, written)
        operator = self.plan.node_names[int(run["node"])]
        place = self._raised_at(int(run["node"]), why)
        where = f" ({place})" if place else ""
        return StepError(int(run["offset"]), int(run["index"]), operator, why, where)

    def _raised_at(self, node: int, why: BaseException) -> Place | None:
        """The line that raised, as far as is known: compiled code tells only the operator's own."""
        spec = getattr(self.plan.pipeline.nodes[node], "spec", None)
        source = getattr(spec, "source", None)
        step, at = why.__traceback__, None
        while step is not None:
            code = step.tb_frame.f_code
            if not code.co_filename.startswith(OWN) and not code.co_filename.endswith("driver.py"):
                at = Place(code.co_filename, step.tb_lineno)
            step = step.tb_next
        if at is not None or source is None or is_ours(source):
            return at
        try:
            path, (_, line) = inspect.getsourcefile(source), inspect.getsourcelines(source)
        except (OSError, TypeError):
            return None
        return Place(str(path), line) if path else None

    def capacity_error(self) -> OperatorError:
        run = self.run[0]
        operator = self.plan.node_names[int(run["node"])]
        node: Any = self.plan.pipeline.nodes[int(run["node"])]
        capacity, room = getattr(node, "capacity", None), "N"
        if isinstance(capacity, dict) and (node.spec.tables or not is_ours(node.spec.source)):
            room = "{" + ", ".join(f'"{name}": N' for name in capacity) + "}"
        return OperatorError(
            f"operator {operator} is at capacity at offset {int(run['offset'])}, event "
            f"{int(run['index'])}: all reserved state is in use, and nothing is dropped to make "
            f"room; raise its capacity, for example {operator}(..., capacity={room})"
            + self._other_policies(int(run["node"]))
        )

    def _other_policies(self, number: int) -> str:
        """What else may be said at the node's declaration, where it holds keys."""
        if self.plan.pipeline.nodes[number].kind == "pattern":
            return "; of a pattern, ot.Pattern(..., capacity=N)"
        if f"n{number}_index" not in self.arrays:
            return ""
        spill = self.spills.get(number)
        if spill is not None and spill.has_room():
            return "; its memory= is full of keys that have a timer, which stay: give it more"
        return (
            ", or say what else to do: when_full='evict_oldest' forgets the key seen longest ago, "
            "'drop_new' leaves events of further keys out; both are counted"
        )

    def counts(self) -> Counts:
        run = self.run[0]
        rows = {n: int(self.heads[k * layout.LINE]) for k, n in enumerate(self.plan.outputs)}
        words = self.counts_words.reshape(-1, layout.NODE_WORDS)
        return Counts(
            events=int(run["events"]),
            frames=int(run["frames"]),
            ticks=int(run["ticks"]),
            late=int(run["late_events"]),
            late_at_windows=int(words[:, layout.LATE].sum()),
            ahead=int(words[:, layout.AHEAD].sum()),
            dropped_matches=int(words[:, layout.UNMATCHED].sum()),
            keys_forgotten=int(words[:, layout.FORGOTTEN].sum()),
            keys_evicted=int(words[:, layout.EVICTED].sum()),
            rows_dropped=int(words[:, layout.DROPPED].sum()),
            bad_frames=int(run["bad_frames"]),
            bad_events=int(run["bad_events"]),
            rows=rows,
        )

    def feed_state(self, source: str) -> Any:
        """The row of a feed source (sequence, gaps, refusals, symbols), as a NumPy record."""
        for n, node in enumerate(self.plan.pipeline.sources):
            if node.name == source:
                return self.arrays[f"n{n}_feed"][0]
        raise KeyError(source)
