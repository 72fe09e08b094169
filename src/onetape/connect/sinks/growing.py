"""A file that grows. What a full disk refuses waits in memory and is tried again.

A disk without room must not end what runs on the network. So much waits for it, WAITING_MAX_BYTES;
if that is not enough the file ends there, with a whole row: a prefix of the answer. The tape has
the rest, and a run that is resumed makes all rows again.
"""

from pathlib import Path

from onetape.records import OperatorError

WAITING_MAX_BYTES = 1 << 26


class GrowingFile:
    """A new file at `path`. `failure` says why the last write failed, empty if it did not."""

    def __init__(self, path: Path) -> None:
        self.path, self.failure, self.has_ended = path, "", False
        self._waiting = bytearray()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)
        except OSError as why:
            raise OperatorError(f"cannot write to {path}: {why.strerror}") from None

    def append(self, data: bytes) -> bool:
        """Whether it was taken, on the disk or to wait. Once it was not, nothing is any more."""
        self.flush()
        full = bool(self._waiting) and len(self._waiting) + len(data) > WAITING_MAX_BYTES
        self.has_ended = self.has_ended or full
        if not self.has_ended:
            self._waiting += data
            self.flush()
        return not self.has_ended

    def flush(self) -> bool:
        """Write what waits; whether all of it was."""
        try:
            while self._waiting:
                del self._waiting[: self._file.write(self._waiting)]
            self.failure = ""
        except OSError as why:
            self.failure = why.strerror or str(why)
        return not self._waiting

    def begin_again(self) -> bool:
        """Drop what was written, and give the disk back its room; whether that could be done."""
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._file.close()
