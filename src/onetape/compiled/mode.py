"""The three ways the same code runs: compiled, compiled with bounds checks, or as plain Python.

`compiled` is what users get. `boundscheck` compiles with an index check on every array access.
`interpreted` never touches the compiler: kernels run as the Python they are written in, which is
what the debugger, coverage and the tests' twin runs use. Each mode has its own kernel cache,
because machine code loaded from a warm cache ignores the mode it is loaded under.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

MODES = ("compiled", "boundscheck", "interpreted")


def _initial() -> str:
    chosen = os.environ.get("ONETAPE_MODE")
    if chosen is None:
        return "interpreted" if os.environ.get("NUMBA_DISABLE_JIT") == "1" else "compiled"
    if chosen not in MODES:
        # At import, before a command could say it in one line.
        raise SystemExit(
            f"onetape: ONETAPE_MODE was {chosen!r}; expected one of {', '.join(MODES)}"
        )
    return chosen


_mode = _initial()


def current() -> str:
    """The mode kernels run in now: one of `MODES`."""
    return _mode


def is_interpreted() -> bool:
    return _mode == "interpreted"


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Run kernels in `mode` inside the block. Not thread-safe: a whole process has one mode."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"mode was {mode!r}; expected one of {', '.join(MODES)}")
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before
