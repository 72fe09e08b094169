"""Means that time weighs: `c.x.twap()` and `c.x.ema("10s")`. Floats, the same on every platform.

twap    each value counts as long as it is in force: until the next row, the last one until the
        window's end. What is in force at the window's start came before it
ema     each row counts half as much as one that is a half-life younger; rows before the window
        count too. So it is sum(w * x) / sum(w), w = 2 ** -(age / half-life)

Only sums, products and quotients of doubles: no `exp` of a C library, which none promises to the
last bit.
"""

from onetape.compiled.kernel import kernel
from onetape.records import UNSET

LN2_16 = 0.6931471805599453 / 16.0
ROOTS = (  # 2 ** (-i / 16)
    1.0, 0.9576032806985737, 0.9170040432046712, 0.8781260801866497,
    0.8408964152537145, 0.8052451659746271, 0.7711054127039704, 0.7384130729697496,
    0.7071067811865476, 0.6771277734684463, 0.6484197773255048, 0.620928906036742,
    0.5946035575013605, 0.5693943173783458, 0.5452538663326288, 0.5221368912137069,
)  # fmt: skip


@kernel
def half_lives(age_ns, half_life_ns):
    """2 ** -(age / half-life), for an age of 0 or more; within 4e-16 of it."""
    steps = 16.0 * float(age_ns) / float(half_life_ns)
    if steps >= 17_600.0:  # below the smallest double
        return 0.0
    whole = int(steps)
    x = -LN2_16 * (steps - float(whole))
    part = 1.0 + x / 7.0
    for divisor in (6.0, 5.0, 4.0, 3.0, 2.0, 1.0):
        part = 1.0 + x / divisor * part
    made = part * ROOTS[whole & 15]
    halvings = whole >> 4
    while halvings >= 16:
        made *= 1.52587890625e-05
        halvings -= 16
    return made / float(1 << halvings)


@kernel
def twap_of(area, first_ns, last_ns, last, is_before, before, start_ns, end_ns):
    """The mean of a window of which `area` lies between its first and its last row.

    is_before  1: the value `before` was in force when the window began; else it counts from its
               first row on
    """
    if first_ns == UNSET:
        return before if is_before == 1 else float("nan")
    since_ns = first_ns
    if is_before == 1:
        area += before * float(first_ns - start_ns)
        since_ns = start_ns
    if end_ns <= since_ns:  # a batch of one moment
        return last
    return (area + last * float(end_ns - last_ns)) / float(end_ns - since_ns)


@kernel
def ema_of(sum_, weight, at_ns, before, before_weight, before_ns, half_life_ns):
    """The mean of a window's rows (as of at_ns) and of those before it."""
    if before_weight > 0.0:
        if weight == 0.0:
            return before / before_weight
        part = half_lives(max(at_ns - before_ns, 0), half_life_ns)
        sum_ += before * part
        weight += before_weight * part
    return sum_ / weight if weight > 0.0 else float("nan")
