"""Rows on their way to somebody else: kept in a file until taken, told once.

`take` appends rows to a file and returns; a thread of its own delivers them in order, one more
time after each failure, whatever it was, at growing intervals, for as long as it takes. A row waits
until its frame is durable: what a crash may still take back is told to nobody. How many rows were
taken is written down after each batch, so a run that is resumed, which makes all rows again, goes
on behind them. Between a delivery and that note a crash may deliver a batch again, with the same
keys: a key is made of what caused the row (see docs/SEMANTICS.md) and is the same in every run. So
a note that cannot be read counts as none: rows told twice can be removed, rows never told cannot
be known.
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

from onetape.connect.sinks.growing import GrowingFile
from onetape.connect.sinks.taking import Output
from onetape.records import OperatorError

BATCH_ROWS = 100
PAUSE_S, PAUSE_MAX_S = 0.2, 30.0
DURABLE_POLL_S = 0.01
LAST_TRY_S = 5.0  # how long `close` waits for what is not yet delivered
HANG_UP_S = 0.5  # and then for a call that is under way

# Takes rows, as (key, JSON) where nothing else is said. Returns why some were refused for good, a
# reason each; raises when rows were not taken and may be tried again.
Deliver = Callable[[Any], list[str]]


class Outbox:
    """The rows of one sink that wait to be delivered, at most `rows_at_once` of them by one call.

    hang_up  ends a call that is under way, from another thread
    """

    def __init__(
        self,
        output: Output,
        deliver: Deliver,
        to: str,
        hang_up: Callable[[], None] = lambda: None,
        rows_at_once: int = BATCH_ROWS,
    ) -> None:
        self._hang_up, self._rows_at_once = hang_up, rows_at_once
        self._output, self._deliver, self._to = output, deliver, to
        self._keeps = output.folder is not None
        self._folder = output.folder or Path(tempfile.mkdtemp(prefix="onetape-outbox-"))
        name = f"{output.name}-{output.number}"
        self._file = GrowingFile(self._folder / f"{name}.rows")
        self._rows = self._file.path.open("rb")
        self._note = self._folder / f"{name}.delivered"
        self._note_trouble = self._note_damage = ""
        self.delivered = self._skip = self._begin = self._noted()
        self.refused = self.failures = 0
        self.last_failure = self.last_refusal = ""
        self._seen = 0  # rows of the output so far, in this run
        self._kept = 0  # rows in the file, those delivered before this run not among them
        self._left_out = 0  # rows that came when the disk had been full for too long
        self._lock = threading.Condition()
        self._ending = self._hurry = self._is_closed = False
        self._thread = threading.Thread(target=self._work, name=f"to {to}", daemon=True)
        self._thread.start()

    def take(self, rows: Any, origins: Any) -> None:
        """Keep these rows; those that an earlier run delivered are passed over."""
        passed = min(len(rows), max(0, self._skip - self._seen))
        self._seen += len(rows)
        if new := len(rows) - passed:
            entries = self._as_kept(rows[passed:], origins[passed:])
            with self._lock:
                if self._file.append(entries):
                    self._kept += new
                    self._lock.notify()
                else:
                    self._left_out += new

    def tend(self) -> list[str]:
        """What is wrong; the thread tends to it by itself."""
        said = [f"{self._to}: {self.last_failure}; rows wait"] if self.last_failure else []
        said += [f"{self._to}: rows are refused ({self.last_refusal})"] if self.refused else []
        said += filter(None, (self._note_damage, self._note_trouble))
        if self._file.has_ended:
            said.append(f"{self._file.path}: the disk was full for too long; no more rows are told")
        return said

    def finish(self) -> None:
        """The run is over: what waits is given a last chance by `close`."""

    def close(self) -> None:
        """Deliver what waits, for LAST_TRY_S at most; the rest waits for a run that is resumed.

        A call that is still under way HANG_UP_S later is left behind: if it delivers its rows after
        all, they are delivered again.
        """
        with self._lock:
            self._ending = True
            self._lock.notify()
        self._thread.join(LAST_TRY_S)
        with self._lock:
            self._hurry = True
            self._lock.notify()
        self._hang_up()
        self._thread.join(HANG_UP_S)
        with self._lock:
            self._is_closed = True
            if self._note_trouble:
                self._write_note()
            self._rows.close()
            self._file.close()
        if not self._keeps:
            with contextlib.suppress(OSError):
                for path in self._folder.iterdir():
                    path.unlink()
                self._folder.rmdir()

    def waiting(self) -> int:
        """Rows taken and not yet delivered."""
        return self._kept + self._left_out - (self.delivered - self._begin)

    def told(self) -> str:
        said = f"{self.delivered - self.refused:,} rows to {self._to}"
        if self.refused:
            said += f"; {self.refused:,} refused there ({self.last_refusal})"
        if self.waiting():
            why = f" ({self.last_failure})" if self.last_failure else ""
            said += f"; {self.waiting():,} rows wait{why}"
            said += ": a run with --resume delivers them" if self._keeps else " and are forgotten"
        return "; ".join([said, *filter(None, (self._note_damage, self._note_trouble))])

    def _work(self) -> None:
        at, pause_s = 0, PAUSE_S
        while True:
            with self._lock:
                while self._to_do() == 0 and not self._ending:
                    self._lock.wait()
                if self._hurry or self._to_do() == 0:
                    return
            try:
                kept, following = self._read(at)
                if not self._are_durable(self._last_offset(kept)):
                    return
                batch = self._as_delivered(kept)
                reasons = self._deliver(batch)
            except Exception as why:  # nobody else would hear of it
                self.failures += 1
                self.last_failure = str(why) or type(why).__name__
                if not self._wait(pause_s):
                    return
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
                continue
            at, pause_s = following, PAUSE_S
            with self._lock:
                if self._is_closed:
                    self._hang_up()
                    return
                self.refused += len(reasons)
                self.last_refusal = reasons[-1] if reasons else self.last_refusal
                self.last_failure = ""
                self.delivered += len(batch)
                self._write_note()
                at = at if self._to_do() else self._after_all(at)

    def _to_do(self) -> int:
        return self.waiting() - self._left_out

    def _read(self, at: int) -> tuple[Any, int]:
        """The next of what is kept, at that place of the file; and where it ends."""
        with self._lock:
            self._file.flush()
            self._rows.seek(at)
            kept, size = self._next_kept(min(self._rows_at_once, self._to_do()))
        if not size:
            raise OSError(f"{self._file.path}: {self._file.failure or 'its rows are gone'}")
        return kept, at + size

    def _are_durable(self, offset: int) -> bool:
        """Wait until no crash can take this frame back; False if the run ends before."""
        durable = self._output.durable
        while durable is not None and durable() <= offset:
            if not self._wait(DURABLE_POLL_S):
                return False
        return True

    def _after_all(self, at: int) -> int:
        """All that is kept was delivered: where the next rows will stand in the file."""
        return at

    # The form in which rows are kept and delivered: JSON here; see rows_outbox.py for another.

    def _as_kept(self, rows: Any, origins: Any) -> bytes:
        lines = []
        for told, origin in zip(self._output.dicts(rows), origins, strict=True):
            entry = [int(origin["tape_offset"]), key_of(self._output.name, told, origin), told]
            lines.append(json.dumps(entry).encode() + b"\n")
        return b"".join(lines)

    def _next_kept(self, rows_max: int) -> tuple[Any, int]:
        """Whole rows at the file's place, and how many bytes they took."""
        lines, size = [], 0
        for _ in range(rows_max):
            line = self._rows.readline()
            if not line.endswith(b"\n"):
                break
            size += len(line)
            lines.append(json.loads(line))
        return lines, size

    def _last_offset(self, kept: Any) -> int:
        return max(offset for offset, _, _ in kept)

    def _as_delivered(self, kept: Any) -> Any:
        return [(key, json.dumps({"key": key} | told).encode()) for _, key, told in kept]

    def _wait(self, seconds: float) -> bool:
        """Whether there is time to go on after a pause."""
        end_s = time.monotonic() + seconds
        with self._lock:
            while not self._hurry and (left_s := end_s - time.monotonic()) > 0:
                self._lock.wait(left_s)
            return not self._hurry

    def _noted(self) -> int:
        try:
            text = self._note.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as why:
            raise OperatorError(
                f"cannot read {self._note}: {why.strerror}; it says which rows were delivered: "
                "make it readable, or remove it to have all of them delivered again"
            ) from None
        if text.isdigit():
            return int(text)
        self._note_damage = (
            f"{self._note} was damaged ({text[:20]!r}): all rows are delivered again, with the "
            "same keys"
        )
        return 0

    def _write_note(self) -> None:
        beside = self._note.with_suffix(".tmp")
        try:
            beside.write_text(str(self.delivered))
            os.replace(beside, self._note)
        except OSError as why:
            self._note_trouble = (
                f"{self._note} cannot be written ({why.strerror}): a run that is resumed may "
                "deliver rows again, with the same keys"
            )
        else:
            self._note_trouble = ""


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
