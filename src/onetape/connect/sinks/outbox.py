"""Rows on their way to somebody else: kept in a file until taken, told once.

`take` appends rows to a file and returns; a thread of its own delivers them in order, one more
time after each failure, at growing intervals, for as long as it takes. A row waits until its frame
is durable: what a crash may still take back is told to nobody. How many rows were taken is written
down after each batch, so a run that is resumed, which makes all rows again, goes on behind them.
Between a delivery and that note a crash may deliver a batch again, with the same keys: a key is
made of what caused the row (see docs/SEMANTICS.md) and is the same in every run.
"""

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onetape.connect.sinks.taking import Output
from onetape.records import OperatorError

BATCH_ROWS = 100
PAUSE_S, PAUSE_MAX_S = 0.2, 30.0
DURABLE_POLL_S = 0.01
LAST_TRY_S = 5.0  # how long `close` waits for what is not yet delivered

# Takes rows as (key, JSON). Returns why some were refused for good, a reason each; raises OSError
# when rows were not taken and may be tried again.
Deliver = Callable[[list[tuple[str, bytes]]], list[str]]


class Outbox:
    """The rows of one sink that wait to be delivered."""

    def __init__(
        self,
        output: Output,
        deliver: Deliver,
        to: str,
        hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._hang_up = hang_up
        self._output, self._deliver, self._to = output, deliver, to
        self._keeps = output.folder is not None
        self._folder = output.folder or Path(tempfile.mkdtemp(prefix="onetape-outbox-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._note = self._folder / f"{output.name}-{output.number}.delivered"
        self.delivered = int(self._note.read_text()) if self._note.exists() else 0
        self.refused = self.failures = 0
        self.last_failure = ""
        self._seen = 0  # rows of the output so far, in this run
        self._kept = 0  # rows in the file, those delivered before this run not among them
        self._skip = self.delivered
        self._begin = self.delivered
        path = self._folder / f"{output.name}-{output.number}.rows"
        self._file = open(path, "w+b")
        self._lock = threading.Condition()
        self._ending = self._hurry = False
        self._thread = threading.Thread(target=self._work, name=f"to {to}", daemon=True)
        self._thread.start()

    def take(self, rows: Any, origins: Any) -> None:
        """Keep these rows; those that an earlier run delivered are passed over."""
        lines = []
        for told, origin in zip(self._output.dicts(rows), origins, strict=True):
            self._seen += 1
            if self._seen > self._skip:
                entry = [int(origin["tape_offset"]), key_of(self._output.name, told, origin), told]
                lines.append(json.dumps(entry).encode() + b"\n")
        if lines:
            with self._lock:
                self._file.seek(0, os.SEEK_END)
                self._file.write(b"".join(lines))
                self._file.flush()
                self._kept += len(lines)
                self._lock.notify()

    def finish(self) -> None:
        """The run is over: what waits is given a last chance by `close`."""

    def close(self) -> None:
        """Deliver what waits, for LAST_TRY_S at most; the rest waits for a run that is resumed."""
        with self._lock:
            self._ending = True
            self._lock.notify()
        self._thread.join(LAST_TRY_S)
        with self._lock:
            self._hurry = True
            self._lock.notify()
        self._thread.join()
        self._hang_up()
        self._file.close()
        if not self._keeps:
            with contextlib.suppress(OSError):
                for path in self._folder.iterdir():
                    path.unlink()
                self._folder.rmdir()

    def waiting(self) -> int:
        """Rows taken and not yet delivered."""
        return self._kept - (self.delivered - self._begin)

    def told(self) -> str:
        said = f"{self.delivered - self.refused:,} rows to {self._to}"
        if self.refused:
            said += f"; {self.refused:,} refused there ({self.last_failure})"
        if self.waiting():
            why = f" ({self.last_failure})" if self.last_failure else ""
            said += f"; {self.waiting():,} rows wait{why}"
            said += ": a run with --resume delivers them" if self._keeps else " and are forgotten"
        return said

    def _work(self) -> None:
        at, pause_s = 0, PAUSE_S
        while True:
            with self._lock:
                while self.waiting() == 0 and not self._ending:
                    self._lock.wait()
                if self._hurry or self.waiting() == 0:
                    return
                lines, following = self._read(at)
            batch = self._durable(lines)
            if batch is None:
                return
            try:
                reasons = self._deliver(batch)
            except OSError as why:
                self.failures += 1
                self.last_failure = str(why) or type(why).__name__
                if not self._wait(pause_s):
                    return
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
                continue
            at, pause_s = following, PAUSE_S
            self.refused += len(reasons)
            self.last_failure = reasons[-1] if reasons else ""
            self.delivered += len(batch)
            self._write_note()

    def _read(self, at: int) -> tuple[list[Any], int]:
        self._file.seek(at)
        lines = []
        for _ in range(min(BATCH_ROWS, self.waiting())):
            line = self._file.readline()
            at += len(line)
            lines.append(json.loads(line))
        return lines, at

    def _durable(self, lines: list[Any]) -> list[tuple[str, bytes]] | None:
        """The rows, once no crash can take them back; None if the run ends before."""
        durable = self._output.durable
        while durable is not None and durable() <= max(offset for offset, _, _ in lines):
            if not self._wait(DURABLE_POLL_S):
                return None
        return [(key, json.dumps({"key": key} | told).encode()) for _, key, told in lines]

    def _wait(self, seconds: float) -> bool:
        """Whether there is time to go on after a pause."""
        end_s = time.monotonic() + seconds
        with self._lock:
            while not self._hurry and (left_s := end_s - time.monotonic()) > 0:
                self._lock.wait(left_s)
            return not self._hurry

    def _write_note(self) -> None:
        beside = self._note.with_suffix(".tmp")
        beside.write_text(str(self.delivered))
        os.replace(beside, self._note)


def key_of(name: str, told: dict[str, Any], origin: Any) -> str:
    """A row's identity as text: the same for the same cause, in every run."""
    cause = (origin["root"], origin["source"], origin["sequence"], origin["key"], origin["index"])
    return f"{name}-{told.get('ts_event_ns', 0)}-" + "-".join(str(int(part)) for part in cause)


def secret(text: str, what: str) -> str:
    """`env:NAME` is the value of that variable; other text is itself."""
    if not text.startswith("env:"):
        return text
    name = text.removeprefix("env:")
    if not os.environ.get(name):
        raise OperatorError(f"{what} {text!r}: the environment variable {name} is not set")
    return os.environ[name]
