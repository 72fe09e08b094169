"""How many different values a window has, in 1 KiB: HyperLogLog.

A value's hash picks one of 1 024 registers by its highest bits; a register keeps the longest run of
zeros that the rest began with, plus one. Two panes join register by register, by the larger.

    error   3.3 % (one standard deviation); while fewer than 2 000 values, less: registers that are
            empty are counted then, and m * (H(m) - H(empty)) values leave so many empty
    order   changes nothing, nor do panes; the count is one integer, of sums of powers of two

Source: Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog", 2007.
"""

from onetape.compiled.bits import bit_length, mix, shift_right
from onetape.compiled.kernel import kernel

REGISTERS = 1024
REST_BITS = 54
ALPHA = 0.7213 / (1.0 + 1.079 / 1024.0)


@kernel
def distinct_add(registers, value):
    """Note one value: any 64 bits. registers uint8[REGISTERS], zeros before the first."""
    hashed = mix(mix(value) ^ 0x2545F4914F6CDD1D)
    at = shift_right(hashed, REST_BITS)
    zeros = REST_BITS + 1 - bit_length(hashed & ((1 << REST_BITS) - 1))
    if zeros > registers[at]:
        registers[at] = zeros


@kernel
def distinct_merge(registers, others):
    """Note what `others` have noted too."""
    for i in range(REGISTERS):
        if others[i] > registers[i]:
            registers[i] = others[i]


@kernel
def distinct_count(registers):
    """The estimate, a whole number."""
    parts, empty = 0.0, 0
    for i in range(REGISTERS):
        parts += 1.0 / float(1 << int(registers[i]))
        if registers[i] == 0:
            empty += 1
    made = ALPHA * 1024.0 * 1024.0 / parts
    if made > 2_560.0 or empty == 0:
        return int(made + 0.5)
    made = 0.0
    for i in range(empty + 1, REGISTERS + 1):
        made += 1024.0 / float(i)
    return int(made + 0.5)
