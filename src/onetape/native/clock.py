"""Time and sleep, callable from compiled code."""

import time

from onetape.compiled.kernel import intrinsic

_native = intrinsic(home="onetape.native.calls")


@_native
def clock_ns() -> int:
    """Now, in ns since 1970-01-01 UTC; costs about 20 ns. May be stepped by the administrator."""
    return time.time_ns()


@_native
def monotonic_ns() -> int:
    """Ns since some fixed moment; never goes back. For durations."""
    return time.monotonic_ns()


@_native
def sleep_ns(count: int) -> None:
    """Give the processor away for at least `count` ns, or until a signal comes."""
    time.sleep(count / 1e9)


@_native
def yield_thread() -> None:
    """Let another thread that is ready run on this processor; at once back if there is none."""
    time.sleep(0)
