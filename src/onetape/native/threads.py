"""Where a thread runs and how urgently. Both take something from every other thread.

They help on a machine with a free processor for each thread that spins, and hurt where there are
fewer: a spinning thread that is pinned or real-time does not make way. What then waits is the
journal thread, so the tape falls behind and the loop stops for want of room; the Python that
drains the outputs; or the kernel's own work for the network, on the very processor the datagrams
arrive at. On a small machine use neither, and let the loop sleep.
"""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from onetape.records.errors import OperatorError


def pin_thread(cpu: int) -> None:
    """Keep the calling thread on one processor. OperatorError where that is not possible.

    Worth it for a thread that spins and has the processor to itself (isolcpus, a cpuset); threads
    started from it inherit it. Without that, the scheduler's choice is better than a fixed one.
    """
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


def set_realtime(priority: int) -> None:
    """Run the calling thread before all ordinary ones (SCHED_FIFO), priority 1 to 99.

    For a loop that sleeps between datagrams: it wakes at once. One that spins gives its processor
    to nobody, save the 5 % that Linux by default keeps for ordinary threads: it takes them as a
    pause of up to 50 ms each second, far worse than the jitter one wanted to be rid of.
    OperatorError where it is refused.
    """
    if not hasattr(os, "sched_setscheduler"):
        raise OperatorError(
            f"cannot make a thread real-time: {sys.platform} has no such call; "
            "leave the priority unset"
        )
    if not 1 <= priority <= 99:
        raise OperatorError(f"real-time priority was {priority}; expected 1 (lowest) to 99")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as why:
        raise OperatorError(
            f"cannot make a thread real-time at priority {priority}: {why.strerror}; it takes "
            f"CAP_SYS_NICE (setcap, or cap_add of a container) or a limit of at least {priority} "
            "(ulimit -r; rtprio in /etc/security/limits.conf); or leave the priority unset"
        ) from why


def node_of_cpu(cpu: int) -> int | None:
    """The NUMA node of a processor; None where the platform does not tell.

    Memory and network card should be on the node of the thread that uses them; a card's is in
    /sys/class/net/NAME/device/numa_node.
    """
    for path in Path(f"/sys/devices/system/cpu/cpu{cpu}").glob("node[0-9]*"):
        return int(path.name.removeprefix("node"))
    return None


def stand_back(steps: int = 10) -> None:
    """Let other threads of this process come before the calling one, for work that can wait.

    Does nothing where a thread has no priority of its own (not Linux), or it cannot be lowered.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(own + steps, 19))
