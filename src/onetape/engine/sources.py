"""Sources: where events enter a graph, of a feed's bytes or as blocks of records."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.codecs.feed import PATIENCE_NS
from onetape.engine.node import Canonical, Node
from onetape.engine.stream import Stream
from onetape.records import DeclarationError, is_record, snake_name
from onetape.records.market import Gap
from onetape.records.types import parse_duration_ns

if typing.TYPE_CHECKING:
    from onetape.engine.engine import Engine
    from onetape.engine.planner import Plan


@dataclass(frozen=True, eq=False)
class Source(Node):
    """Where events enter. `feed` names a codec ('itch'), or None: blocks of `of` records.

    lateness_ns  how far behind the newest an event may be before it is late
    idle_ns      how long a silent source holds back the watermark
    patience_ns  how long a feed waits for what is missing before it is given up
    table        what a runtime reads its blocks of records from, where it came with the source
    channel      what of which instrument a venue sends it: see `onetape.market.instruments`
    """

    kind = "source"

    of: Any = None
    feed: str | None = None
    url: str = ""
    lateness_ns: int = 0
    idle_ns: int = 1_000_000_000
    patience_ns: int = PATIENCE_NS
    table: Any = None
    channel: Any = None

    def __post_init__(self) -> None:
        limits = {"lateness": self.lateness_ns, "idle": self.idle_ns, "patience": self.patience_ns}
        for what, value_ns in limits.items():
            if not 0 <= value_ns < 1 << 62:
                raise DeclarationError(f"source {self.name}: {what} was {value_ns} ns; expected 0+")

    def stream(self) -> Stream:
        return Stream(self, "events", self.of)

    def canonical(self, engine: Engine, label: str) -> Canonical:
        # Receive times are left out: a file read again has others, and the same answer.
        number = int(label[1:])
        source = engine.sources[number : number + 1]
        yield (
            np.array([number]),
            [source[name].copy() for name in ("watermark_ns", "events", "ended")],
        )
        if f"{label}_feed" in engine.arrays:
            yield np.array([number]), [engine.arrays[f"{label}_feed"]]

    def lines(self, plan: Plan) -> list[str]:
        framing = f", {self.feed} in {plan.framing[self.name]}" if self.feed else ""
        framing += f" of {self.channel.instrument}" if self.channel else ""
        return [
            f"{self.of.__name__}{framing}; lateness {self.lateness_ns} ns, "
            f"idle after {self.idle_ns} ns"
        ]

    def gaps(self) -> Stream:
        """What a feed lacks: see `onetape.codecs.arbitration`."""
        return Stream(self, "gaps", Gap)


def records_source(
    of: Any,
    *,
    name: str | None = None,
    lateness: str | int = 0,
    idle: str | int = "1s",
    table: Any = None,
) -> Stream:
    """A source whose frames are blocks of `of` records; `ts_event_ns` is its event time."""
    if not is_record(of):
        raise DeclarationError(f"a source gives records, was given {of!r}")
    if "ts_event_ns" not in of._fields:
        raise DeclarationError(f"{of.__name__} has no field ts_event_ns, its event time")
    return Source(
        name=name or snake_name(of),
        of=of,
        lateness_ns=parse_duration_ns(lateness),
        idle_ns=parse_duration_ns(idle),
        table=table,
    ).stream()
