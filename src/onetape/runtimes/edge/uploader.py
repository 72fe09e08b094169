"""Brings checkpoints to another place while a node runs: a thread that nothing waits for.

The local folder comes first and is complete without it. What fails is counted, said, and tried
again, later each time; then the newest checkpoint is brought, and those between are left out.
"""

import threading
from pathlib import Path

from onetape.connect.checkpoint_store import CheckpointStore
from onetape.native.threads import stand_back
from onetape.records import OnetapeError
from onetape.tape.checkpoint_keep import Retention

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
LAST_TRY_S = 10.0  # at the end of a run, for what is not there yet


class Uploader:
    """Uploads the newest checkpoint of the tape in `folder` to `url`, whenever there is one."""

    def __init__(self, url: str, folder: Path, retention: Retention) -> None:
        self.store = CheckpointStore(url, retention)  # says at once what is missing
        self.folder = str(folder)
        self.uploaded_offset = -1  # of the newest that is there
        self.bytes_done = 0
        self.failures = 0
        self.last_failure = self.left_behind = ""
        self._wanted, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """There is a new checkpoint. Returns at once."""
        self._wanted.set()

    def stop(self, within_s: float = LAST_TRY_S) -> None:
        """End the thread; what is under way may take `within_s`, and is left alone then."""
        self._leave.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def troubles(self, saved_offset: int) -> list[str]:
        """What is not there; `saved_offset`: of the newest checkpoint in the tape's folder."""
        if not self.last_failure:
            return [self.left_behind] if self.left_behind else []
        newest = f"frame {self.uploaded_offset}" if self.uploaded_offset >= 0 else "none"
        return [
            f"{self.failures} uploads of checkpoints failed, the last: {self.last_failure}; the "
            f"newest there: {newest}, in the tape's folder: frame {saved_offset}"
        ]

    def statistics(self) -> dict[str, int]:
        return {
            "uploaded_offset": self.uploaded_offset,
            "uploaded_bytes": self.bytes_done,
            "uploads_failed": self.failures,
        }

    def _run(self) -> None:
        stand_back()
        pause_s = FIRST_PAUSE_S
        while True:
            self._wanted.wait()
            self._wanted.clear()
            is_last = self._leave.is_set()
            try:
                found = self.store.upload(self.folder)
                if found is not None:
                    self.uploaded_offset = found.offset
                    self.bytes_done += found.bytes_done
                    self.left_behind = found.trouble
                pause_s, self.last_failure = FIRST_PAUSE_S, ""
            except (OnetapeError, OSError) as why:
                self.failures += 1
                self.last_failure = str(why)
                if not is_last:
                    self._leave.wait(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    self._wanted.set()
            if is_last:
                return
