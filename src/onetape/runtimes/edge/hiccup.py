"""A hiccup meter: how much longer than asked the machine makes a thread sleep.

A compiled thread of its own sleeps, a millisecond at a time, and counts by how much it overslept.
What it shows happens to every thread of this machine, the hot loop included: the scheduler, other
programs, the hypervisor. A latency is not ours where the hiccups are as long.
"""

import threading
from typing import Any

import numpy as np

from onetape.compiled.atomics import load_acquire, poke
from onetape.compiled.counts import new_counts, record_ns
from onetape.compiled.kernel import kernel
from onetape.native.clock import monotonic_ns, sleep_ns

SLEEP_NS = 1_000_000


class HiccupMeter:
    """Counts hiccups while it is entered; `counts` may be read at any time.

    sleep_ns   longer ones find fewer hiccups and cost less: 2 % of a core at 1 ms on a virtual
               machine, a tenth of that at 20
    """

    def __init__(self, sleep_ns: int = SLEEP_NS) -> None:
        self.sleep_ns = sleep_ns
        self.counts: Any = new_counts()
        self._stop = np.zeros(8, np.int64)
        self._thread = threading.Thread(target=self._run, name="hiccups", daemon=True)

    def __enter__(self) -> "HiccupMeter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        poke(self._stop, 0, 1)
        self._thread.join()

    def _run(self) -> None:
        measure(self._stop, self.counts, self.sleep_ns)


@kernel
def measure(stop, counts, nap_ns):
    while load_acquire(stop, 0) == 0:
        before_ns = monotonic_ns()
        sleep_ns(nap_ns)
        record_ns(counts, monotonic_ns() - before_ns - nap_ns)
    return 0
