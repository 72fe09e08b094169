"""A line of progress on stderr: what is done, how far, how fast. Silent when not a terminal."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EVERY_S = 0.2


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Ctrl-C in here is a KeyboardInterrupt, whatever the compiler makes of it.

    The compiler calls back into Python from machine code, where an exception is printed and
    forgotten, and turns others into errors of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def on_interrupt(number: int, _frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    handler, hook = signal.signal(signal.SIGINT, on_interrupt), sys.unraisablehook
    sys.unraisablehook = lambda what: None if pressed else hook(what)
    try:
        yield
    except BaseException:
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
        sys.unraisablehook = hook
    if pressed:
        raise KeyboardInterrupt


class Progress:
    """`quiet` says nothing at all but the compile line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._began_s = time.perf_counter()
        self._shown_s = 0.0
        self._width = 0

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Say that compiling goes on, and how long it took when it took long."""
        began_s = time.perf_counter()
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
            print(f"compiled in {took_s:.1f} s", file=sys.stderr)
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
            self._say(f"compiling the pipeline, {passed_s:.0f} s (once; it is kept for next time)")

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
