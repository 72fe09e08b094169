"""What sinks and runtimes agree on: a sink is opened with what is known of its output, and takes
blocks of rows."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from onetape.connect.arrow import symbol_at
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline, Sink
from onetape.records.types import UNSET


@dataclass
class Replayed:
    """The input of a run once more, for sinks that look at it again.

    runs     the frames from that offset on; `follows`: those that are durable by now
    """

    pipeline: Pipeline
    framing: dict[str, str]
    midnight_ns: int
    runs: Callable[[int], Iterator[Run]]
    follows: bool = False


@dataclass(frozen=True)
class Output:
    """An output as its sinks see it.

    symbols  of instruments: see `onetape.connect.arrow.symbol_at`; or None
    rules    texts of alerts by the number of their rule
    durable  the tape offset from which on rows may still be taken back; None: nothing is
    folder   where a sink may keep what it must remember; None: nowhere, it forgets
    number   of the sink among those of its output
    tick     what one tick is, as text; None: not known
    replay   what the run has read; None: it cannot be read again
    """

    name: str
    of: Any
    symbols: Any = None
    rules: dict[int, str] = field(default_factory=dict)
    durable: Callable[[], int] | None = None
    folder: Path | None = None
    number: int = 0
    tick: str | None = "0.0001"
    replay: Replayed | None = None

    def dicts(self, rows: Any) -> list[dict[str, Any]]:
        """Rows as plain values: integers, None for UNSET, the symbol first where it is known."""
        made = []
        for row in rows.tolist():
            told: dict[str, Any] = {}
            values = dict(zip(self.of._fields, row, strict=True))
            if self.symbols is not None and "symbol" not in values and "instrument_id" in values:
                told["symbol"] = symbol_at(self.symbols, values["instrument_id"]) or None
            told |= {name: _plain(value) for name, value in values.items()}
            if values.get("rule") in self.rules:
                told["text"] = self.rules[values["rule"]]
            made.append(told)
        return made


def _plain(value: Any) -> Any:
    if not isinstance(value, int | float):  # an array field
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no other
    return None if value == UNSET else value


class Taker(Protocol):
    """An open sink."""

    def take(self, rows: Any, origins: Any) -> None:
        """The next rows of the output, in order; views, to be copied or used at once."""

    def tend(self) -> list[str]:
        """Asked now and then: try again what could not be done, and say what is wrong, the same
        thing each time in the same words."""

    def finish(self) -> None:
        """The run came to its end: make complete what was begun."""

    def close(self) -> None:
        """No more rows, whether it finished or not."""

    def told(self) -> str:
        """What is to be said at the end; empty if nothing is."""


class OpenableSink(Sink):
    """A sink that a runtime opens. `waits`: rows may be left for a run that is resumed."""

    waits: ClassVar[bool] = False

    def open(self, output: Output) -> Taker:
        raise NotImplementedError
