"""How many bytes compressed ones stand for, before there is room made for them.

The library that decompresses takes the size from its caller: of bytes that stand for fewer it
fills a part, and what the memory held before is behind it. So the size is read from the bytes.

Sources: LZ4 block format description (github.com/lz4/lz4, doc/lz4_Block_format.md); RFC 8878,
section 3.1.1.1 (frame header of zstd).
"""

from typing import Any

from onetape.compiled.kernel import kernel

UNKNOWN = -1
MORE = 255  # a length goes on behind such a byte
MATCH_MIN, OFFSET_BYTES = 4, 2
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@kernel
def lz4_size(stored):
    """Of a block of LZ4 (u8[n]); UNKNOWN: it ends where it must not. O(sequences)."""
    at, size, count = 0, 0, len(stored)
    while at < count:
        token = int(stored[at])
        at += 1
        literals = token >> 4
        is_long = literals == 15
        while is_long and at < count:
            is_long = stored[at] == MORE
            literals += int(stored[at])
            at += 1
        at += literals
        size += literals
        if at == count and not is_long:
            return size
        at += OFFSET_BYTES
        if at > count:
            return UNKNOWN
        matched = token & 15
        is_long = matched == 15
        while is_long and at < count:
            is_long = stored[at] == MORE
            matched += int(stored[at])
            at += 1
        size += matched + MATCH_MIN
    return UNKNOWN


def zstd_size(stored: Any) -> int:
    """Of a frame of zstd (u8[n]), as its header says; UNKNOWN: it does not."""
    head = bytes(stored[:18])
    if len(head) < 6 or head[:4] != ZSTD_MAGIC:
        return UNKNOWN
    of_size, is_single, of_dictionary = head[4] >> 6, head[4] >> 5 & 1, head[4] & 3
    count = (is_single, 2, 4, 8)[of_size]
    at = 5 + (1 - is_single) + (0, 1, 2, 4)[of_dictionary]
    if not count or at + count > len(head):
        return UNKNOWN
    return int.from_bytes(head[at : at + count], "little") + (256 if of_size == 1 else 0)
