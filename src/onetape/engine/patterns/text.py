"""Write a pattern as Python: what an event does to each partial match of its key.

The module has, for each step, `fits_STEP` (the condition as it was written), `seen_by_STEP` (the
match so far, as far as it asks for it), `take_STEP` and `more_STEP` (what is kept of an event that
is taken), and the functions `begins`, `on_event` and `on_time` that the driver calls.
"""

from __future__ import annotations

import linecache
import sys
import types
from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import numpy as np

from onetape.compiled.kernel import Kernel, compile_function
from onetape.compiled.rows import copy_row, row
from onetape.engine import closure
from onetape.engine.patterns import runs as chain
from onetape.engine.patterns.declare import Pattern, Step
from onetape.engine.patterns.moves import standings
from onetape.engine.patterns.reading import COUNT, Read, Reader, Use
from onetape.engine.patterns.standing_text import END, KEEP, write_standing
from onetape.engine.text import Text
from onetape.records import UNSET

EACH, BEST, IN_TURN = "tell_each", "tell_best", "tell_in_turn"
CHAIN = (
    "begin_ns", "copy_of", "drop_newest", "drop_oldest", "end", "end_ns", "first_end", "halt",
    "keep", "let_go", "max_of", "max_of_floats", "min_of", "min_of_floats", "new_cell",
    "no_such_step", "sum_of", "sum_of_floats", EACH, BEST, IN_TURN,
)  # fmt: skip


ENTRIES = ("begins", "on_event", "on_time")


class Writing:
    """One pattern over one record: its text, what it names, and the layout of a partial match."""

    def __init__(self, pattern: Pattern, read: Read, of: Any) -> None:
        self.pattern, self.read, self.of = pattern, read, of
        self.steps = pattern.steps
        self.standings = standings(pattern.steps)
        self.uses = read.uses()
        self.tells = self._tells()
        self.is_timed = self._is_timed()
        self.text = Text()
        self.names: dict[str, Any] = {"row": row, "copy_row": copy_row}
        self.names |= {name: getattr(chain, name) for name in CHAIN}
        self._write()

    @property
    def most_moves(self) -> int:
        """Partial matches that one event may make of one."""
        return max(len(s.moves) + any(m.passes for m in s.moves) for s in self.standings)

    @property
    def cells(self) -> int:
        """Partial matches a key may have open while an event is looked at."""
        return self.pattern.at_most * max(self.most_moves, 1) + 1

    def layout(self) -> np.dtype[Any]:
        """A partial match: where it stands, and what is kept of its events."""
        kept = [(name_of(use), "<f8" if self._is_float(use) else "<i8") for use in self.uses]
        return np.dtype([(name, "<i8") for name in chain.RUN_WORDS] + kept)

    def blank(self) -> Any:
        """One that has taken nothing."""
        block = np.zeros(1, self.layout())
        for use in self.uses:
            if use.how != COUNT:
                block[name_of(use)] = float("nan") if self._is_float(use) else UNSET
        return block

    def module(self) -> Any:
        """The text as a module; registered under a hash of all that it depends on."""
        text = str(self.text)
        digest = closure.fingerprint(text, self.names)
        path = f"<pattern, {digest}>"
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        made = types.ModuleType(f"onetape_patterns_{digest}")
        for thing in self.names.values():
            if isinstance(thing, type) and thing.__module__ == __name__:
                thing.__module__ = made.__name__
        sys.modules[made.__name__] = made
        made.__dict__.update(self.names)
        exec(compile(text, path, "exec"), made.__dict__)
        for name, thing in vars(made).copy().items():
            if isinstance(thing, types.FunctionType) and name not in ENTRIES:
                made.__dict__[name] = _kernel(thing)
        return made

    # --- which match is told when ----------------------------------------------------------------

    def _tells(self) -> str:
        if self.pattern.skip.partition(" ")[0] in ("past_last", "to_first", "to_last"):
            return IN_TURN
        every = self.pattern.skip == "none" and any(s.how == "then_any" for s in self.steps)
        return EACH if every else BEST

    def _is_timed(self) -> bool:
        """Is the end of its time seen? It frees the room of the key, and may make a match."""
        ends = any(s.matches_at is not None and s.matches_at != s.settles_at
                   for s in self.standings)  # fmt: skip
        if self.pattern.within is not None:
            return True
        return ends or self.tells == IN_TURN or (self.tells == BEST and self.most_moves > 1)

    # --- the parts of the text -------------------------------------------------------------------

    def _write(self) -> None:
        self.text.add(f'"""{" ".join(s.name for s in self.steps)}, by {self.pattern.by}."""')
        for reader in self.read.readers.values():
            self._write_reader(reader)
        for k, step in enumerate(self.steps):
            self._write_take(k, step)
        self._write_is_match()
        self._define("begins(e, blank)", [f"return bool({self.asks(self.steps[0].name, 'blank')})"])
        self._write_on_event()
        if self.is_timed:
            self._write_on_time()
        self._write_finish()

    def _define(self, head: str, lines: Iterable[str] = ()) -> Any:
        self.text.add("", "")
        block = self.text.block(f"def {head}")
        if lines:
            with block:
                self.text.add(*lines)
        return block

    def _write_reader(self, reader: Reader) -> None:
        """The match as one condition asks for it: named tuples, which cost nothing once inlined."""
        name = reader.name
        self.names["emit" if name == "emit" else f"fits_{name}"] = _kernel(reader.function)
        if reader.uses:
            tree: dict[str, Any] = {}
            for use in reader.uses:
                at = tree
                parts = [p for p in (use.step, use.how if use.how != COUNT else "") if p]
                for part in parts:
                    at = at.setdefault(part, {})
                at[use.field or COUNT] = "now_ns" if use.field == "end_ns" else f"r.{name_of(use)}"
            takes = "r, now_ns" if name == "emit" else "r"
            made = self._tuple(f"Seen_{name}", tree)
            self._define(f"seen_by_{name}({takes})", [f"return {made}"])

    def _tuple(self, name: str, tree: dict[str, Any]) -> str:
        self.names[name] = namedtuple(name, list(tree), module=__name__)  # type: ignore[misc]
        values = [v if isinstance(v, str) else self._tuple(f"{name}_{n}", v)
                  for n, v in tree.items()]  # fmt: skip
        return f"{name}({', '.join(values)})"

    def asks(self, name: str, run: str = "r") -> str:
        """A call of the condition of that name, for the partial match `run`."""
        reader = self.read.readers[name]
        if reader.uses is None:
            return f"fits_{name}(e)"
        return f"fits_{name}(e, {f'seen_by_{name}({run})' if reader.uses else 0})"

    def _write_take(self, k: int, step: Step) -> None:
        mine = [use for use in self.uses if use.step == step.name]
        rule, _, aim = self.pattern.skip.partition(" ")
        settles_at = self.standings[k].settles_at
        always = ["r.gap = 0"]
        if rule == "past_last":
            always.append("r.resume = at + 1")
        if aim == step.name and rule == "to_last":
            always.append("r.resume = at")
        for use in mine:
            if use.how in ("", "last"):
                always.append(f"r.{name_of(use)} = e.{use.field}")
        first = [f"r.{name_of(use)} = e.{use.field}" for use in mine
                 if use.how in ("first", "sum", "min", "max")]  # fmt: skip
        if aim == step.name and rule == "to_first":
            first.append("r.resume = at")
        counts = [f"r.{name_of(use)}" for use in mine if use.how == COUNT]
        done = ["r.done = 1"] if settles_at == 1 else []
        self._define(
            f"take_{step.name}(r, e, at)",
            [f"r.step = {k}", "r.count = 1", *[f"{c} = 1" for c in counts], *always, *first, *done],
        )
        if step.most == 1:
            return
        joined = [
            f"r.{name_of(u)} = {u.how}_of{'_floats' * self._is_float(u)}"
            f"(r.{name_of(u)}, e.{u.field})"
            for u in mine
            if u.how in ("sum", "min", "max")
        ]
        lines = ["r.count += 1", *[f"{c} += 1" for c in counts], *always, *joined]
        if settles_at is not None and settles_at > 1:
            lines += [f"if r.count == {settles_at}:", "    r.done = 1"]
        self._define(f"more_{step.name}(r, e, at)", lines)

    def _write_is_match(self) -> None:
        ways = [
            f"r.step == {k}" + (f" and r.count >= {s.matches_at}" if s.matches_at > 1 else "")
            for k, s in enumerate(self.standings)
            if s.matches_at is not None
        ]
        self._define("is_match(r)", [f"return {' or '.join(ways)}"])

    def _write_on_event(self) -> None:
        text = self.text
        head = "on_event(key, e, is_first, blank, now_ns, runs, base, counts, lost, out)"
        with self._define(head):
            text.add("key.events += 1", *_WALK)
            with text.block("while at != 0"):
                text.add(*_NEXT)
                with text.block("if r.done != 0"):
                    text.add("last = keep(key, runs, base, last, at)")
                with text.block(f"elif {self._is_over()}"):
                    text.add("last = end(key, runs, base, last, at, is_match(r))")
                for k, standing in enumerate(self.standings):
                    if not standing.moves and standing.settles_at is not None:
                        continue  # it is done as soon as it stands there
                    with text.block(f"elif r.step == {k}"):
                        text.add(f"# {standing.step.name} was the last it took")
                        write_standing(self, standing)
                with text.block("else"):
                    text.add("no_such_step()")
                text.add("at = following")
            with text.block("if is_first"):
                text.add(
                    "at = new_cell(key, runs, base)",
                    "copy_row(runs, base + at - 1, blank, 0)",
                    "r = row(runs, base + at - 1)",
                    "r.start_ns = begin_ns(e.ts_event_ns)",
                    "r.first = key.events",
                    "r.resume = key.events + 1",
                    f"take_{self.steps[0].name}(r, e, key.events)",
                    "last = keep(key, runs, base, last, at)",
                )
            text.add("finish(key, runs, base, now_ns, counts, lost, out)")

    def _is_over(self) -> str:
        return f"now_ns >= end_ns(r.start_ns, {self.pattern.within_ns})"

    def _write_on_time(self) -> None:
        text = self.text
        with self._define("on_time(key, now_ns, runs, base, counts, lost, out)"):
            text.add(*_WALK)
            with text.block("while at != 0"):
                text.add(*_NEXT)
                with text.block(f"if r.done == 0 and {self._is_over()}"):
                    text.add(END)
                with text.block("else"):
                    text.add(KEEP)
                text.add("at = following")
            text.add("finish(key, runs, base, now_ns, counts, lost, out)")

    def _write_finish(self) -> None:
        text, pattern = self.text, self.pattern
        reader = self.read.readers["emit"]
        seen = "seen_by_emit(r, now_ns)" if reader.uses else "0"
        with self._define("finish(key, runs, base, now_ns, counts, lost, out)"):
            text.add(f"{self.tells}(key, runs, base)", "at = key.told")
            with text.block("while at != 0"):
                text.add(
                    "r = row(runs, base + at - 1)",
                    f"out.append(emit({seen}))",
                    "at = let_go(key, runs, base, at)",
                )
            text.add("key.told = 0")
            text.add(f"counts[lost] += {pattern.when_full}(key, runs, base, {pattern.at_most})")
            if self.is_timed:
                text.add(f"key.wake_ns = first_end(key, runs, base, {pattern.within_ns})")

    def _is_float(self, use: Use) -> bool:
        return use.how != COUNT and self.of.fields[use.field].code == "<f8"


_WALK = ("at, last = key.head, 0", "key.head = 0")
_NEXT = ("r = row(runs, base + at - 1)", "following = r.next")


def _kernel(function: Any) -> Kernel:
    """Compiled where it is called, and kept on the disk as part of the driver that calls it."""
    return Kernel(function, load=lambda: compile_function(function, None))


def name_of(use: Use) -> str:
    """The field of a partial match that keeps it."""
    return "__".join(part for part in (use.step, use.how, use.field) if part) or "none"
