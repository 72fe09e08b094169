"""Quantiles of a window in 2 KiB: counts of values in buckets that grow coarser as they must.

A whole number has a *place* on a line on which each doubling is equally long (2**32 places): the
line of its logarithm, straight between powers of two. A bucket is 2**shift neighbouring places, a
sketch counts in 512 buckets beside one another, and `shift` is the least with which the smallest
and the largest value fit. So

    error   at most half a bucket: log2(largest / smallest) / 511 of the value, and exact where that
            is less than the step of whole numbers. 1 % of spread: 3e-5; 1 000 times: 2 %
    merge   the sketch of two panes is, bucket by bucket, that of all their rows: `shift` depends on
            the values alone, so order, panes and overlap change no answer
    cost    some 3 ns a row, 512 additions a pane merged, whatever the rows

With values of both signs the line goes through zero: log2 of the largest of each sign, added.
The asked share q is the value of rank floor(q * (rows - 1)) of the sorted rows, as in DDSketch.

Source: Masson, Rim and Lee, "DDSketch", VLDB 2019; Epicoco et al., "UDDSketch", 2020 (collapsing).
"""

from onetape.compiled.bits import bit_length, shift_right
from onetape.compiled.kernel import kernel
from onetape.records import UNSET

CELLS = 512
FINE = 32  # 2**FINE places a doubling
ROWS, LOW, HIGH, BASE, SHIFT, LEAST, GREATEST = range(7)
WORDS = 7
ROWS_MAX = 2**32 - 1
TOO_MANY = "quantile(): more than 2**32 - 1 rows in one window"
MOST = 2**63 - 1


@kernel
def sketch_add(span, cells, value):
    """Count one value. span int64[WORDS], cells uint32[CELLS]: zeros before the first."""
    place = place_of(value)
    if span[ROWS] == 0:
        span[LOW] = span[HIGH] = place
        span[LEAST] = span[GREATEST] = value
        span[BASE] = place - CELLS // 2
        span[SHIFT] = 0
    elif not span[LEAST] <= value <= span[GREATEST]:
        _widen(span, cells, min(span[LOW], place), max(span[HIGH], place))
        span[LEAST] = min(span[LEAST], value)
        span[GREATEST] = max(span[GREATEST], value)
    span[ROWS] += 1
    if span[ROWS] > ROWS_MAX:
        raise OverflowError(TOO_MANY)
    cells[(place >> span[SHIFT]) - span[BASE]] += 1


@kernel
def sketch_merge(span, cells, other, others):
    """Count what `other` has counted too."""
    if other[ROWS] == 0:
        return
    if span[ROWS] == 0:
        for i in range(WORDS):
            span[i] = other[i]
        for i in range(CELLS):
            cells[i] = others[i]
        return
    _widen(span, cells, min(span[LOW], other[LOW]), max(span[HIGH], other[HIGH]))
    span[LEAST] = min(span[LEAST], other[LEAST])
    span[GREATEST] = max(span[GREATEST], other[GREATEST])
    span[ROWS] += other[ROWS]
    if span[ROWS] > ROWS_MAX:
        raise OverflowError(TOO_MANY)
    coarser = span[SHIFT] - other[SHIFT]
    first = (other[LOW] >> other[SHIFT]) - other[BASE]
    last = (other[HIGH] >> other[SHIFT]) - other[BASE]
    for i in range(first, last + 1):
        cells[((other[BASE] + i) >> coarser) - span[BASE]] += others[i]


@kernel
def sketch_quantile(span, cells, share):
    """The value of rank floor(share * (rows - 1)), but for half a bucket; UNSET of no rows."""
    if span[ROWS] == 0:
        return UNSET
    rank = int(share * float(span[ROWS] - 1))
    if rank == 0:
        return int(span[LEAST])
    if rank >= span[ROWS] - 1:
        return int(span[GREATEST])
    bucket, seen = (span[LOW] >> span[SHIFT]) - 1, 0
    while seen <= rank:
        bucket += 1
        seen += cells[bucket - span[BASE]]
    low = max(first_from(bucket << span[SHIFT]), span[LEAST])
    high = min(first_from((bucket + 1) << span[SHIFT]) - 1, span[GREATEST])
    return int(low + (high - low) // 2)


@kernel
def place_of(value):
    """Where a whole number stands on the line; larger numbers never before smaller ones."""
    size = abs(value)
    if size == 0:
        return 0
    bits = bit_length(size)
    if bits > FINE:
        lead = shift_right(size, bits - 1 - FINE)
    else:
        lead = size << (FINE + 1 - bits)
    place = ((bits - 1) << FINE) + lead
    return place if value > 0 else -place


@kernel
def first_from(place):
    """The smallest whole number that does not stand before `place`."""
    if place >= 0:
        return _size_from(place)
    return 1 - _size_from(1 - place) if (1 - place) >> FINE < 64 else -MOST


@kernel
def _size_from(place):
    if place <= 1 << FINE:
        return 1 if place > 0 else 0
    bits = place >> FINE
    lead = (1 << FINE) + (place & ((1 << FINE) - 1))
    if bits > 63:
        return MOST
    if bits > FINE:
        return lead << (bits - 1 - FINE)
    return -((-lead) >> (FINE + 1 - bits))


@kernel
def _widen(span, cells, low, high):
    """Have room for places `low` ... `high`: coarser buckets if need be, then others first."""
    shift, coarser = span[SHIFT], 0
    while (high >> (shift + coarser)) - (low >> (shift + coarser)) >= CELLS:
        coarser += 1
    base = span[BASE]
    if coarser > 0:
        for i in range(CELLS):  # a bucket never moves up, so nothing is counted twice
            rows = cells[i]
            cells[i] = 0
            cells[((base + i) >> coarser) - (base >> coarser)] += rows
        base >>= coarser
        shift += coarser
    first, last = low >> shift, high >> shift
    if first < base or last >= base + CELLS:
        up = base - (first - (CELLS - 1 - (last - first)) // 2)
        if up > 0:
            for i in range(CELLS - 1, up - 1, -1):
                cells[i] = cells[i - up]
            for i in range(min(up, CELLS)):
                cells[i] = 0
        else:
            for i in range(CELLS + up):
                cells[i] = cells[i - up]
            for i in range(max(CELLS + up, 0), CELLS):
                cells[i] = 0
        base -= up
    span[LOW], span[HIGH], span[BASE], span[SHIFT] = low, high, base, shift
