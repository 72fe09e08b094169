"""What `onetape dev` runs a pipeline over: a recorded file, a tape, or a simulated market."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from onetape.compiled import cache
from onetape.connect.itch_file import open_itch
from onetape.engine.frames import Run, frames_of, packed
from onetape.engine.graph import Pipeline
from onetape.runtimes.manifest import check_sources
from onetape.runtimes.run.tables_first import items_first, one_feed
from onetape.runtimes.twin import Twin
from onetape.sim.exchange import write_file
from onetape.tape.layout import read_facts
from onetape.tape.reader import read_segments

CHUNK_BYTES = 1 << 16  # small, so that the first rows come soon
SIMULATED_NAME = "a simulated day"
SIMULATED = {"seed": 7, "instruments": 100, "seconds": 5.0, "episodes": 2}


@dataclass(frozen=True)
class Input:
    """Frames that can be read again and again, and what a plan must know of them."""

    name: str
    runs: Callable[[], Iterator[Run]]
    midnight_ns: int
    framing: dict[str, str] = field(default_factory=dict)  # of a tape, by source
    manifest: dict[str, Any] = field(default_factory=dict)  # of a tape
    itch: str = ""  # framing of the one ITCH source, if it is a file
    is_simulated: bool = False

    def runs_of(self, pipeline: Pipeline) -> Iterator[Run]:
        """The frames, as this pipeline's sources have them."""
        if self._has_twin(pipeline):
            return packed(_twin(pipeline))
        if self.itch and len(pipeline.sources) > 1:
            return chain(packed(items_first(pipeline)), self.runs())
        return self.runs()

    def _has_twin(self, pipeline: Pipeline) -> bool:
        return self.is_simulated and any(
            source.channel or source.feed == "fix" for source in pipeline.sources
        )

    def midnight_of(self, pipeline: Pipeline) -> int:
        """UTC ns of midnight of the trading date of its feeds."""
        return _twin(pipeline).midnight_ns if self._has_twin(pipeline) else self.midnight_ns

    def framing_of(self, pipeline: Pipeline) -> dict[str, str]:
        """The framing of each source. OperatorError: this cannot feed the pipeline."""
        if self.manifest:
            check_sources(pipeline, self.name, self.manifest)
        if not self.itch or self._has_twin(pipeline):
            return self.framing
        return {one_feed(pipeline).name: self.itch}


def open_input(path: Path | None) -> Input:
    """The file or tape at `path`; None: a simulated day, made once and kept in the cache."""
    if path is not None and path.is_dir():
        folder, manifest = path, read_facts(str(path.resolve())).manifest
        return Input(
            str(path),
            lambda: read_segments(folder),
            manifest["midnight_ns"],
            manifest["framing"],
            manifest,
        )
    name = str(path)
    if path is None:
        path, name = _simulated(), SIMULATED_NAME
    file = open_itch(path, chunk_bytes=CHUNK_BYTES)
    return Input(
        name,
        lambda: frames_of(file),
        file.midnight_ns,
        itch=file.framing,
        is_simulated=name == SIMULATED_NAME,
    )


def _twin(pipeline: Pipeline) -> Twin:
    return Twin(
        pipeline, seed=int(SIMULATED["seed"]), milliseconds=int(SIMULATED["seconds"] * 1000)
    )


def _simulated() -> Path:
    path = cache.root() / f"{cache.fingerprint()}-simulated.itch"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, **SIMULATED)  # type: ignore[arg-type]
    return path
