"""Checkpoints without a pause: a second engine follows the durable tape and is saved instead.

The hot loop never stops for a checkpoint, not for a millisecond: it does not take part. The
follower runs the same driver over the same frames, so its state is the hot engine's state, at an
offset a little behind. It costs a second pass over the input (compiled, off the hot thread) and a
second copy of the state.

What is saved with the state is the digest of each output so far, so a run that is resumed ends
with the digests of one that never stopped; and how many rows of each were seen to have been sent.

A checkpoint that cannot be written (the disk is full) is counted and tried again after `every_s`:
it costs time at the next start, and nothing else.
"""

import threading
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

from onetape.engine import state
from onetape.engine.digest import OutputDigest, digests_of
from onetape.engine.engine import Engine
from onetape.engine.planner import Plan
from onetape.records import OnetapeError, OperatorError
from onetape.runtimes.course import Course
from onetape.runtimes.edge.outlet import last_sent
from onetape.tape import checkpoint
from onetape.tape.checkpoint import Checkpoint
from onetape.tape.reader import runs_at

OUTPUTS_MAX = 256
_DIGEST = "digest "


class Follower:
    """Follows the tape in `folder` and saves a checkpoint every `every_s` seconds.

    course   of that tape, from its first frame on
    """

    def __init__(self, course: Course, folder: Path, *, every_s: float = 30.0) -> None:
        self.course = course
        self.digests = digests_of(course.engine.plan)
        course.when_swapped.append(lambda made: follow(self.digests, made.engine.plan))
        self.folder, self.every_s = folder, every_s
        self.offset = 0  # of the next frame to follow
        self.position = 0
        self.sent = np.zeros(OUTPUTS_MAX, np.int64)  # rows that SENT frames speak of
        self.saved_offset = -1
        self.failures = 0
        self.last_failure = ""
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    @property
    def engine(self) -> Engine:
        return self.course.engine

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()

    def begin(self) -> None:
        """Take up the newest checkpoint there is, instead of the tape from its first frame on."""
        versions = self.course.versions
        drivers = versions.drivers if versions is not None else [self.engine.plan.driver]
        found, _ = newest(self.folder, drivers)
        if found is not None:
            self.course.restore(found)
            put_back(found, self.digests, self.engine.plan)
            self.sent[:] = sent_of(found, len(self.sent))
            self.offset = self.saved_offset = found.offset

    def catch_up(self) -> None:
        """Run every frame that is durable by now."""
        for buffer, begin, end, base in runs_at(self.folder, self.offset):
            last_sent(buffer, begin, end, self.sent)
            for name, rows, origins in self.course.feed(buffer, begin, end):
                self.digests[name].update(rows, origins)
            self.offset = int(self.engine.run["offset"][0]) + 1
            self.position = base + end
            if self._leave.is_set():
                return

    def save(self) -> None:
        """Write a checkpoint of where the follower is, if it has moved."""
        if self.offset == self.saved_offset or self.offset == 0:
            return
        arrays = state.save(self.engine) | digest_arrays(self.digests)
        counts = {name: digest.rows_count for name, digest in self.digests.items()}
        checkpoint.write(
            self.folder,
            arrays,
            {
                "driver": self.engine.plan.driver,
                "version": self.course.name,
                "rows": counts,
                "sent": self.sent[: len(self.engine.plan.outputs)].tolist(),
            },
            position=self.position,
            offset=self.offset,
        )
        self.saved_offset = self.offset

    def _run(self) -> None:
        began = False
        while not self._leave.wait(self.every_s):
            try:
                if not began:
                    self.begin()
                    began = True
                self.catch_up()
            except OnetapeError as why:  # the run itself meets it too, if it is not ours alone
                self._failed(f"no more checkpoints: {why}")
                return
            try:
                self.save()
            except OSError as why:
                self._failed(f"a checkpoint could not be written: {why.strerror or why}")

    def _failed(self, said: str) -> None:
        self.failures += 1
        self.last_failure = said


def digest_arrays(digests: dict[str, OutputDigest]) -> dict[str, Any]:
    """The arrays of the digests, named for a checkpoint."""
    arrays = {}
    for name, digest in digests.items():
        arrays[f"{_DIGEST}{name} index"] = digest.index
        arrays[f"{_DIGEST}{name} chains"] = digest.chains
    return arrays


def newest(
    folder: Path, drivers: Container[str], at_most: int | None = None
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of one of these drivers, and what is to be said of newer ones.

    None when there is none, or none of these: then the whole tape is replayed.
    """
    found, damaged = checkpoint.latest_valid(folder, at_most)
    if found is not None and found.header.get("driver") not in drivers:
        said = f"the checkpoint at {found.offset} is of other code; the whole tape is replayed"
        return None, [*damaged, said]
    return found, damaged


def put_back(found: Checkpoint, digests: dict[str, OutputDigest], plan: Plan) -> None:
    """Digests as they were at the checkpoint, also those of outputs that were gone by then."""
    follow(digests, plan)
    for name, count in found.header["rows"].items():
        digest = digests.setdefault(name, next(iter(digests_of(plan).values())))
        for part in ("index", "chains"):
            given = found.arrays.get(f"{_DIGEST}{name} {part}")
            if given is None:
                raise OperatorError(
                    f"the checkpoint at {found.offset} has no digest of output {name}"
                )
            setattr(digest, part, given)
        digest.rows_count = int(count)


def follow(digests: dict[str, OutputDigest], plan: Plan) -> None:
    """A version took over: a digest for each of its outputs; those of older ones stay."""
    for name, digest in digests_of(plan).items():
        digests.setdefault(name, digest)


def sent_of(found: Checkpoint | None, outputs: int) -> Any:
    """Rows of each output that had been sent where the checkpoint was made."""
    sent = found.header.get("sent") if found is not None else None
    made = np.zeros(outputs, np.int64)
    made[: len(sent or [])] = sent or []
    return made
