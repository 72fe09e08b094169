"""Time, sleep and the processor a thread runs on, callable from compiled code."""

import os
import sys
import time

from onetape.compiled.kernel import intrinsic
from onetape.records.errors import OperatorError

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


def pin_thread(cpu: int) -> None:
    """Keep the calling thread on one processor. OperatorError where that is not possible."""
    if not hasattr(os, "sched_setaffinity"):
        raise OperatorError(
            f"cannot keep a thread on processor {cpu}: {sys.platform} has no such call; "
            "leave the processor unset"
        )
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as why:
        allowed = sorted(os.sched_getaffinity(0))
        raise OperatorError(
            f"cannot keep a thread on processor {cpu}: {why.strerror}; "
            f"this process may use {allowed}"
        ) from why
