"""Checkpoints without a pause: a second engine follows the durable tape and is saved instead.

The hot loop never stops for a checkpoint, not for a millisecond: it does not take part. The
follower runs the same driver over the same frames, so its state is the hot engine's state, at an
offset a little behind. It costs a second pass over the input (compiled, off the hot thread) and a
second copy of the state.

What is saved with the state is the digest of each output so far, so a run that is resumed ends
with the digests of one that never stopped; how many rows of each were seen to have been sent; and
the newest event time, by which `onetape state --time` finds its checkpoint.

A checkpoint that cannot be written (the disk is full) is counted and tried again after `every_s`:
it costs time at the next start, and nothing else.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from onetape.engine import state
from onetape.engine.digest import OutputDigest, digests_of
from onetape.engine.engine import Engine
from onetape.engine.planner import Plan
from onetape.native.pages import copy_touched
from onetape.native.threads import stand_back
from onetape.records import OnetapeError, OperatorError
from onetape.runtimes.edge.outlet import last_sent
from onetape.runtimes.edge.uploader import Uploader
from onetape.tape import checkpoint, checkpoint_keep
from onetape.tape.checkpoint import Checkpoint
from onetape.tape.checkpoint_keep import Retention
from onetape.tape.layout import read_facts
from onetape.tape.reader import durable_end, runs_at

_DIGEST = "digest "
NONE_SAVED = {"checkpoints": 0, "checkpoint_bytes": 0, "checkpoints_failed": 0}


class Follower:
    """Follows the tape in `folder` and saves a checkpoint every `every_s` seconds.

    retention  which checkpoints are kept
    uploader   brings each to another place too, on a thread of its own
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        driver: str,
        *,
        every_s: float = 30.0,
        retention: Retention = checkpoint_keep.DEFAULT,
        uploader: Uploader | None = None,
    ) -> None:
        self.engine = Engine(plan)
        self.digests = digests_of(plan)
        self.folder, self.driver, self.every_s = folder, driver, every_s
        self.retention, self.uploader = retention, uploader
        self.offset = 0  # of the next frame to follow
        self.position = 0
        self.event_ns: int | None = None  # the newest, before its source ended
        self.sent = np.zeros(len(plan.outputs), np.int64)  # rows that SENT frames speak of
        self.saved_offset = -1
        self.saved = self.saved_bytes = 0
        self.failures = 0
        self.last_failure = ""
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if self.uploader is not None:
            self.uploader.start()

    def stop(self) -> None:
        """End the threads."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.uploader is not None:
            self.uploader.stop()

    def begin(self) -> None:
        """Take up the newest checkpoint there is, instead of the tape from its first frame on."""
        found, _ = newest(self.folder, self.driver)
        if found is not None:
            put_back(found, self.engine, self.digests)
            self.sent[:] = sent_of(found, len(self.sent))
            self.event_ns = found.header.get("event_ns")
            self.offset = self.saved_offset = found.offset

    def catch_up(self) -> None:
        """Run every frame that is durable by now."""
        for buffer, begin, end, base in runs_at(self.folder, self.offset):
            last_sent(buffer, begin, end, self.sent)
            for name, rows, origins in self.engine.feed(buffer, begin, end):
                self.digests[name].update(rows, origins)
            self.offset = int(self.engine.run["offset"][0]) + 1
            self.position = base + end
            reached = state.newest_event_ns(self.engine)
            self.event_ns = self.event_ns if reached is None else reached
            if self._leave.is_set():
                return

    def save(self) -> None:
        """Write a checkpoint of where the follower is, if it has moved."""
        if self.offset == self.saved_offset or self.offset == 0:
            return
        arrays = state.save(self.engine) | digest_arrays(self.digests)
        folder = str(self.folder)
        header = {
            "driver": self.driver,
            "rows": {name: digest.rows_count for name, digest in self.digests.items()},
            "sent": self.sent.tolist(),
            "event_ns": self.event_ns,
            "has_ended": bool(self.engine.sources["ended"].any()),
            "epoch": durable_end(folder, read_facts(folder)).epoch,
        }
        made = checkpoint.write(
            folder,
            arrays,
            header,
            position=self.position,
            offset=self.offset,
            retention=self.retention,
        )
        self.saved_offset = self.offset
        self.saved += 1
        self.saved_bytes += made.new_bytes()
        if self.uploader is not None:
            self.uploader.look()

    def statistics(self) -> dict[str, int]:
        """Checkpoints written, their bytes, and what failed; of uploads too, where there are."""
        written = {"checkpoints": self.saved, "checkpoint_bytes": self.saved_bytes}
        uploads = self.uploader.statistics() if self.uploader is not None else {}
        return written | {"checkpoints_failed": self.failures} | uploads

    def troubles(self) -> list[str]:
        """What did not go well."""
        said = [self.last_failure] if self.failures else []
        if self.uploader is not None:
            said += self.uploader.troubles(self.saved_offset)
        return said

    def _run(self) -> None:
        stand_back()
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
    folder: Path, driver: str, at_most: int | None = None
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of this driver, and what is to be said of newer ones.

    None when there is none, or none of this driver: then the whole tape is replayed.
    """
    found, damaged = checkpoint.latest_valid(folder, at_most)
    if found is not None and found.header.get("driver") != driver:
        said = f"the checkpoint at {found.offset} is of other code; the whole tape is replayed"
        return None, [*damaged, said]
    return found, damaged


def put_back(found: Checkpoint, engine: Engine, digests: dict[str, OutputDigest]) -> None:
    """Engine and digests as they were at the checkpoint."""
    arrays = dict(found.arrays)
    for name, digest in digests.items():
        for part, array in (("index", digest.index), ("chains", digest.chains)):
            given = arrays.pop(f"{_DIGEST}{name} {part}", None)
            if given is None or given.shape != array.shape:
                raise OperatorError(
                    f"the checkpoint at {found.offset} has no digest of output {name}"
                )
            copy_touched(array, given)
        digest.rows_count = int(found.header["rows"][name])
    state.restore(engine, arrays, copy_touched)


def put_back_state(found: Checkpoint, engine: Engine) -> None:
    """The engine alone as it was at the checkpoint."""
    arrays = {name: array for name, array in found.arrays.items() if not name.startswith(_DIGEST)}
    state.restore(engine, arrays, copy_touched)


def sent_of(found: Checkpoint | None, outputs: int) -> Any:
    """Rows of each output that had been sent where the checkpoint was made."""
    sent = found.header.get("sent") if found is not None else None
    return np.array(sent if sent is not None else [0] * outputs, np.int64)
