"""CRC-32C (Castagnoli): the checksum of frames, as one instruction a word where the host has it.

Three bodies give the same numbers: the processor's instruction (7 GB/s), tables of eight bytes at
a time (about 2 GB/s), and plain Python. It finds every error of one, two or three bits in a frame
and every burst up to 32 bits; it is no defence against someone who means to deceive (that is what
`audit` is for).

Source: RFC 3720, appendix B.4 (polynomial 0x1EDC6F41, reflected); slicing-by-8 after Kounavis and
Berry, A Systematic Approach to Building High Performance Software-based CRC Generators, 2005.
"""

from typing import Any

import numpy as np

from onetape.compiled.bits import shift_right
from onetape.compiled.kernel import Kernel, kernel
from onetape.compiled.memory import load_i64le

ONES = 0xFFFFFFFF
REFLECTED = 0x82F63B78


def _make_tables() -> Any:
    """int64[8 * 256]: table k says what a byte does to the checksum k bytes later."""
    tables = np.zeros(8 * 256, np.int64)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (REFLECTED if crc & 1 else 0)
        tables[byte] = crc
    for at in range(256, 8 * 256):
        before = tables[at - 256]
        tables[at] = (before >> 8) ^ tables[before & 255]
    return tables


TABLES = _make_tables()
_BYTE_TABLE = [int(crc) for crc in TABLES[:256]]


def _machine_form() -> Any:
    from onetape.compiled import intrinsics

    chosen = crc32c_instruction if intrinsics.crc_instruction() else crc32c_tables
    return chosen.dispatcher


def _best_of_host(twin: Any) -> Any:
    return Kernel(twin, load=_machine_form)


@_best_of_host
def crc32c(crc: int, buffer: Any, at: int, count: int) -> int:
    """Checksum of buffer[at:at + count], continuing from `crc` (0 at the start); 0 to 2**32 - 1.

    buffer  uint8[n]; the caller checks that the range is inside
    """
    if at < 0 or at + max(count, 0) > len(buffer):
        raise IndexError(f"{count} bytes at {at} of a buffer of {len(buffer)}")
    crc = int(crc) ^ ONES
    for byte in bytes(buffer[at : at + max(count, 0)]):
        crc = (crc >> 8) ^ _BYTE_TABLE[(crc ^ byte) & 255]
    return crc ^ ONES


def _no_twin(_crc: int, _data: int) -> int:
    raise NotImplementedError("the instruction has no Python form; call crc32c")


crc_word = Kernel(_no_twin, intrinsic="crc_word")
crc_byte = Kernel(_no_twin, intrinsic="crc_byte")


@kernel(twin=crc32c.twin)
def crc32c_instruction(crc, buffer, at, count):
    """`crc32c` by the processor's own instruction."""
    crc ^= ONES
    words_end = at + (count & ~7)
    for i in range(at, words_end, 8):
        crc = crc_word(crc, load_i64le(buffer, i))
    for i in range(words_end, at + count):
        crc = crc_byte(crc, int(buffer[i]))
    return crc ^ ONES


@kernel
def crc32c_tables(crc, buffer, at, count):
    """`crc32c` for any processor: eight bytes a step, each through its own table."""
    crc ^= ONES
    words_end = at + (count & ~7)
    for i in range(at, words_end, 8):
        word = load_i64le(buffer, i)
        low = crc ^ (word & ONES)
        high = shift_right(word, 32)
        crc = (
            TABLES[1792 + (low & 255)]
            ^ TABLES[1536 + ((low >> 8) & 255)]
            ^ TABLES[1280 + ((low >> 16) & 255)]
            ^ TABLES[1024 + (low >> 24)]
            ^ TABLES[768 + (high & 255)]
            ^ TABLES[512 + ((high >> 8) & 255)]
            ^ TABLES[256 + ((high >> 16) & 255)]
            ^ TABLES[high >> 24]
        )
    for i in range(words_end, at + count):
        crc = (crc >> 8) ^ TABLES[(crc ^ int(buffer[i])) & 255]
    return crc ^ ONES
