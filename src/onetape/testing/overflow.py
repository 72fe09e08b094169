"""Plain Python that refuses what machine code would wrap: for `testing.check`.

Compiled code computes in 64 bits and stores what fits the field, silently. Here each number that an
operator reads (fields of events and state, settings, keys, times, `int()`, `len()`, `range()`) is
an `Int`, whose arithmetic stays within 64 bits or raises; and each store is checked: into state,
into a row of an emitter, into a record that is made.

What it does not see: arithmetic between literals only (`x = 1`, `x *= 2` in a loop); NumPy's own
numbers; what is in shared tables and read by `row(table, i)`, as the order book does it, where only
the store into a field is checked. Arithmetic that is meant to wrap is written with
`onetape.compiled.bits` (`add_wrap`, `mul_wrap`), and is left alone.
"""

import linecache
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.kernel import Kernel, is_ours
from onetape.compiled.rows import Cells, FixedView, RowView
from onetape.engine import emit
from onetape.engine.compile import positional
from onetape.engine.planner import Plan
from onetape.records import is_record
from onetape.records.places import Place

LEAST, MOST = -(2**63), 2**63 - 1
SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%", "pow": "**",
    "lshift": "<<", "rshift": ">>", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip


class Overflow(OverflowError):
    """A number that the compiled code would have wrapped."""


class Int(int):
    """An integer whose arithmetic does not leave 64 bits."""

    __slots__ = ()


def _binary(name: str, symbol: str, swapped: bool) -> Callable[..., Any]:
    plain = getattr(int, name)

    def method(self: int, *others: Any) -> Any:
        found = plain(self, *others)
        if type(found) is not int:  # a float, or NotImplemented
            return found
        if LEAST <= found <= MOST:
            return Int(found)
        left, right = (others[0], self) if swapped else (self, others[0])
        raise Overflow(f"{int(left)} {symbol} {int(right)} is {found}: more than 64 bits")

    return method


def _unary(name: str, shown: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def method(self: int) -> Any:
        found = plain(self)
        if found > MOST:
            raise Overflow(f"{shown.format(int(self))} is {found}: more than 64 bits")
        return Int(found)

    return method


for _name, _symbol in SYMBOLS.items():
    setattr(Int, f"__{_name}__", _binary(f"__{_name}__", _symbol, False))
    setattr(Int, f"__r{_name}__", _binary(f"__r{_name}__", _symbol, True))
for _name, _shown in (("neg", "-({})"), ("abs", "abs({})"), ("invert", "~{}"), ("pos", "+{}")):
    setattr(Int, f"__{_name}__", _unary(f"__{_name}__", _shown))


def to_int(value: Any = 0) -> Any:
    """As `int(x)`."""
    found = int(value)
    if not LEAST <= found <= MOST:
        raise Overflow(f"int({value!r}) is {found}: more than 64 bits")
    return Int(found)


def to_range(*bounds: Any) -> Any:
    """As `range(...)`."""
    return (Int(i) for i in range(*bounds))


def to_len(of: Any) -> Any:
    return Int(len(of))


BUILTINS = {"int": to_int, "range": to_range, "len": to_len}


# --- where numbers are read and stored ------------------------------------------------------------


class CheckedRow(RowView):
    """A row whose integers are `Int`s, and whose fields take only what fits."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = RowView.__getattr__(self, name)
        if isinstance(value, Cells):
            return CheckedCells(value, name)
        return Int(value) if type(value) is int else value

    def __setattr__(self, name: str, value: Any) -> None:
        names = self._block.dtype.names
        RowView.__setattr__(
            self, name, fitting(self._block.dtype[name], value, name) if name in names else value
        )


class CheckedFixed(FixedView):
    """The same, only to be read: an event."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = FixedView.__getattr__(self, name)
        if isinstance(value, Cells):
            return CheckedCells(value, name)
        return Int(value) if type(value) is int else value


class CheckedCells(Cells):
    """The same for an array field."""

    __slots__ = ("_name",)

    def __init__(self, cells: Any, name: str) -> None:
        super().__init__(cells._values)
        self._name = name

    def __getitem__(self, index: Any) -> Any:
        value = Cells.__getitem__(self, index)
        return Int(value) if type(value) is int else value

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, int) and isinstance(value, int):
            value = fitting(self._values.dtype, value, f"{self._name}[{int(index)}]")
        Cells.__setitem__(self, index, value)


class CheckedEmitter:
    """An emitter that takes only records whose fields fit."""

    def __init__(self, block: Any, used: Any) -> None:
        self.block, self.used = block, used

    def row(self) -> Any:
        emit.Emitter(self.block, self.used).row()
        return CheckedRow(self.block, int(self.used[0]) - 1)

    def append(self, made: Any) -> None:
        check_record(made)
        emit.Emitter(self.block, self.used).append(made)


def fitting(dtype: Any, value: Any, name: str) -> Any:
    """The value as a plain number, if the field holds it. A u64 holds any 64 bits: it is an id."""
    if dtype.kind not in "iu" or isinstance(value, float):
        return value
    bounds = np.iinfo(dtype)
    least = LEAST if dtype == np.uint64 else bounds.min
    if not least <= value <= bounds.max:
        raise Overflow(
            f"field {name} was given {int(value)}; {dtype} holds {bounds.min} to {bounds.max}"
        )
    return int(value)


def check_record(made: Any) -> None:
    """Does each value of a new record fit its field?"""
    if not is_record(type(made)):
        return
    of = type(made)
    for name, value in zip(of._fields, made):
        dtype = of.dtype[name]
        for one in value if dtype.subdtype else (value,):
            fitting(dtype.base, one, f"{of.__name__}.{name}")


# --- the same functions, over such numbers --------------------------------------------------------


def checked_turn(ready: Plan) -> Any:
    """The driver of a plan as plain Python, its operators over checked numbers."""
    names = {name: _in_driver(thing) for name, thing in ready.names.items()}
    names |= {
        "row": CheckedRow,
        "row_at": lambda like, buffer, at: CheckedRow(
            buffer[at : at + like.dtype.itemsize].view(like.dtype), 0
        ),
        "fixed": lambda one: CheckedFixed(one._block, one._index),
        "Emitter": CheckedEmitter,
        "put": _put,
    }
    path = f"<driver {ready.driver}, checked>"
    linecache.cache[path] = (len(ready.text), None, ready.text.splitlines(keepends=True), path)
    exec(compile(ready.text, path, "exec"), names)
    return names["turn"]


def _put(made: Any, block: Any, used: Any) -> None:
    check_record(made)
    emit.put.twin(made, block, used)


def _in_driver(thing: Any) -> Any:
    return checked_function(thing) if isinstance(thing, types.FunctionType) else thing


def checked_function(function: Any) -> Any:
    """The function over checked numbers: the names it uses make checked records and `Int`s."""
    flat = positional(function)
    code = flat.__code__
    names = BUILTINS | {
        name: thing if name.startswith("__") else _checked(thing)
        for name, thing in flat.__globals__.items()
    }
    cells = tuple(types.CellType(_checked(c.cell_contents)) for c in flat.__closure__ or ())
    copy = types.FunctionType(code, names, flat.__name__, None, cells)

    def call(*arguments: Any) -> Any:
        return copy(*[Int(a) if type(a) is int else a for a in arguments])

    return call


def _checked(thing: Any) -> Any:
    """What a name stands for, made to check what it makes."""
    if is_record(thing):
        return CheckedRecord(thing)
    if isinstance(thing, types.ModuleType):
        return CheckedModule(thing)
    if isinstance(thing, Kernel) and thing.twin is thing.py_func and not is_ours(thing.py_func):
        return CheckedKernel(thing.py_func)
    return thing


class CheckedRecord:
    """A record type, as an operator calls it."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __call__(self, *values: Any, **named: Any) -> Any:
        made = self._of(*values, **named)
        check_record(made)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)


class CheckedModule:
    """A module such as `mk`, of which an operator takes records."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return _checked(getattr(self._module, name))


class CheckedKernel:
    """A helper of the operator; made at its first call, because two may call each other."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._copy: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self._copy is None:
            self._copy = checked_function(self._function)
        return self._copy(*arguments)


# --- where it happened ----------------------------------------------------------------------------

OWN = str(Path(__file__).parents[1])
NOT_MEANT = (str(Path(__file__).parent), f"{OWN}/compiled", f"{OWN}/engine", np.__path__[0])


def is_overflow(why: BaseException) -> bool:
    """Ours, or that of a store in a kernel; not one that an operator raises itself."""
    at = why.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    inner = at.tb_frame.f_code.co_filename if at is not None else ""
    return isinstance(why, Overflow) or (
        isinstance(why, OverflowError) and inner.startswith(f"{OWN}/compiled")
    )


def place_of(why: BaseException) -> Place | None:
    """The line that an operator stood at."""
    at, found = why.__traceback__, None
    while at is not None:
        code = at.tb_frame.f_code
        if not code.co_filename.startswith(NOT_MEANT):
            line, end_line, column, end = list(code.co_positions())[at.tb_lasti // 2]
            found = Place(code.co_filename, at.tb_lineno)
            if line == end_line and column is not None and end is not None:
                found = Place(code.co_filename, at.tb_lineno, column, end)
        at = at.tb_next
    return found
