"""Checkpoints without a pause: a second engine follows the durable tape and is saved instead.

The hot loop never stops for a checkpoint, not for a millisecond: it does not take part. The
follower runs the same driver over the same frames, so its state is the hot engine's state, at an
offset a little behind. It costs a second pass over the input (compiled, off the hot thread) and a
second copy of the state.

What is saved with the state is the digest of each output so far, so a run that is resumed ends
with the digests of one that never stopped.
"""

import threading
from pathlib import Path
from typing import Any

from onetape.engine import state
from onetape.engine.digest import OutputDigest, digests_of
from onetape.engine.engine import Engine
from onetape.engine.planner import Plan
from onetape.records import OperatorError
from onetape.tape import checkpoint
from onetape.tape.reader import runs_at

_DIGEST = "digest "


class Follower:
    """Follows the tape in `folder` and saves a checkpoint every `every_s` seconds."""

    def __init__(self, plan: Plan, folder: Path, driver: str, *, every_s: float = 30.0) -> None:
        self.engine = Engine(plan)
        self.digests = digests_of(plan)
        self.folder, self.driver, self.every_s = folder, driver, every_s
        self.offset = 0  # of the next frame to follow
        self.position = 0
        self.saved_offset = -1
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._fault: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; raises what stopped it early, if anything did."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._fault is not None:
            raise self._fault

    def catch_up(self) -> None:
        """Run every frame that is durable by now."""
        for buffer, begin, end, base in runs_at(self.folder, self.offset):
            for name, rows, origins in self.engine.feed(buffer, begin, end):
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
            {"driver": self.driver, "rows": counts},
            position=self.position,
            offset=self.offset,
        )
        self.saved_offset = self.offset

    def _run(self) -> None:
        try:
            while not self._leave.wait(self.every_s):
                self.catch_up()
                self.save()
        except BaseException as why:
            self._fault = why


def digest_arrays(digests: dict[str, OutputDigest]) -> dict[str, Any]:
    """The arrays of the digests, named for a checkpoint."""
    arrays = {}
    for name, digest in digests.items():
        arrays[f"{_DIGEST}{name} index"] = digest.index
        arrays[f"{_DIGEST}{name} chains"] = digest.chains
    return arrays


def restore(
    engine: Engine, digests: dict[str, OutputDigest], folder: Path, driver: str, at_most: int
) -> tuple[int, list[str]]:
    """Put the newest usable checkpoint back. (offset to replay from, newer ones that are damaged).

    Offset 0 when there is none, or none of this driver: then the whole tape is replayed.
    """
    found, damaged = checkpoint.latest_valid(folder, at_most)
    if found is None:
        return 0, damaged
    if found.header.get("driver") != driver:
        said = f"the checkpoint at {found.offset} is of other code; the whole tape is replayed"
        return 0, [*damaged, said]
    arrays = dict(found.arrays)
    for name, digest in digests.items():
        for part, array in (("index", digest.index), ("chains", digest.chains)):
            given = arrays.pop(f"{_DIGEST}{name} {part}", None)
            if given is None or given.shape != array.shape:
                raise OperatorError(f"{folder}: the checkpoint has no digest of output {name}")
            array[...] = given
        digest.rows_count = int(found.header["rows"][name])
    state.restore(engine, arrays)
    return found.offset, damaged
