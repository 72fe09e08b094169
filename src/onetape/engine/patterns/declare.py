"""A pattern as it is written: steps, one after the other, then what a match gives. A value."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from onetape.compiled.kernel import Kernel
from onetape.records import DeclarationError
from onetape.records.options import check_options
from onetape.records.places import here
from onetape.records.types import parse_duration_ns

if TYPE_CHECKING:
    from onetape.engine.stream import Stream

Condition = Callable[[Any], bool] | Callable[[Any, Any], bool]
Times = int | tuple[int, int | None]

ENDLESS = 1 << 62  # times=(2, None): so many
AT_MOST = 4096
OF_THE_MATCH = ("start_ns", "end_ns")  # what `m` has beside the steps
TAKEN = (*OF_THE_MATCH, "emit")
WHEN_FULL = ("halt", "drop_oldest", "drop_newest")
SKIPS = ("none", "to_next", "past_last", "to_first", "to_last")


@dataclass(frozen=True)
class Absent:
    """Nothing between two steps may be so."""

    name: str
    when: Any


@dataclass(frozen=True)
class Step:
    """Events that a match takes, `least` to `most` of them, and what may not come after them.

    how  'begin', 'next' (the very next event of the key), 'then' (the next that fits) or
         'then_any' (each that fits, in a match of its own)
    """

    name: str
    when: Any
    how: str
    least: int
    most: int
    greedy: bool
    in_a_row: bool
    absent: tuple[Absent, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """A sequence of events of one key; `stream >> pattern` is the stream of what matches give.

    ```python
    @ot.record
    class Round:
        ts_event_ns: ot.i64
        instrument_id: ot.u32
        lots: ot.i64


    there_and_back = (
        ot.Pattern(by="instrument_id", within="100ms", at_most=16, when_full="drop_oldest")
        .begin("out", lambda e: e.side == 66)
        .then("back", lambda e, m: e.side == 65 and e.qty_lots == m.out.qty_lots)
        .emit(lambda m: Round(m.end_ns, m.out.instrument_id, m.out.qty_lots))
    )
    pipeline = ot.Pipeline(round=trades >> there_and_back)
    ```

    by         the key: matches are of events with one value of this field
    within     a match is shorter than this, from its first event on; without it, any time
    at_most    partial matches that a key may have open
    when_full  what to do with more: 'halt' the pipeline, 'drop_oldest' or 'drop_newest' (counted)
    skip       where to go on after a match: 'none', 'to_next', 'past_last', 'to_first STEP' or
               'to_last STEP'
    capacity   keys that may have had a partial match; at capacity the pipeline halts

    A condition is given the event, and if it takes two the match so far: `m.STEP.field`; of a step
    that may take several `m.STEP.first.field`, `.last`, `.sum`, `.min` or `.max`, `m.STEP.count`.
    DeclarationError names the line that cannot be. The semantics are in docs/PATTERNS.md.
    """

    by: Any
    within: str | int | None = None
    at_most: int = 64
    when_full: str = "halt"
    skip: str = "none"
    capacity: int = 1 << 16
    steps: tuple[Step, ...] = field(default=(), init=False)
    makes: Any = field(default=None, init=False)  # what emit was given

    def __new__(cls, *_: Any, **options: Any) -> Pattern:
        check_options("ot.Pattern", options, cls.__init__)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if not isinstance(self.at_most, int) or not 0 < self.at_most <= AT_MOST:
            _fail(f"at_most was {self.at_most!r}; expected 1 to {AT_MOST} partial matches")
        if self.when_full not in WHEN_FULL:
            _fail(f"when_full was {self.when_full!r}; expected one of {', '.join(WHEN_FULL)}")
        if not isinstance(self.capacity, int) or self.capacity < 1:
            _fail(f"capacity was {self.capacity!r}; expected 1 key or more")
        rule, _, step = str(self.skip).partition(" ")
        if rule not in SKIPS or (rule in SKIPS[3:]) != bool(step):
            _fail(f"skip was {self.skip!r}; expected {', '.join(SKIPS[:3])}, or 'to_first STEP'")
        if self.within is not None and self.within_ns <= 0:
            _fail(f"within was {self.within!r}; expected a time, such as '2s'")

    @property
    def within_ns(self) -> int:
        """How long a match may take: shorter than this."""
        return ENDLESS if self.within is None else parse_duration_ns(self.within)

    def begin(
        self, name: str, when: Condition, *, times: Times = 1, greedy: bool = False,
        in_a_row: bool = False,
    ) -> Pattern:  # fmt: skip
        """The first step: every event for which `when` holds begins a partial match."""
        if self.steps:
            _fail(f"begin({name!r}): the pattern has begun with {self.steps[0].name!r} already")
        return self._with("begin", name, when, times, greedy, in_a_row)

    def next(
        self, name: str, when: Condition, *, times: Times = 1, greedy: bool = False
    ) -> Pattern:
        """The very next event of the key; if `when` does not hold for it, there is no match."""
        return self._with("next", name, when, times, greedy, True)

    def then(
        self, name: str, when: Condition, *, times: Times = 1, greedy: bool = False,
        in_a_row: bool = False,
    ) -> Pattern:  # fmt: skip
        """The next event for which `when` holds; what comes between is passed over."""
        return self._with("then", name, when, times, greedy, in_a_row)

    def then_any(
        self, name: str, when: Condition, *, times: Times = 1, greedy: bool = False,
        in_a_row: bool = False,
    ) -> Pattern:  # fmt: skip
        """Every event for which `when` holds, each in a match of its own."""
        return self._with("then_any", name, when, times, greedy, in_a_row)

    def without(self, name: str, when: Condition) -> Pattern:
        """No event that is passed over from here to the next step, or in the end until `within` has
        passed, may be so."""
        self._check_name("without", name, when)
        if not self.steps:
            _fail(f"without({name!r}) stands before begin; expected a step to come after")
        last = self.steps[-1]
        if last.least == 0:
            _fail(f"without({name!r}) comes after {last.name!r}, which may take nothing; expected "
                  "a step that takes at least one event")  # fmt: skip
        stepped = replace(last, absent=(*last.absent, Absent(name, _plain(when))))
        return self._made(steps=(*self.steps[:-1], stepped))

    def emit(self, make: Callable[[Any], Any]) -> Pattern:
        """What a match gives: one record. It ends the pattern."""
        if not self.steps:
            _fail("emit: the pattern has no steps; expected begin(...) before it")
        if self.makes is not None:
            _fail("emit was given already; expected it once, at the end")
        last = self.steps[-1]
        if last.least == 0 and not last.greedy:
            _fail(f"the last step, {last.name!r}, may take nothing, and so takes nothing; expected "
                  "greedy=True, or at least one")  # fmt: skip
        if last.absent and self.within is None:
            _fail(f"without({last.absent[0].name!r}) is the end; expected Pattern(within=...), "
                  "to say how long nothing of it may come")  # fmt: skip
        step = self.skip.partition(" ")[2]
        if step and step not in [s.name for s in self.steps]:
            _fail(f"skip was {self.skip!r}, and there is no such step; the steps are "
                  f"{', '.join(s.name for s in self.steps)}")  # fmt: skip
        return self._made(makes=_plain(make))

    def on(self, stream: Stream) -> Stream:
        """The matches in `stream`, as a stream: the same as `stream >> pattern`."""
        from onetape.engine.patterns.matcher import matches

        return matches(self, stream)

    # --- checks ----------------------------------------------------------------------------------

    def _with(
        self, how: str, name: str, when: Any, times: Any, greedy: bool, in_a_row: bool
    ) -> Pattern:
        self._check_name(how, name, when)
        if how != "begin" and not self.steps:
            _fail(f"{how}({name!r}) is the first step; expected begin({name!r}, ...)")
        if how == "next" and self.steps[-1].absent:
            _fail(f"next({name!r}) is the very next event: nothing lies between for "
                  f"without({self.steps[-1].absent[0].name!r}); expected then")  # fmt: skip
        least, most = times if isinstance(times, tuple) and len(times) == 2 else (times, times)
        most = ENDLESS if most is None else most
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (least, most))
        if not whole or not max(int(how == "begin"), 0) <= least <= most or most == 0:
            _fail(f"{how}({name!r}): times was {times!r}; expected a number, or (least, most) with "
                  f"{'1' if how == 'begin' else '0'} or more, most None for no limit")  # fmt: skip
        step = Step(name, _plain(when), how, least, most, greedy, in_a_row)
        return self._made(steps=(*self.steps, step))

    def _check_name(self, how: str, name: Any, when: Any) -> None:
        known = [n for s in self.steps for n in (s.name, *(a.name for a in s.absent))]
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            _fail(f"{how}({name!r}): expected a name, such as 'wall', to be used as m.wall")
        if keyword.iskeyword(name) or name in (*known, *TAKEN):
            _fail(f"{how}({name!r}): this name is taken; give the step another one")
        if self.makes is not None:
            _fail(f"{how}({name!r}) comes after emit, which ends a pattern")
        if not callable(when):
            _fail(f"{how}({name!r}) was given {when!r}; expected a condition, such as "
                  "lambda e, m: e.qty_lots > 100")  # fmt: skip

    def _made(self, **changed: Any) -> Pattern:
        made = replace(self)
        for name in ("steps", "makes"):
            object.__setattr__(made, name, changed.get(name, getattr(self, name)))
        return made


def _plain(when: Any) -> Any:
    """The function itself, of a kernel too."""
    function = when.py_func if isinstance(when, Kernel) else when
    if not inspect.isfunction(function):
        _fail(f"{when!r} is no function with a text; expected a lambda or a def")
    return function


def _fail(what: str) -> NoReturn:
    raise DeclarationError(here().says(what))
