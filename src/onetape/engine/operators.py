"""Operators by signature: the annotations are the declaration, nothing is said twice.

    @ot.operator(key="instrument_id")
    class LeadLag:
        mid: ot.i64 = ot.UNSET                   # one key's state
        wake_ns: ot.i64 = ot.UNSET               # reserved: when on_timer is due

        def on_lead(self, q: TopOfBook) -> None: ...
        def on_lag(self, t: Trade, *, edge: ot.Ticks = 3) -> Edge | None: ...
        def on_timer(self, now_ns: int) -> Edge | None: ...

Methods `on_<input>` take one event and return a record or None; or they take emitters, named
parameters annotated `ot.UpTo[n, X]`, each a named output. Keyword-only parameters are settings.
A function is an operator with one input:

    @ot.operator(key="instrument_id")
    def big(t: Trade, s: Seen, *, at_least: ot.Lots = 100) -> Big | None: ...

An operator whose state is not one record a key (an order book) declares `Table` attributes
instead and gets them all as `self`.
"""

import inspect
import re
import types as python_types
import typing
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onetape.engine import checks
from onetape.engine.checks.subject import Known, Subject
from onetape.engine.keeping import PLAIN, Keeping
from onetape.records import DeclarationError, is_record, snake_name
from onetape.records.types import Field, Unit, field_of, layout, unit_of

WAKE = "wake_ns"
BY_NAME = "by_name"
RESERVED = (
    "capacity",
    "headroom",
    "canonical",
    "foresee",
    "migrate",
    "migrate_back",
)  # what a class says of itself as a whole


class UpTo:
    """`UpTo[n, X]`: an output of at most n records of X for each event, n to 4 096.

    ```python
    @ot.operator
    def both_sides(q: mk.TopOfBook, out: ot.UpTo[2, mk.Trade]) -> None:
        for price_ticks in (q.bid_price_ticks, q.ask_price_ticks):
            made = out.row()
            made.ts_event_ns, made.price_ticks = q.ts_event_ns, price_ticks
    ```
    """

    def __class_getitem__(cls, of: Any) -> Any:
        at_most, made = of
        if not is_record(made) or not 0 < at_most <= 4096:
            raise DeclarationError(f"UpTo[{at_most!r}, {made!r}]: expected 1 to 4096 and a record")
        return typing.Annotated[Any, Output("", made, at_most)]


@dataclass(frozen=True)
class Output:
    """A named output: at most `at_most` records of type `of` for each event."""

    name: str
    of: Any
    at_most: int


@dataclass(frozen=True)
class Table:
    """Shared state of an operator: `make(capacity)` returns the array."""

    make: Callable[[dict[str, int]], Any]


@dataclass(frozen=True)
class Handler:
    """One method of an operator, as the planner sees it."""

    name: str
    function: Callable[..., Any]
    event: Any  # the record it takes; None for a timer
    outputs: tuple[Output, ...]
    returns: bool  # one record or None comes back by value
    settings: dict[str, tuple[Any, Unit | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class OperatorSpec:
    """Everything an operator declares."""

    name: str
    key: str | None
    state: np.dtype[Any] | None
    initial: tuple[Any, ...]
    tables: dict[str, Table]
    inputs: dict[str, Handler]
    timer: Handler | None
    outputs: dict[str, Output]
    capacity: dict[str, int]
    headroom: Callable[..., Any] | None  # tables -> events it can surely take
    foresee: Callable[..., Any] | None  # (tables, order id) of the next events: hints to memory
    canonical: Callable[..., Any] | None  # tables -> arrays in an order that means nothing
    source: Any  # the class or function as written
    migrate: Any = None  # of a hot swap: (row, old row) -> None, or BY_NAME; None: refused
    migrate_back: Any = None  # the same for the way back: (row, old row) fills the old row
    keeping: Keeping = PLAIN

    def handlers(self) -> list[Handler]:
        return [*self.inputs.values(), *([self.timer] if self.timer else [])]

    def settings(self) -> dict[str, tuple[Any, Unit | None]]:
        """Of all handlers. One that several name must mean the same in each."""
        known: dict[str, tuple[Any, Unit | None]] = {}
        for handler in self.handlers():
            for name, meaning in handler.settings.items():
                if known.setdefault(name, meaning) != meaning:
                    raise DeclarationError(
                        f"{self.name}: setting {name!r} is declared twice, as {known[name][0]!r} "
                        f"and, in {handler.name}, as {meaning[0]!r}; give both the same unit and "
                        "default"
                    )
        return known

    def tables_type(self) -> Any:
        """The type of `self` for tables: one a name and its tables, found again from the disk."""
        name = f"{self.name}_{'_'.join(self.tables)}"
        if name not in globals():
            globals()[name] = namedtuple(name, list(self.tables), module=__name__)  # type: ignore[misc]
        return globals()[name]


def describe(thing: Any, key: str | None) -> OperatorSpec:
    """Read the declaration of a class or function; DeclarationError says what is wrong where."""
    if inspect.isclass(thing):
        return _describe_class(thing, key)
    if inspect.isfunction(thing):
        return _describe_function(thing, key)
    raise DeclarationError(f"@operator takes a class or a function, was given {thing!r}")


def _describe_class(cls: type, key: str | None) -> OperatorSpec:
    inputs: dict[str, Handler] = {}
    timer = None
    tables = {n: t for n, t in _members(cls).items() if isinstance(t, Table)}
    own = None if tables else cls
    for name, function in _members(cls).items():
        if name == "on_timer":
            timer = _handler(cls.__name__, name, function, skip=1, timer=True, cls=own)
        elif name.startswith("on_"):
            inputs[name[3:]] = _handler(cls.__name__, name, function, skip=1, cls=own)
    if not inputs:
        raise DeclarationError(
            f"operator {cls.__name__} has no inputs: write a method on_<input>(self, event)"
        )
    state, initial = (None, ()) if tables else _state(cls)
    if state is not None and key is None:
        raise DeclarationError(
            f"operator {cls.__name__} has state but no key: write @operator(key='instrument_id')"
        )
    for needed in ("headroom", "canonical") if tables else ():
        if not hasattr(cls, needed):
            raise DeclarationError(
                f"operator {cls.__name__} has tables but no {needed}: write a function of its "
                "tables that returns "
                + ("the events they surely take" if needed == "headroom" else "arrays to compare")
            )
    if timer is not None and (state is None or WAKE not in (state.names or ())):
        raise DeclarationError(
            f"operator {cls.__name__} has on_timer but no attribute '{WAKE}: ot.i64 = ot.UNSET' "
            "to say when it is due"
        )
    spec = OperatorSpec(
        name=cls.__name__,
        key=key,
        state=state,
        initial=initial,
        tables=tables,
        inputs=inputs,
        timer=timer,
        outputs=_merged_outputs(cls.__name__, [*inputs.values(), *([timer] if timer else [])]),
        capacity=_capacity(cls, "rows" if tables else "keys"),
        headroom=getattr(cls, "headroom", None),
        foresee=getattr(cls, "foresee", None),
        canonical=getattr(cls, "canonical", None),
        source=cls,
        **_migrations(cls),
    )
    if tables:
        spec.tables_type()  # now: machine code on the disk asks for those of all who share it
    return spec


def _members(cls: type) -> dict[str, Any]:
    """What a class has, from its bases too, as written."""
    return {name: thing for base in reversed(cls.__mro__) for name, thing in vars(base).items()}


def _describe_function(function: Any, key: str | None) -> OperatorSpec:
    hints = typing.get_type_hints(function, include_extras=True)
    names = [
        p.name for p in inspect.signature(function).parameters.values() if p.kind != p.KEYWORD_ONLY
    ]
    states = [n for n in names[1:] if inspect.isclass(hints.get(n))]
    if len(states) > 1:
        raise DeclarationError(f"operator {function.__name__} takes more than one state: {states}")
    state, initial = _state(hints[states[0]]) if states else (None, ())
    if (state is None) != (key is None):
        raise DeclarationError(
            f"operator {function.__name__}: state and key belong together; "
            + ("give key=..." if key is None else "take a state as the second parameter")
        )
    own = hints[states[0]] if states else None
    handler = _handler("", function.__name__, function, skip=0, state=states, cls=own)
    return OperatorSpec(
        name=function.__name__,
        key=key,
        state=state,
        initial=initial,
        tables={},
        inputs={"events": handler},
        timer=None,
        outputs=_merged_outputs(function.__name__, [handler]),
        capacity={"keys": 1 << 16},
        headroom=None,
        foresee=None,
        canonical=None,
        source=function,
        **(_migrations(own) if own is not None else {}),
    )


def _migrations(cls: type) -> dict[str, Any]:
    """How a hot swap takes over one key's state from the version before, and gives it back."""
    found = {name: getattr(cls, name, None) for name in ("migrate", "migrate_back")}
    for name, rule in found.items():
        if rule is not None and rule != BY_NAME and not inspect.isfunction(rule):
            raise DeclarationError(
                f"{_place(cls, name)}{cls.__name__}.{name} was {rule!r}; expected {BY_NAME!r}, or "
                f"def {name}(self, old) that fills one row from the other"
            )
    return found


def _capacity(cls: type, of: str) -> dict[str, int]:
    said = getattr(cls, "capacity", {"keys": 1 << 16})
    if not isinstance(said, dict):
        most = said if isinstance(said, int) else "N"
        raise DeclarationError(
            f"{_place(cls, 'capacity')}{cls.__name__}.capacity was {said!r}; it says of what there "
            f'is room for how many: write capacity = {{"{of}": {most}}}'
        )
    return dict(said)


def _state(cls: type) -> tuple[np.dtype[Any] | None, tuple[Any, ...]]:
    fields = state_fields(cls)
    if not fields:
        return None, ()
    dtype = layout(fields)
    for name, found in fields.items():
        if found.length is None and not hasattr(cls, name):
            raise DeclarationError(
                f"{_place(cls, name)}{cls.__name__}.{name} is state without a default, its value "
                f"before the first event of a key; write '{name}: ... = 0', or = ot.UNSET where "
                "it is not known yet"
            )
    return dtype, tuple(getattr(cls, name, 0) for name in fields)


def state_fields(cls: type) -> dict[str, Field]:
    """The fields of one key's state, as annotated."""
    fields = {}
    for name, annotation in typing.get_type_hints(cls, include_extras=True).items():
        if name.startswith("_") or name in RESERVED:
            raise DeclarationError(
                f"{cls.__name__}.{name}: this name is reserved; give the state another name"
            )
        found = field_of(annotation)
        if found is None:
            raise DeclarationError(
                f"{cls.__name__}.{name}: {annotation!r} cannot be state; use i64, u32, f64 ... or "
                "Array[type, length] (state has a fixed size)"
            )
        fields[name] = found
    return fields


def _place(cls: type, attribute: str) -> str:
    """'file:line: ' of an attribute; empty for a class made at a prompt."""
    try:
        lines, first = inspect.getsourcelines(cls)
        path = inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return ""
    found = (n for n, text in enumerate(lines) if re.match(rf"\s+{attribute}\s*[:=]", text))
    return f"{path}:{first + next(found, 0)}: "


def _handler(
    owner: str,
    name: str,
    function: Any,
    *,
    skip: int,
    timer: bool = False,
    state: list[str] | None = None,
    cls: type | None = None,
) -> Handler:
    where = f"{owner}.{name}" if owner else name
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    plain = [p for p in parameters if p.kind != p.KEYWORD_ONLY and p.name not in (state or ())]
    if not plain:
        raise _error(function, None, f"{where} takes no event")
    event = hints.get(plain[0].name)
    if not timer and not is_record(event):
        raise _error(
            function,
            plain[0].name,
            f"{where}: parameter {plain[0].name!r} "
            + ("has no annotation" if event is None else f"was annotated {_named(event)}")
            + f"; expected the record it takes, for example {plain[0].name}: mk.Trade",
        )
    outputs = [_output(function, where, p.name, hints.get(p.name)) for p in plain[1:]]
    made = _returned(function, where, hints.get("return", None))
    if made is not None:
        if outputs:
            raise _error(function, None, f"{where} both returns a record and takes emitters")
        outputs = [Output(snake_name(made), made, 1)]
    settings = {
        p.name: (p.default, unit_of(hints.get(p.name)))
        for p in parameters
        if p.kind == p.KEYWORD_ONLY
    }
    taken: Any = event
    known = {} if timer else {plain[0].name: Known("event", taken.__name__, taken.fields)}
    if cls is not None:
        own = next(iter(state)) if state else next(iter(inspect.signature(function).parameters))
        known[own] = Known("state", cls.__name__, state_fields(cls))
    checks.check(
        Subject(
            where=where,
            function=function,
            known=known,
            emitters={} if made else {output.name: output.of for output in outputs},
            returns=made,
            is_annotated="return" in hints,
            cls=cls,
        )
    )
    return Handler(
        name=name,
        function=function,
        event=None if timer else event,
        outputs=tuple(outputs),
        returns=made is not None,
        settings=settings,
    )


def _error(function: Any, parameter: str | None, what: str) -> DeclarationError:
    """At the place where the function, or one of its parameters, is written."""
    place = checks.place_of(function, parameter)
    return DeclarationError(place.says(what) if place else what)


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else repr(hint)


def _output(function: Any, where: str, parameter: str, hint: Any) -> Output:
    if typing.get_origin(hint) is typing.Annotated:
        for extra in typing.get_args(hint)[1:]:
            if isinstance(extra, Output):
                return Output(parameter, extra.of, extra.at_most)
    raise _error(
        function,
        parameter,
        f"{where}: parameter {parameter!r} "
        + ("has no annotation" if hint is None else f"was annotated {_named(hint)}")
        + "; expected ot.UpTo[n, Record] for an output; a setting stands after a *, "
        "for example *, at_least: ot.Lots = 100",
    )


def _returned(function: Any, where: str, hint: Any) -> Any:
    if hint is None or hint is type(None):
        return None
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, python_types.UnionType)
        else (hint,)
    )
    records = [o for o in options if is_record(o)]
    if len(records) != 1 or any(o is not type(None) and not is_record(o) for o in options):
        raise _error(
            function,
            None,
            f"{where} returns {_named(hint)}; expected -> X | None, X a record (for several rows, "
            "or of several records, take emitters: out: ot.UpTo[4, X])",
        )
    return records[0]


def _merged_outputs(owner: str, handlers: list[Handler]) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    for handler in handlers:
        for output in handler.outputs:
            known = outputs.setdefault(output.name, output)
            if known.of is not output.of:
                raise DeclarationError(
                    f"{owner}: output {output.name!r} is {known.of.__name__} in one method and "
                    f"{output.of.__name__} in {handler.name}"
                )
    return outputs
