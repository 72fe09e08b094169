"""Recorded files of several feeds as one run of frames, by event time.

At equal times the public feed comes first: an order is in the book before its own report, as on
most venues. A capture has the times at which its packets came.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.compiled.frame import DATA, END
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, load_u16be
from onetape.connect.fix_file import FixFile
from onetape.connect.frames.merge import Item
from onetape.connect.itch_file import LENGTH_PREFIXED, ItchFile, open_itch
from onetape.engine.graph import Source
from onetape.records import OperatorError

DIGESTED_BYTES = 1 << 20
TIME_MASK = (1 << 48) - 1
NEVER = 1 << 62


@kernel
def time_at(buffer, at, end):
    """Time since midnight of the length-prefixed message at buffer[at:end]; NEVER: it has none."""
    return load_i64be(buffer, at + 5) & TIME_MASK if at + 13 <= end else NEVER


@kernel
def run_until(buffer, at, end, bound_ns, closed):
    """Where the first message of a time over `bound_ns` (not `closed`: of it, or over) begins."""
    while at < end and time_at(buffer, at, end) < bound_ns + closed:
        length = load_u16be(buffer, at)
        at += 2 + (length if length > 0 else max(BODY_BYTES[buffer[at + 2]], 1))
    return min(at, end)


class FeedFiles:
    """Iterate for (source, kind, payload). `paths` by the name of the source.

    framing, midnight_ns  of the feeds; `origin`, what a manifest says of the files
    """

    def __init__(self, sources: list[Source], paths: Mapping[str, Path]) -> None:
        self._files: list[Any] = [
            FixFile(paths[s.name]) if s.feed == "fix" else open_itch(paths[s.name]) for s in sources
        ]
        days = {f.midnight_ns for f in self._files if isinstance(f, ItchFile)}
        if len(days) > 1:
            raise OperatorError(
                "the ITCH files are of different trading dates (by their names); run them apart"
            )
        self.midnight_ns = days.pop() if days else 0
        named = zip(sources, self._files, strict=True)
        self.framing = {s.name: f.framing for s, f in named if isinstance(f, ItchFile)}

    @property
    def paths(self) -> list[Path]:
        return [file.path for file in self._files]

    @property
    def origin(self) -> dict[str, Any]:
        return {"files": [_origin_of(file.path) for file in self._files]}

    def __iter__(self) -> Iterator[Item]:
        live = [_reader(n, file) for n, file in enumerate(self._files)]
        while live:
            reader = min(live, key=lambda r: r.place)
            others = min((r.place for r in live if r is not reader), default=(NEVER, NEVER, 0))
            if reader.head_ns < NEVER:
                yield reader.number, DATA, reader.take(others[0], reader.place[1:] < others[1:])
            else:
                yield reader.number, END, b""
                live.remove(reader)


class _Fix:
    """Messages, one a frame."""

    rank = 1

    def __init__(self, number: int, file: FixFile) -> None:
        self.number, self._messages = number, iter(file)
        self.head_ns, self._payload = next(self._messages, (NEVER, b""))

    @property
    def place(self) -> tuple[int, int, int]:
        return self.head_ns, self.rank, self.number

    def take(self, bound_ns: int, closed: bool) -> Any:
        payload = self._payload
        self.head_ns, self._payload = next(self._messages, (NEVER, b""))
        return payload


class _Packets(_Fix):
    """Packets of a capture, one a frame."""

    rank = 0

    def __init__(self, number: int, file: ItchFile) -> None:
        self.number = number
        self._messages = ((int(ts or 0), payload) for ts, payload in file)
        self.head_ns, self._payload = next(self._messages, (NEVER, b""))


class _Itch(_Fix):
    """Runs of messages, cut where another feed comes between."""

    rank = 0

    def __init__(self, number: int, file: ItchFile) -> None:
        self.number, self._chunks = number, iter(file)
        self._midnight_ns, self._at = file.midnight_ns, 0
        self._chunk: Any = None
        self._go_on(0)

    def take(self, bound_ns: int, closed: bool) -> Any:
        chunk, at = self._chunk, self._at
        bound_ns = min(bound_ns, NEVER) - self._midnight_ns
        end = int(run_until(chunk, at, len(chunk), bound_ns, int(closed)))
        if end <= at:
            end = len(chunk)  # what nobody knows the time of goes with the rest
        self._go_on(end)
        return chunk[at:end]

    def _go_on(self, at: int) -> None:
        if self._chunk is None or at >= len(self._chunk):
            self._chunk, at = next(self._chunks, (None, None))[1], 0
        self._at, self.head_ns = at, NEVER
        if self._chunk is not None:
            time_ns = int(time_at(self._chunk, at, len(self._chunk)))
            self.head_ns = self._midnight_ns + min(time_ns, NEVER - self._midnight_ns - 1)


def _reader(number: int, file: Any) -> _Fix:
    if isinstance(file, FixFile):
        return _Fix(number, file)
    return _Itch(number, file) if file.framing == LENGTH_PREFIXED else _Packets(number, file)


def _origin_of(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(DIGESTED_BYTES))
    return {"file": path.name, "size_bytes": size, "sha256_of_begin": digest.hexdigest()}
