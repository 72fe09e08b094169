"""A simulated exchange: a day of NASDAQ ITCH 5.0 from a seed, with labelled quote stuffing.

    day = simulate(seed=7, instruments=100, seconds=10.0, episodes=8)
    day.data      the file's bytes: each message behind its length (2 bytes, big-endian)
    day.labels    what a detector of more than five cancels in 10 ms must find, exactly

The same options give the same bytes on every platform: everything is integers. The exchange keeps
real books, so each execution, cancel, deletion and replacement names an order that is there, no
book ever crosses or locks, and executions take the best orders, oldest first. Read `exchange_flow`
(who acts when), `exchange_acts` (what they do), `exchange_episodes` (the stuffing).

It is a model. Prices, sizes and the mix of messages are like those of NASDAQ equities; nothing in
them predicts anything. Books begin empty, so the first seconds have more A than D. The flow sends
no more than five cancel-like messages (D, X, U) of one instrument in any 10 ms; asked for more
than about 500 messages a second an instrument it executes where it would cancel, so the share of D
falls and that of E rises (at 2 000: D 18 %, E 34 %), and there are a few messages more.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from onetape.records import OperatorError
from onetape.sim.exchange_day import ARRIVAL_BYTES_MAX, fill
from onetape.sim.exchange_options import (
    TRADING_DATE,
    ExchangeOptions,
    new_york_midnight_ns,
    symbol_of,
)
from onetape.sim.exchange_setup import new_exchange

CHUNK_BYTES = 1 << 20

Progress = Callable[[float, int], None]


@dataclass(frozen=True)
class Episode:
    """One burst of quote stuffing. Times are ns since midnight New York, as in the file."""

    instrument_id: int  # the locate code
    symbol: str
    side: str  # B or S
    first_ts_ns: int  # of its first order
    first_cancel_ts_ns: int
    sixth_cancel_ts_ns: int  # from here on more than five cancels lie within 10 ms, to the last
    last_ts_ns: int  # of its last deletion
    cancels: int
    midnight_ns: int  # of midnight New York, UTC ns since 1970

    @property
    def first_ts_event_ns(self) -> int:
        """first_ts_ns as UTC ns since 1970."""
        return self.midnight_ns + self.first_ts_ns

    @property
    def last_ts_event_ns(self) -> int:
        """last_ts_ns as UTC ns since 1970."""
        return self.midnight_ns + self.last_ts_ns

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {
            "first_ts_event_ns": self.first_ts_event_ns,
            "last_ts_event_ns": self.last_ts_event_ns,
        }


@dataclass(frozen=True)
class Simulation:
    """A whole day in memory."""

    options: ExchangeOptions
    data: np.ndarray[Any, np.dtype[np.uint8]]
    labels: list[Episode]
    counts: dict[str, int]  # messages by type letter

    @property
    def messages(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True)
class Written:
    """A day in a file."""

    options: ExchangeOptions
    path: Path
    size_bytes: int
    sha256: str
    labels: list[Episode]
    counts: dict[str, int]

    @property
    def messages(self) -> int:
        return sum(self.counts.values())


class Chunks(Iterator[np.ndarray[Any, np.dtype[np.uint8]]]):
    """The file piece by piece: each u8[up to chunk_bytes] of whole messages, the caller's to keep.

    Memory is bounded by the number of instruments and episodes, however long the day. Any size of
    chunks gives the same bytes. `labels` and `counts` tell of what has been made so far.
    """

    def __init__(self, options: ExchangeOptions, chunk_bytes: int = CHUNK_BYTES) -> None:
        if chunk_bytes < ARRIVAL_BYTES_MAX:
            raise OperatorError(
                f"chunk_bytes was {chunk_bytes}; expected {ARRIVAL_BYTES_MAX} at least, the most "
                f"that one arrival writes"
            )
        self.options = options
        self.chunk_bytes = chunk_bytes
        self._state = new_exchange(options)

    def __next__(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        chunk = np.empty(self.chunk_bytes, np.uint8)
        end = fill(self._state.market, self._state.agenda, chunk, 0)
        if end == 0:
            raise StopIteration
        return chunk[:end]

    @property
    def messages(self) -> int:
        return int(self._state.market.session["messages"][0])

    @property
    def done(self) -> float:
        """How much of the day is over, 0 to 1."""
        session = self._state.market.session[0]
        passed_ns = int(session["now_ns"]) - int(session["start_ns"])
        return min(max(passed_ns / self.options.duration_ns, 0.0), 1.0)

    @property
    def counts(self) -> dict[str, int]:
        """Messages by type letter."""
        counts = self._state.market.session["counts"][0]
        return {chr(letter): int(counts[letter]) for letter in np.flatnonzero(counts)}

    @property
    def labels(self) -> list[Episode]:
        """The episodes that are over, in the order of their begin."""
        midnight_ns = new_york_midnight_ns(self.options.trading_date)
        return [
            Episode(
                instrument_id=int(plan["instrument"]) + 1,
                symbol=symbol_of(int(plan["instrument"])),
                side="S" if plan["side"] else "B",
                first_ts_ns=int(plan["start_ns"]),
                first_cancel_ts_ns=int(plan["first_cancel_ns"]),
                sixth_cancel_ts_ns=int(plan["sixth_cancel_ns"]),
                last_ts_ns=int(plan["last_ns"]),
                cancels=int(plan["pairs_done"]),
                midnight_ns=midnight_ns,
            )
            for plan in self._state.agenda.episodes[: self.options.episodes]
            if plan["pairs_done"] == plan["pairs"]
        ]


def simulate(
    *,
    seed: int = 7,
    instruments: int = 100,
    seconds: float = 10.0,
    messages_per_s: float | None = None,
    episodes: int = 8,
    trading_date: date = TRADING_DATE,
) -> Simulation:
    """A day in memory, 32 bytes a message; for long days see `generate` and `write_file`.

    instruments     1 to 8 000, with Zipf-like activity
    seconds         of trading, from 09:30:00 on
    messages_per_s  of the flow over all instruments; 50 for each instrument if not given
    episodes        of quote stuffing, exactly; 0 for a day without

    The number of messages is random, near seconds * messages_per_s. About 0.15 us a message.
    OperatorError says which option cannot be, and which would do.
    """
    options = ExchangeOptions(
        seed=seed,
        instruments=instruments,
        seconds=seconds,
        messages_per_s=messages_per_s,
        episodes=episodes,
        trading_date=trading_date,
    )
    chunks = Chunks(options)
    pieces = list(chunks)
    return Simulation(options, np.concatenate(pieces), chunks.labels, chunks.counts)


def generate(
    *,
    seed: int = 7,
    instruments: int = 100,
    seconds: float = 10.0,
    messages_per_s: float | None = None,
    episodes: int = 8,
    trading_date: date = TRADING_DATE,
    chunk_bytes: int = CHUNK_BYTES,
) -> Chunks:
    """As `simulate`, in chunks of whole messages and in bounded memory."""
    options = ExchangeOptions(
        seed=seed,
        instruments=instruments,
        seconds=seconds,
        messages_per_s=messages_per_s,
        episodes=episodes,
        trading_date=trading_date,
    )
    return Chunks(options, chunk_bytes)


def write_file(
    path: str | os.PathLike[str],
    *,
    seed: int = 7,
    instruments: int = 100,
    seconds: float = 10.0,
    messages_per_s: float | None = None,
    episodes: int = 8,
    trading_date: date = TRADING_DATE,
    progress: Progress | None = None,
) -> Written:
    """As `simulate`, into a file that appears under its name only when it is whole and on disk.

    progress(done, messages) is called after each MiB: the part of the day that is over, 0 to 1,
    and the messages so far. An existing file is replaced. OperatorError if it cannot be written;
    nothing is left behind then.
    """
    options = ExchangeOptions(
        seed=seed,
        instruments=instruments,
        seconds=seconds,
        messages_per_s=messages_per_s,
        episodes=episodes,
        trading_date=trading_date,
    )
    chunks = Chunks(options)
    digest = hashlib.sha256()

    def pieces() -> Iterator[Any]:
        for chunk in chunks:
            digest.update(chunk.data)
            yield chunk
            if progress is not None:
                progress(chunks.done, chunks.messages)

    target = Path(path)
    size_bytes = write_whole(target, pieces())
    return Written(options, target, size_bytes, digest.hexdigest(), chunks.labels, chunks.counts)


def write_whole(path: Path, pieces: Iterable[Any]) -> int:
    """Write the pieces to a temporary file beside `path` and rename it; returns the size.

    OperatorError says what to do about a folder that is missing or may not be written, or a full
    disk.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        if path.is_dir():
            raise IsADirectoryError
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
            size_bytes = file.tell()
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OperatorError(_why_not_written(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return size_bytes


def _why_not_written(path: Path, error: OSError) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"cannot write {path}: {folder} is not a folder; make it first, or name another"
    if path.is_dir():
        return f"cannot write {path}: it is a folder; add the name of a file"
    if isinstance(error, PermissionError):
        return f"cannot write {path}: no permission in {folder}; choose a folder of your own"
    return f"cannot write {path}: {error.strerror or error}; free some space or name another folder"
