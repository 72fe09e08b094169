"""The lines a node listens to: sockets, and the row the loop keeps of each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.codecs.feed import LINES_MAX
from onetape.native.sockets import new_batch, new_watch
from onetape.records import OperatorError

SLOTS, SLOT_BYTES = 32, 9216  # datagrams of a batch; the largest frame of a network

LINE_ROW = np.dtype(
    [
        ("fd", "<i8"),
        ("source_id", "<i8"),  # on the frame: the source, and in its upper byte the line
        ("packets", "<i8"),
        ("batches", "<i8"),
        ("received_bytes", "<i8"),
        ("truncated", "<i8"),  # longer than a slot: the codec refuses what is left of them
        ("errors", "<i8"),
        ("is_asked", "<i8"),  # it brings what was asked for: the others do without it
        ("heard_ns", "<i8"),  # receive time of its last datagrams; 0: none yet
    ]
)

CLOCK_ROW = np.dtype(
    [
        ("heard_ns", "<i8"),  # receive time of the source's last frame; 0: none yet
        ("told_ns", "<i8"),  # of that, or of the last tick
        ("idle_ns", "<i8"),  # silence after which a tick is made
        ("patience_ns", "<i8"),  # while messages are missing, if that is sooner
        ("is_gap", "<i8"),  # messages are missing
        ("ask_at_ns", "<i8"),  # when they are asked for next, by the monotonic clock; 0: not set
    ]
)


@dataclass(frozen=True)
class Line:
    """A socket that brings datagrams of a source. `number` tells A (0) from B (1) and so on."""

    name: str
    fd: int
    source: int = 0
    number: int = 0


def new_lines(lines: Sequence[Line], asked_fds: Collection[int] = ()) -> Any:
    rows = np.zeros(len(lines), LINE_ROW)
    for at, line in zip(rows, lines):
        if not 0 <= line.number < LINES_MAX:
            raise OperatorError(f"line {line.name} is number {line.number}; expected 0 to 7")
        at["fd"], at["source_id"] = line.fd, line.source | line.number << 8
        at["is_asked"] = line.fd in asked_fds
    return rows


def new_intake(lines: Sequence[Line], asked_fds: Collection[int] = ()) -> tuple[Any, Any, Any, Any]:
    """(rows, headers, batch, watch): what the loop receives with; little where nothing comes."""
    slots = SLOTS if lines else 1
    headers, batch = new_batch(slots, SLOT_BYTES)
    return new_lines(lines, asked_fds), headers, batch, new_watch([line.fd for line in lines])


def new_clocks(sources: Sequence[Any]) -> Any:
    rows = np.zeros(len(sources), CLOCK_ROW)
    for at, source in zip(rows, sources):
        at["idle_ns"], at["patience_ns"] = source.idle_ns, max(source.patience_ns, 1_000_000)
    return rows
