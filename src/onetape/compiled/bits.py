"""Arithmetic on 64-bit words that wraps or shifts as the machine does, also in plain Python."""

from onetape.compiled.kernel import intrinsic, kernel

_WORD = 1 << 64


def _signed(word: int) -> int:
    word %= _WORD
    return word - _WORD if word >= _WORD >> 1 else word


@intrinsic
def mul_wrap(a: int, b: int) -> int:
    """a * b modulo 2**64, as int64."""
    return _signed(int(a) * int(b))


@intrinsic
def add_wrap(a: int, b: int) -> int:
    """a + b modulo 2**64, as int64."""
    return _signed(int(a) + int(b))


@intrinsic
def shift_right(word: int, count: int) -> int:
    """Logical shift: zeros come in from the left. 0 <= count < 64."""
    return _signed((int(word) % _WORD) >> int(count))


@intrinsic
def bit_length(word: int) -> int:
    """Bits needed to write the word as an unsigned number; 0 for 0."""
    return (int(word) % _WORD).bit_length()


@kernel
def mix(word):
    """Scatter a 64-bit word over all its bits (finaliser of Steele et al., SplittableRandom)."""
    word = mul_wrap(word ^ shift_right(word, 30), -4658895280553007687)
    word = mul_wrap(word ^ shift_right(word, 27), -7723592293110705685)
    return word ^ shift_right(word, 31)
