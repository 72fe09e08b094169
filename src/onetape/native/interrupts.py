"""Ctrl-C while the compiler works."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
