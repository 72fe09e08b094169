"""A tape run again up to any frame: compiled and fast before it, plain Python and watched in it.

The compiled driver and the plain one work on the same arrays, so the state before frame 1,000,000
is reached in a moment and the frame itself can be stepped through.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from onetape.compiled.frame import frame_bytes, frame_length, frame_offset
from onetape.engine.engine import Engine, Rows
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.records import IntegrityError, OperatorError
from onetape.runtimes.batch import set_midnight
from onetape.runtimes.dev.watch import Watch
from onetape.runtimes.edge.follower import put_back_state
from onetape.runtimes.progress import Progress
from onetape.tape import checkpoint
from onetape.tape.checkpoint_manifest import Manifest, folder_of, read_manifest
from onetape.tape.layout import read_facts
from onetape.tape.reader import Run, durable_end, read_segments


class Replay:
    """The pipeline on the tape in `folder`, before frame `offset`."""

    def __init__(self, pipeline: Pipeline, folder: Path, progress: Progress) -> None:
        if not folder.is_dir():
            raise OperatorError(f"no such tape: {folder}; give a folder that `onetape run` made")
        self.folder = str(folder.resolve())
        facts = read_facts(self.folder)
        self.first, self.end = facts.start_offset, durable_end(self.folder, facts).offset
        self._progress = progress
        self.manifest = facts.manifest
        with progress.compiling():
            self.engine = Engine(plan(pipeline, self.manifest["framing"]))
        set_midnight(self.engine, self.manifest["midnight_ns"])
        self.offset = 0

    def restore(self, offset: int) -> None:
        """Put back the newest checkpoint of this code at or before frame `offset`, if any."""
        self.restore_newest(lambda manifest: manifest.offset <= offset, f"frame {offset}")

    def restore_newest(
        self,
        fits: Callable[[Manifest], bool],
        wanted: str,
        say: Callable[[str], None] = lambda _: None,
    ) -> int:
        """Put back the newest checkpoint of this code that fits; its offset, 0 if there is none.

        One that is damaged is passed over, and `say` is told.
        """
        driver = self.engine.plan.driver
        for at in reversed(checkpoint.offsets(self.folder)):
            try:
                manifest = read_manifest(folder_of(self.folder), at)
                if fits(manifest) and manifest.header.get("driver") == driver:
                    put_back_state(checkpoint.read(self.folder, at), self.engine)
                    self.offset = at
                    return at
            except IntegrityError as why:
                say(f"{why}; one before it is used, and more of the tape is run")
        if self.first > 0:
            raise OperatorError(
                f"{self.folder} begins at frame {self.first}, and no checkpoint of this pipeline's "
                f"code lies at or before {wanted}; run the code that made the tape"
            )
        return 0

    def close(self) -> None:
        """Nothing more is run."""
        self._progress.close()

    def frames(self) -> Iterator[tuple[int, Run]]:
        """(offset, frame), from where the replay stands. Feed each, by `run` or `watched`."""
        for buffer, begin, end in read_segments(self.folder, self.offset):
            at = begin
            while at < end:
                following = at + int(frame_bytes(frame_length(buffer, at)))
                offset = int(frame_offset(buffer, at))
                yield offset, (buffer, at, following)
                self.offset = offset + 1
                at = following
                events = int(self.engine.run["events"][0])
                self._progress.update(offset - self.first, self.end - self.first, events, "events")

    def to(self, offset: int) -> Run:
        """Go to frame `offset`, from the checkpoint before it; it is returned, and not yet run."""
        if not self.first <= offset < self.end:
            raise OperatorError(
                f"{self.folder} has the frames {self.first} to {self.end - 1}; frame {offset} was "
                "asked for"
            )
        self.restore(offset)
        for at, frame in self.frames():
            if at == offset:
                self._progress.close()
                return frame
            for _ in self.run(frame):
                pass
        raise AssertionError(f"frame {offset} is durable and was not read")

    def run(self, frame: Run) -> Iterator[Rows]:
        """Run one frame, compiled."""
        return self.engine.feed(*frame)

    def watched(self, frame: Run, watch: Watch) -> Iterator[Rows]:
        """Run one frame in plain Python; `watch` sees each call of an operator."""
        with self.engine.in_plain_python(watch.plan(self.engine)):
            yield from self.engine.feed(*frame)
