"""What an operator writes its rows to: room for a declared number of records, reserved ahead.

`out.append(X(...))` adds one record; `out.row()` gives the next one, zeroed, to be filled in
place (for records with array fields). The planner has reserved the room before the event touched
any state, so neither can fail; the twin checks it all the same.
"""

from typing import Any, NamedTuple

import numpy as np

from onetape.compiled.kernel import Kernel
from onetape.compiled.rows import clear_row


class Emitter(NamedTuple):
    """`block` takes the rows, `used[0]` counts them. The methods are also known to the compiler."""

    block: Any
    used: Any

    def row(self) -> Any:
        """The next record, zeroed, in place."""
        at = int(self.used[0])
        self.used[0] = at + 1
        return clear_row(self.block, at)

    def append(self, made: Any) -> None:
        """Add one record by value."""
        target = self.row()
        for name in self.block.dtype.names:
            setattr(target, name, getattr(made, name))


def new_emitter(of: Any, at_most: int) -> Emitter:
    """An emitter with room for `at_most` records: for tests and the debugger."""
    return Emitter(np.zeros(at_most, of.dtype), np.zeros(1, np.int64))


def teach_compiler() -> None:
    """Tell the compiler what `row` and `append` mean. Called once, before the first driver."""
    if _TAUGHT:
        return
    _TAUGHT.append(True)
    from numba import types
    from numba.extending import overload_method

    next_row: Any = clear_row.dispatcher if isinstance(clear_row, Kernel) else clear_row

    @overload_method(types.NamedTuple, "row")
    def _row(self):  # type: ignore[no-untyped-def]
        if self.instance_class is not Emitter:
            return None

        def impl(self):  # type: ignore[no-untyped-def]
            at = self.used[0]
            self.used[0] = at + 1
            return next_row(self.block, at)

        return impl

    @overload_method(types.NamedTuple, "append")
    def _append(self, made):  # type: ignore[no-untyped-def]
        if self.instance_class is not Emitter:
            return None
        lines = ["def impl(self, made):", "    target = self.row()"]
        lines += [f"    target.{name} = made.{name}" for name in made.fields]
        names: dict[str, Any] = {}
        exec("\n".join(lines), names)
        return names["impl"]


_TAUGHT: list[bool] = []
