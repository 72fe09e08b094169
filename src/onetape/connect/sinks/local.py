"""Rows to a function of one's own: `stream >> ot.callback(print)`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onetape.connect.sinks.taking import OpenableSink, Output, Taker
from onetape.records import DeclarationError, OperatorError


@dataclass(frozen=True)
class CallbackSink(OpenableSink):
    """`function(row)` for each row, as an instance of its record, between the reads of the loop.

    ```python
    pipeline = ot.Pipeline(trade=trades >> ot.callback(print))
    ```

    It runs beside the hot loop, not in it. One that is slow makes the loop wait in the end, when
    its output ring is full; one that raises ends the run.
    """

    function: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise DeclarationError(f"callback was given {self.function!r}; expected a function")

    def open(self, output: Output) -> Taker:
        return _Called(output, self.function)


class _Called:
    def __init__(self, output: Output, function: Callable[[Any], Any]) -> None:
        self._output, self._function = output, function

    def take(self, rows: Any, origins: Any) -> None:
        of, function = self._output.of, self._function
        for values in rows.tolist():
            try:
                function(of(*values))
            except Exception as error:
                name = getattr(function, "__qualname__", repr(function))
                raise OperatorError(
                    f"output {self._output.name}: the callback {name} raised "
                    f"{type(error).__name__}: {error}; the run ends there"
                ) from error

    def tend(self) -> list[str]:
        return []

    def finish(self) -> None:
        """A row is told when it is told."""

    def close(self) -> None:
        """There is nothing to close."""

    def told(self) -> str:
        return ""
