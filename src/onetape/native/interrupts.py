"""Ctrl-C, also while the compiler works; and SIGTERM, which ends a service in the same way."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)


def end_on_sigterm() -> None:
    """SIGTERM is a KeyboardInterrupt from now on: what is under way ends in good order.

    It reaches what a shell started in the background too, where Ctrl-C is switched off.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


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

    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if handler is signal.default_int_handler:  # where it is switched off, it stays off
            signal.signal(number, on_interrupt)
    hook = sys.unraisablehook
    sys.unraisablehook = lambda what: None if pressed else hook(what)
    try:
        yield
    except BaseException:
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in handlers.items():
            if handler is signal.default_int_handler:
                signal.signal(number, handler)
        sys.unraisablehook = hook
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def noting_interrupts() -> Iterator[threading.Event]:
    """Ctrl-C in here sets the event, and interrupts nothing that must be done as a whole."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if handler is signal.default_int_handler:  # where it is switched off, it stays off
            signal.signal(number, lambda *_: asked.set())
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            if handler is signal.default_int_handler:
                signal.signal(number, handler)
