"""A tape that several versions ran on: each frame to the version that the live node gave it to.

A switch is a CONTROL frame on the tape. It names the version that reads on from there, whose code
lies beside the tape; so a replay, a recovery and a follower switch where the node did.

    course = begin(pipeline, folder, manifest)
    for name, rows, origins in course.feed(buffer, begin, end): ...
    course.engine                                   # of the version that runs now
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onetape.compiled.frame import (
    HEADER_BYTES,
    frame_bytes,
    frame_length,
    frame_offset,
    next_control,
)
from onetape.engine import state
from onetape.engine.engine import Engine, Rows
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.planner import OUTPUT_ROWS, Plan, plan
from onetape.engine.succession import Succession, succeed
from onetape.native.pages import copy_touched
from onetape.records import OperatorError
from onetape.runtimes import code
from onetape.runtimes.batch import set_midnight
from onetape.runtimes.manifest import check_sources
from onetape.tape.checkpoint import Checkpoint


def order_of(name: str, driver: str, *, back: bool, drop_state: bool) -> bytes:
    """The payload of the frame at which a version takes over."""
    said = {"swap": name, "driver": driver, "back": back, "drop_state": drop_state}
    return json.dumps(said).encode()


def order_in(buffer: Any, at: int) -> dict[str, Any] | None:
    """What the CONTROL frame at buffer[at] says of a switch; None: it is about something else."""
    begin = at + HEADER_BYTES
    said = json.loads(bytes(buffer[begin : begin + int(frame_length(buffer, at))]))
    return said if "swap" in said else None


def swaps_in(runs: Iterable[Run]) -> Iterator[tuple[int, str]]:
    """(frame, name of the version that takes over there) of all frames."""
    for buffer, begin, end in runs:
        at = int(next_control(buffer, begin, end))
        while at < end:
            order = order_in(buffer, at)
            if order is not None:
                yield int(frame_offset(buffer, at)), order["swap"]
            following = at + int(frame_bytes(frame_length(buffer, at)))
            at = int(next_control(buffer, following, end))


class Versions:
    """The planned versions of a tape by name; each is loaded once.

    drivers   {fingerprint: name} of those that were there at the beginning
    first     the name of the one that the tape began with; "" where its code was not kept
    """

    def __init__(self, folder: str | Path, manifest: dict[str, Any], *, sampled: bool = False):
        self.folder, self.manifest, self.sampled = Path(folder), manifest, sampled
        self.first: str = manifest.get("version", "")
        self.drivers = code.all_stored(folder) | {manifest.get("driver", ""): self.first}
        self._plans: dict[str, Plan] = {}

    def add(self, name: str, planned: Plan) -> None:
        """This one is known already."""
        self._plans[name] = planned

    def plan(self, name: str) -> Plan:
        if name not in self._plans:
            found = code.stored(self.folder, name)
            framing = self.manifest["framing"]
            planned = plan(found.pipeline(), framing, sampled=self.sampled)
            if planned.driver != found.driver:
                raise OperatorError(
                    f"version {name[:12]} beside {self.folder} comes to other code than when it "
                    f"ran (driver {planned.driver}, it was {found.driver}): another version of "
                    "onetape, or of a module outside of its folder, ran then"
                )
            self._plans[name] = planned
        return self._plans[name]


class Course:
    """An engine, and those that take over from it.

    versions   None: the frames at which a version takes over are passed over
    name       of the version that runs now
    """

    def __init__(self, engine: Engine, versions: Versions | None, name: str = "") -> None:
        self.engine, self.versions, self.name = engine, versions, name
        self.swaps, self.since = 0, 0  # how many there were; the frame of the last one
        self.when_swapped: list[Callable[[Succession], None]] = []

    def feed(self, buffer: Any, begin: int, end: int) -> Iterator[Rows]:
        """Run the frames in buffer[begin:end], each by its version; as `Engine.feed`."""
        at = begin
        while self.versions is not None:
            found = int(next_control(buffer, at, end))
            order = order_in(buffer, found) if found < end else None
            if found >= end:
                break
            if order is not None:
                yield from self.engine.feed(buffer, begin, found)
                begin, self.since = found, int(frame_offset(buffer, found))
                self.swap(order)
            at = found + int(frame_bytes(frame_length(buffer, found)))
        if begin < end:
            yield from self.engine.feed(buffer, begin, end)

    def swap(self, order: dict[str, Any]) -> Succession:
        """Switch as an order says."""
        assert self.versions is not None
        succession = succeed(
            self.engine,
            self.versions.plan(order["swap"]),
            back=order["back"],
            drop_state=order["drop_state"],
        )
        succession.take_over()
        self.engine, self.name = succession.engine, order["swap"]
        self.swaps += 1
        for tell in self.when_swapped:
            tell(succession)
        return succession

    def restore(self, found: Checkpoint) -> None:
        """Go to a checkpoint, of whichever version of the tape."""
        planned, header = self.engine.plan, found.header
        if self.versions is not None:
            self.name = str(header.get("version") or self.versions.drivers[header["driver"]])
            if header["driver"] != planned.driver:
                planned = self.versions.plan(self.name)
        arrays = {n: a for n, a in found.arrays.items() if not n.startswith("digest ")}
        own = {  # a version that took over may have other room than it would have by itself
            n: np.zeros(a.shape, planned.arrays[n]().dtype)
            for n, a in arrays.items()
            if n in planned.arrays
        }
        rows = max((len(a) for n, a in self.engine.arrays.items() if n[0] == "o"), default=1)
        self.engine = Engine(planned, output_rows=rows, given=own | of_sources(self.engine))
        state.restore(self.engine, arrays, copy_touched)


def of_sources(engine: Engine) -> dict[str, Any]:
    """The arrays that belong to sources, which are the same ones in every version."""
    labels = {f"n{number}" for number in range(len(engine.plan.pipeline.sources))}
    found = {n: a for n, a in engine.arrays.items() if n.partition("_")[0] in labels}
    return found | {"run": engine.run, "sources": engine.sources}


def begin(
    pipeline: Pipeline,
    folder: str | Path,
    manifest: dict[str, Any],
    *,
    output_rows: int = OUTPUT_ROWS,
) -> Course:
    """The course of a tape from its first frame on; of `pipeline` alone, if it never ran there.

    OperatorError: the tape was recorded from other sources.
    """
    check_sources(pipeline, folder, manifest)
    planned = plan(pipeline, manifest["framing"])
    versions: Versions | None = Versions(folder, manifest)
    assert versions is not None
    name = ""
    if planned.driver not in versions.drivers:
        versions = None
    else:
        name = versions.first
        if planned.driver != manifest.get("driver"):  # a later one
            planned = versions.plan(name)
        versions.add(name, planned)
    most = 1 << (max(planned.rows_most) - 1).bit_length()  # that one event may make
    engine = Engine(planned, output_rows=max(output_rows, most))
    set_midnight(engine, manifest["midnight_ns"])
    return Course(engine, versions, name)
