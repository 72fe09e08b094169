"""The processor's own counter: what it costs to run something, for a fifth of a clock's price.

    began = ticks(); ...; record_at(counts, base, ticks() - began)

It measures only. Nothing that is answered may depend on it. How long a tick is differs between
machines: `read_ticks` beside a clock, at two moments, tells.
"""

import time

from onetape.compiled.counts import cell_of
from onetape.compiled.kernel import intrinsic, kernel


@intrinsic
def ticks() -> int:
    """Ticks since some moment; the same on all processors of a machine. 5 to 10 ns."""
    return time.perf_counter_ns()


@kernel
def record_at(counts, base, value):
    """Count a value in one of several histograms that lie behind each other, CELLS each."""
    counts[base + cell_of(value)] += 1


@kernel
def read_ticks():
    """`ticks`, callable from Python."""
    return ticks()
