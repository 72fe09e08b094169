"""A line of progress on stderr: what is done, how far, how fast. Silent when not a terminal."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from onetape.engine.compile import compiled_count
from onetape.native.interrupts import heeding_interrupts

EVERY_S = 0.2


class Progress:
    """`quiet` says nothing at all but the compile line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._began_s = time.perf_counter()
        self._shown_s = 0.0
        self._width = self._compiled = 0

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Say that compiling goes on, and how long it took when it took long."""
        began_s = time.perf_counter()
        self._compiled = compiled_count()
        done = threading.Event()
        clock = threading.Thread(target=self._count, args=(done,), daemon=True)
        clock.start()
        try:
            with heeding_interrupts():
                yield
        finally:
            done.set()
            clock.join()
            self._clear()
        took_s = time.perf_counter() - began_s
        if took_s > 2 and not self._quiet:
            how = "compiled" if self._is_compiling() else "loaded from the cache"
            print(f"{how} in {took_s:.1f} s", file=sys.stderr)
        self._began_s = time.perf_counter()

    def update(self, done: int, total: int, count: int, what: str) -> None:
        """At most five times a second: percent, count, rate, time left."""
        now_s = time.perf_counter()
        if not self._live or now_s - self._shown_s < EVERY_S:
            return
        self._shown_s = now_s
        passed_s = max(now_s - self._began_s, 1e-9)
        share = min(done / total, 1.0) if total else 0.0
        left = f", {passed_s / share - passed_s:.0f} s left" if 0 < share < 1 else ""
        self._say(f"{share:4.0%}  {count:,} {what}, {count / passed_s:,.0f} a second{left}")

    def _count(self, done: threading.Event) -> None:
        began_s = time.perf_counter()
        while not done.wait(EVERY_S):
            passed_s = time.perf_counter() - began_s
            kept = "compiling the pipeline, {} s (once; it is kept for next time)"
            said = kept if self._is_compiling() else "loading the pipeline, {} s"
            self._say(said.format(round(passed_s)))

    def _is_compiling(self) -> bool:
        return compiled_count() > self._compiled

    def close(self) -> None:
        self._clear()

    def _say(self, line: str) -> None:
        if self._live:
            print("\r" + line.ljust(self._width), end="", file=sys.stderr, flush=True)
            self._width = len(line)

    def _clear(self) -> None:
        if self._live and self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0
