"""Processor time and memory of process trees that come and go: /proc, looked at ten times a second.

What is started by a member is one too, also after its parent has gone. Of a process that ends
between two looks the last tenth of a second is not seen.
"""

import os
import threading
from pathlib import Path
from typing import Any

LOOK_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """with Meter(job=pid, broker=pid) as meter: ...; meter.cpu_s("job")"""

    def __init__(self, **roots: int) -> None:
        self._label = {pid: label for label, pid in roots.items()}  # of each member
        self._began = {pid: _look(pid) for pid in self._label}
        self._cpu: dict[tuple[int, int], int] = {}  # (pid, start): ticks so far
        self._memory: dict[str, int] = dict.fromkeys(roots, 0)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def add(self, label: str, pid: int) -> None:
        """Another tree, from now on."""
        with self._lock:
            self._label[pid] = label
            self._began[pid] = _look(pid)
            self._memory.setdefault(label, 0)

    def cpu_s(self, label: str) -> float:
        """Since the tree was named; user and system time of all its processes."""
        self._step()
        with self._lock:
            ticks = sum(n for (pid, _), n in self._cpu.items() if self._label[pid] == label)
            before = [seen for pid, seen in self._began.items() if self._label[pid] == label]
        return (ticks - sum(seen.ticks for seen in before if seen)) / TICKS_PER_S

    def memory_bytes(self, label: str) -> int:
        """The most that the tree held at a look (resident, shared pages counted once each)."""
        return self._memory[label]

    def __enter__(self) -> "Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._step()

    def _step(self) -> None:
        seen = {pid: one for pid in _all() if (one := _look(pid)) is not None}
        with self._lock:
            for _ in range(8):  # children of children, until none is new
                new = {
                    pid: self._label[one.parent]
                    for pid, one in seen.items()
                    if pid not in self._label and one.parent in self._label
                }
                if not new:
                    break
                self._label |= new
            held = dict.fromkeys(self._memory, 0)
            for pid, one in seen.items():
                if pid in self._label:
                    self._cpu[pid, one.started] = one.ticks
                    held[self._label[pid]] += one.pages * PAGE_BYTES
            for label, size in held.items():
                self._memory[label] = max(self._memory[label], size)


class _Seen:
    __slots__ = ("pages", "parent", "started", "ticks")

    def __init__(self, stat: str) -> None:
        fields = stat.rpartition(")")[2].split()  # from the third of proc(5) on
        self.parent = int(fields[1])
        self.ticks = int(fields[11]) + int(fields[12])
        self.started, self.pages = int(fields[19]), int(fields[21])


def _look(pid: int) -> _Seen | None:
    try:
        return _Seen(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return None


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
