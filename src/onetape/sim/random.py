"""Random numbers from a seed, in integers only: the same on every platform and in every mode.

SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): a stream is
one 64-bit word that a fixed odd step moves on, and a draw is that word, scattered. Streams started
from one seed are far apart in the one cycle of 2**64, so what one part of a simulation draws does
not shift what another part draws.

No logarithm is taken while drawing (libm's are not promised equal across platforms): exponential
draws read a table of the quantiles of exp(1), made once in decimal arithmetic.
"""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from onetape.compiled.bits import add_wrap, mix, shift_right
from onetape.compiled.kernel import kernel

STEP = -7046029254386353131  # 2**64 / golden ratio, odd
LOW_WORD = (1 << 32) - 1

BUCKETS = 256
TAILS_MAX = 6  # a value beyond 6 * ln(256) = 33 means has a chance of 2**-48


def new_streams(seed: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """`count` independent streams of one seed (any int64); int64[count], the state."""
    streams = np.zeros(count, np.int64)
    _start(streams, seed)
    return streams


def exponential_table() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Quantiles of the exponential distribution of mean 1: int64[256], -ln(1 - k/256) * 2**16."""
    with localcontext() as context:
        context.prec = 40
        quantiles = [-(1 - Decimal(k) / BUCKETS).ln() for k in range(BUCKETS)]
        return np.array([int((q * 65536).to_integral_value()) for q in quantiles], np.int64)


@kernel
def draw(streams, stream):
    """64 random bits, as int64. About 2 ns."""
    word = add_wrap(streams[stream], STEP)
    streams[stream] = word
    return mix(word)


@kernel
def below(streams, stream, n):
    """A whole number, 0 <= it < n, each equally likely; 0 < n < 2**31.

    Lemire: Fast Random Integer Generation in an Interval, 2019. The loop ends at its first turn
    unless the draw fell in the part that would favour some numbers (a chance below n / 2**32).
    """
    for _ in range(64):
        product = shift_right(draw(streams, stream), 32) * n
        low = product & LOW_WORD
        if low >= n or low >= (LOW_WORD + 1 - n) % n:
            return product >> 32
    return 0


@kernel
def exponential(streams, stream, table, mean):
    """An exponential draw of that mean, rounded; 0 <= mean <= 2**40, so int64 cannot overflow.

    One bucket of 256, linear inside it; the last bucket is the tail, where the distribution
    begins anew (it has no memory).
    """
    scaled = 0
    for _ in range(TAILS_MAX):
        word = draw(streams, stream)
        bucket = word & (BUCKETS - 1)
        low = table[bucket]
        scaled += low
        if bucket < BUCKETS - 1:
            scaled += ((table[bucket + 1] - low) * shift_right(word, 48)) >> 16
            break
    return (mean * scaled + 32768) >> 16


@kernel
def _start(streams, seed):
    for i in range(streams.shape[0]):
        streams[i] = mix(add_wrap(mix(add_wrap(seed, STEP)), i))
