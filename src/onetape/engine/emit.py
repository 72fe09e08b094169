"""What an operator writes its rows to: room for a declared number of records, reserved ahead.

`out.append(X(...))` adds one record; `out.row()` gives the next one, zeroed, to be filled in
place (for records with array fields). The planner has reserved the room before the event touched
any state; one record more than declared raises.
"""

from typing import Any, NamedTuple

import numpy as np

from onetape.compiled.kernel import Kernel
from onetape.compiled.rows import RowView, clear_row, put_row

TOO_MANY = "the operator made more records than the UpTo[n, Record] of its output allows"


class Emitter(NamedTuple):
    """`block` takes the rows, `used[0]` counts them. The methods are also known to the compiler."""

    block: Any
    used: Any

    def row(self) -> Any:
        """The next record, zeroed, in place."""
        at = int(self.used[0])
        if at >= len(self.block):
            raise IndexError(TOO_MANY)
        self.used[0] = at + 1
        return clear_row(self.block, at)

    def append(self, made: Any) -> None:
        """Add one record: a new one by value, or a copy of an event."""
        target = self.row()
        if isinstance(made, RowView):
            put_row(self.block, int(self.used[0]) - 1, made)
            return
        for name in self.block.dtype.names:
            setattr(target, name, getattr(made, name))


def new_emitter(of: Any, at_most: int) -> Emitter:
    """An emitter with room for `at_most` records: for tests and the debugger."""
    return Emitter(np.zeros(at_most, of.dtype), np.zeros(1, np.int64))


def _put(made: Any, block: Any, used: Any) -> None:
    """Put what a handler returned (a record or None) into block[0]; used[0] says whether."""
    used[0] = 0
    if made is not None:
        Emitter(block, used).append(made)


def _machine_put() -> Any:
    teach_compiler()
    return _TAUGHT[0]


put = Kernel(_put, load=_machine_put)


def teach_compiler() -> None:
    """Tell the compiler what `row`, `append` and `breakpoint` mean. Before the first driver."""
    if _TAUGHT:
        return
    from numba import types
    from numba.core.errors import TypingError
    from numba.extending import overload, overload_method

    from onetape.compiled.intrinsics import Row

    next_row, copy = clear_row.dispatcher, put_row.dispatcher

    @overload(breakpoint)
    def _breakpoint():  # type: ignore[no-untyped-def]
        """Plain Python stops there; machine code passes over it."""
        return lambda: None

    @overload_method(types.NamedTuple, "row")
    def _row(self):  # type: ignore[no-untyped-def]
        if self.instance_class is not Emitter:
            return None

        def impl(self):  # type: ignore[no-untyped-def]
            at = self.used[0]
            if at >= self.block.shape[0]:
                raise IndexError(TOO_MANY)
            self.used[0] = at + 1
            return next_row(self.block, at)

        return impl

    def fill(made: Any, record: Any, place: str, margin: str) -> list[str]:
        """Lines that fill `target`: an event is copied whole, a new record field by field."""
        if isinstance(made, Row):
            return [f"{margin}copy({place})"]
        for name, kind in zip(made.fields, made.types):
            if isinstance(kind, types.Float) and name in record.fields:
                if isinstance(record.typeof(name), types.Integer):
                    raise TypingError(f"field {name} holds an integer and is given a float")
        return [f"{margin}target.{name} = made.{name}" for name in made.fields]

    @overload_method(types.NamedTuple, "append")
    def _append(self, made):  # type: ignore[no-untyped-def]
        if self.instance_class is not Emitter:
            return None
        lines = ["def impl(self, made):", "    target = self.row()"]
        lines += fill(made, self.types[0].dtype, "self.block, self.used[0] - 1, made", "    ")
        names: dict[str, Any] = {"copy": copy}
        exec("\n".join(lines), names)
        return names["impl"]

    def machine_put(made, block, used):  # type: ignore[no-untyped-def]
        raise AssertionError("compiled only")

    @overload(machine_put)
    def _overload_put(made, block, used):  # type: ignore[no-untyped-def]
        if isinstance(made, types.NoneType):  # a handler that never makes a record

            def nothing(made, block, used):  # type: ignore[no-untyped-def]
                used[0] = 0

            return nothing
        record = made.type if isinstance(made, types.Optional) else made
        lines = ["def impl(made, block, used):", "    used[0] = 0", "    if made is not None:"]
        lines += ["        used[0] = 1", "        target = clear_row(block, 0)"]
        lines += fill(record, block.dtype, "block, 0, made", "        ")
        names: dict[str, Any] = {"clear_row": next_row, "copy": copy}
        exec("\n".join(lines), names)
        return names["impl"]

    _TAUGHT.append(machine_put)


_TAUGHT: list[Any] = []  # the machine form of `put`, once the compiler knows it
