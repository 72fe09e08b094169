"""Latency counts: a histogram with 3 % resolution from 1 ns to 292 years, 5 ns a record.

Cell e * 32 + (v >> e), where e is what makes v >> e fit 32 to 63 (0 below 64): the index
arithmetic of HdrHistogram with five bits of precision. `counts` is int64[CELLS].
"""

from typing import Any

import numpy as np

from onetape.compiled.bits import bit_length
from onetape.compiled.kernel import kernel

CELLS = 60 * 32


def new_counts() -> Any:
    return np.zeros(CELLS, np.int64)


@kernel
def cell_of(value_ns):
    value = max(value_ns, 0)
    e = max(bit_length(value) - 6, 0)
    return e * 32 + (value >> e)


@kernel
def record_ns(counts, value_ns):
    """Count one value; negative ones (a clock that stepped back) count as 0."""
    counts[cell_of(value_ns)] += 1


def upper_ns(cell: int) -> int:
    """The largest value a cell counts."""
    if cell < 64:
        return cell
    e = cell // 32 - 1
    return ((cell - e * 32 + 1) << e) - 1


def percentile_ns(counts: Any, percent: float) -> int:
    """The value that `percent` of the recorded ones do not exceed; 0 when there are none."""
    total = int(counts.sum())
    if total == 0:
        return 0
    at = int(np.searchsorted(np.cumsum(counts), max(1, int(np.ceil(total * percent / 100)))))
    return upper_ns(at)
