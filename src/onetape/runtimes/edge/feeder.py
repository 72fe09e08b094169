"""Feeds a recorded file into a node, as fast as it takes it or at a multiple of its own time."""

import threading
import time
from collections.abc import Iterable
from typing import Any

from onetape.runtimes.edge.node import EdgeNode

PAUSE_S = 0.0002
TIME_AT = 2 + 5  # of the 48-bit time in the first message behind a length prefix


class FileFeeder:
    """A thread that pushes (receive time or None, payload) pairs, then the end of the source.

    speed   how many seconds of the file pass in one second of the clock; 0: no pacing. Pacing goes
            by the time of each payload's first message, and needs length-prefixed payloads.
    """

    def __init__(
        self, node: EdgeNode, payloads: Iterable[tuple[int | None, Any]], *, speed: float = 0
    ) -> None:
        self._node, self._payloads, self._speed = node, payloads, speed
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._fault: BaseException | None = None
        self.bytes_done = 0

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Leave off; the end of the source is then not pushed."""
        self._leave.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Raise what stopped the feeder, if anything did."""
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            began_s, first_ns = time.monotonic(), None
            for ts_recv_ns, payload in self._payloads:
                if self._speed > 0:
                    if first_ns is None:
                        first_ns = _time_ns(payload)
                    due_s = began_s + (_time_ns(payload) - first_ns) / 1e9 / self._speed
                    if self._leave.wait(max(0.0, due_s - time.monotonic())):
                        return
                if not self._push(payload, ts_recv_ns):
                    return
                self.bytes_done += len(payload)
            while not self._node.push_end():
                if self._leave.wait(PAUSE_S):
                    return
        except BaseException as why:
            self._fault = why

    def _push(self, payload: Any, ts_recv_ns: int | None) -> bool:
        while not self._node.push(payload, ts_recv_ns=ts_recv_ns):
            if self._leave.wait(PAUSE_S):
                return False
        return not self._leave.is_set()


def _time_ns(payload: Any) -> int:
    """Time of the first message of a length-prefixed payload, ns since midnight."""
    return int.from_bytes(bytes(payload[TIME_AT : TIME_AT + 6]), "big")
