"""Read the conditions of a pattern: are they sound, and what of which step do they ask for?

Only what some condition asks for is kept of the events of a match. The text of each is walked as an
operator's is (`engine/checks`); `m.STEP.field` is known here.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import Any, NoReturn

from onetape.engine.checks import place_of
from onetape.engine.checks.records import check_return
from onetape.engine.checks.source import Text, read
from onetape.engine.checks.subject import Known, Subject
from onetape.engine.checks.walk import Walk, near
from onetape.engine.patterns.declare import OF_THE_MATCH, Pattern, Step
from onetape.records import DeclarationError, is_record

COUNT = "count"
OF_SEVERAL = ("first", "last", "sum", "min", "max")


@dataclass(frozen=True, order=True)
class Use:
    """What is asked for: `how` is '' for the field of a step that takes one event, else of which of
    them (`OF_SEVERAL`), or COUNT; of the match itself, `step` is ''."""

    step: str
    how: str
    field: str


@dataclass(frozen=True)
class Reader:
    """A function of the pattern, and what it asks of the match; None if it does not take it."""

    name: str
    function: Any
    uses: tuple[Use, ...] | None
    text: str  # of the condition, for a person


@dataclass(frozen=True)
class Read:
    """All functions of a pattern over a record `of`, and the record they make."""

    readers: dict[str, Reader]  # by name of the step, or 'emit'
    makes: Any

    def uses(self) -> list[Use]:
        """All that is asked for of steps, each once."""
        return sorted({use for r in self.readers.values() for use in r.uses or () if use.step})


def read_pattern(pattern: Pattern, of: Any) -> Read:
    """DeclarationError at the first mistake in the text of a condition."""
    readers: dict[str, Reader] = {}
    for k, step in enumerate(pattern.steps):
        known = list(pattern.steps[: k + (step.most > 1)])
        readers[step.name] = _condition(step.name, step.when, of, known, pattern)
        for absent in step.absent:
            known = list(pattern.steps[: k + 1])
            readers[absent.name] = _condition(absent.name, absent.when, of, known, pattern)
    parameters = _parameters("emit", pattern.makes, (1,))
    text = _text("emit", pattern.makes)
    subject = Subject(where="emit", function=pattern.makes, known={})
    walk = _Walk(subject, text, of, list(pattern.steps), pattern, parameters[0])
    made = [walk.means(n.func) for n in ast.walk(text.tree) if isinstance(n, ast.Call)]
    walk.makes = next((record for record in made if is_record(record)), None)
    if walk.makes is None:
        walk.refuse(text.tree.body[-1], "a match gives one record; write lambda m: Record(...)")
    walk.run()
    readers["emit"] = Reader("emit", pattern.makes, tuple(sorted(walk.uses)), "")
    return Read(readers, walk.makes)


def _condition(name: str, function: Any, of: Any, known: list[Step], pattern: Pattern) -> Reader:
    parameters = _parameters(name, function, (1, 2))
    text = _text(name, function)
    event = Known("event", of.__name__, of.fields)
    subject = Subject(where=name, function=function, known={parameters[0]: event})
    match = parameters[1] if len(parameters) == 2 else ""
    walk = _Walk(subject, text, of, known, pattern, match)
    walk.run()
    body = text.tree.body[-1]
    said = body.value if isinstance(body, ast.Return) and body.value else None
    said_text = ast.unparse(said) if said and len(text.tree.body) == 1 else function.__name__
    return Reader(name, function, tuple(sorted(walk.uses)) if match else None, said_text)


def _parameters(name: str, function: Any, counts: tuple[int, ...]) -> list[str]:
    parameters = inspect.signature(function).parameters
    plain = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(plain) != len(parameters) or len(plain) not in counts:
        takes = "the match: lambda m: ..." if counts == (1,) else "(e) or (e, m)"
        what = f"{name}: takes ({', '.join(parameters)}); expected {takes}"
        place = place_of(function)
        raise DeclarationError(place.says(what) if place else what)
    return plain


def _text(name: str, function: Any) -> Text:
    found = read(function)
    if found is None:
        raise DeclarationError(
            f"{name}: the text of its condition is not found, and what it keeps of a match is read "
            "from there; write the pattern in a file"
        )
    return found


class _Walk(Walk):
    """One condition; `match` is its name for the match, '' if it takes none."""

    def __init__(
        self, subject: Subject, text: Text, of: Any, known: list[Step], pattern: Pattern, match: str
    ) -> None:
        super().__init__(subject, text)
        self.of, self.pattern, self.match = of, pattern, match
        self.makes: Any = None
        self.uses: set[Use] = set()
        self._steps = {step.name: step for step in known}

    def known_of(self, node: ast.AST) -> Known | None:
        """Of the match, one event of a step is known like the event itself; sums are wider."""
        chain = self._chain(node)
        if not chain:
            return super().known_of(node)
        several = chain[0] in self._steps and self._is_several(chain[0])
        if chain[0] in self._steps and chain[1:] in (
            [[h] for h in OF_SEVERAL] if several else [[]]
        ):
            kind = "state" if chain[-1] == "sum" else "event"
            return Known(kind, self.of.__name__, self.of.fields)
        return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain = self._chain(node)
        if chain:
            self.uses.add(self._use(node, chain))
        else:
            super().visit_Attribute(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == self.match:
            self.refuse(node, f"{node.id} is the whole match; name a step and a field of it")
        super().visit_Name(node)

    def visit_Return(self, node: ast.Return) -> None:
        if self.makes is not None and node.value is not None:
            check_return(self, node.value, self.makes, "a match gives")
        elif node.value is None or isinstance(node.value, ast.Tuple | ast.List):
            self.refuse(node, "a condition is true or false; write for example e.qty_lots > 100")
        if node.value is not None:
            self.visit(node.value)

    def _chain(self, node: ast.AST) -> list[str]:
        """['wall', 'side'] of m.wall.side; empty for all else."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        is_match = self.match and isinstance(node, ast.Name) and node.id == self.match
        return names if is_match else []

    def _is_several(self, step: str) -> bool:
        return self._steps[step].most > 1

    def _use(self, node: ast.Attribute, chain: list[str]) -> Use:
        name, m = chain[0], self.match
        if name in OF_THE_MATCH and (self.makes is not None or name == "start_ns"):
            if len(chain) > 1:
                self.refuse(node, f"{m}.{name} is a time, in ns; it has no {chain[1]!r}")
            return Use("", "", name)
        if name not in self._steps:
            self._no_step(node, name)
        if len(chain) == 1:
            self.refuse(node, f"{m}.{name} is a step; name a field of it: {self._example(name)}")
        if not self._is_several(name):
            if chain[1] == COUNT and COUNT not in self.of.fields:
                return Use(name, COUNT, "")
            return self._field(node, name, "", chain[1:])
        if chain[1] == COUNT and len(chain) == 2:
            return Use(name, COUNT, "")
        if chain[1] not in OF_SEVERAL:
            self.refuse(
                node,
                f"{name} may take several events, of which {chain[1]!r} is not one thing; write "
                f"{self._example(name)}, or .{', .'.join([*OF_SEVERAL[:1], *OF_SEVERAL[2:]])}",
            )
        if len(chain) == 2:
            self.refuse(node, f"of which field? Write {m}.{name}.{chain[1]}.{self._some()}")
        return self._field(node, name, chain[1], chain[2:])

    def _field(self, node: ast.Attribute, step: str, how: str, chain: list[str]) -> Use:
        if chain[0] not in self.of.fields:
            known = near(chain[0], self.of.fields)
            self.refuse(node, f"{self.of.__name__} has no field {chain[0]!r}{known}")
        if len(chain) > 1 or self.of.fields[chain[0]].length is not None:
            self.refuse(node, f"{chain[0]!r}: a match keeps single numbers, no arrays and no parts")
        return Use(step, how, chain[0])

    def _no_step(self, node: ast.Attribute, name: str) -> NoReturn:
        where, m = self.subject.where, self.match
        if name in OF_THE_MATCH:
            self.refuse(node, f"{m}.{name} is known when a match is told: only emit can ask for it")
        if name == where:
            self.refuse(node, f"{m}.{name} is this step itself, which has no event yet; use e")
        if name in [step.name for step in self.pattern.steps]:
            self.refuse(node, f"{m}.{name} comes after {where}: nothing is known of it here")
        if name in [a.name for step in self.pattern.steps for a in step.absent]:
            self.refuse(node, f"{m}.{name} is what does not happen; there is no event of it")
        if not self._steps:
            self.refuse(node, f"{where} is the first step; nothing of {m} is known here")
        self.refuse(node, f"the pattern has no step {name!r}{near(name, self._steps)}")

    def _example(self, step: str) -> str:
        last = "last." * self._is_several(step)
        return f"{self.match}.{step}.{last}{self._some()}"

    def _some(self) -> str:
        return str(next((f for f in self.of.fields if not f.startswith("ts_")), "ts_event_ns"))
