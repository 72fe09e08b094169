"""What an ITCH file is, by its bytes and its name, and where to cut it between messages.

Pure: `onetape.connect.itch_file` opens the file and calls these.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import numpy as np

from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.codecs.moldudp64 import END_OF_SESSION
from onetape.codecs.moldudp64 import HEADER_BYTES as MOLD_HEADER_BYTES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_u16be
from onetape.records import PeerError

CUTS_MAX = 4096  # chunks found in one call of the kernel
CHUNK_BYTES = 8192
DONE, PARTIAL, LOST = 0, 1, 2


def is_length_prefixed(head: bytes) -> bool:
    """Do these first bytes of a file begin with an ITCH message after its length, or after zero?"""
    if len(head) < 3:
        return False
    length, expected = int.from_bytes(head[:2], "big"), int(BODY_BYTES[head[2]])
    return expected > 0 and length in (0, expected)


def is_moldudp64(payload: bytes) -> bool:
    """Is this payload a MoldUDP64 packet: a printable session, and ITCH messages that fill it?"""
    if len(payload) < MOLD_HEADER_BYTES or not all(32 <= b <= 126 for b in payload[:10]):
        return False
    count = int.from_bytes(payload[18:20], "big")
    if count in (0, END_OF_SESSION):
        return len(payload) == MOLD_HEADER_BYTES
    return is_length_prefixed(payload[MOLD_HEADER_BYTES:])


def chunks(blocks: Iterable[Any], chunk_bytes: int = CHUNK_BYTES) -> Iterator[Any]:
    """Runs of whole messages, at most `chunk_bytes` long (or one message), from consecutive blocks.

    blocks    u8 arrays, the file in order; a message may lie across two or more of them
    yields    u8 arrays; views into the blocks where a run lies in one block

    A trailing partial message comes last, for the decoder to count. PeerError where a length of
    zero meets an unknown type: nobody knows where the next message begins.
    """
    cuts = np.zeros(CUTS_MAX, np.int64)
    carried = np.zeros(0, np.uint8)
    passed = 0  # bytes of the file before the block at hand
    for new in blocks:
        block = np.concatenate([carried, new]) if len(carried) else np.asarray(new).view()
        block.flags.writeable = False  # one type for the kernel, wherever the bytes come from
        at, state = 0, DONE
        while at < len(block) and state == DONE:
            found, state = cut(block, at, len(block), chunk_bytes, cuts)
            for end in cuts[:found].tolist():
                yield block[at:end]
                at = end
        if state == LOST:
            raise PeerError(
                f"ITCH file: at byte {passed + at} a length of 0 before type "
                f"{bytes(block[at + 2 : at + 3])!r}, which is unknown; the file is damaged there, "
                "nothing after it can be read"
            )
        carried = block[at:].copy()
        passed += at
    if len(carried):
        yield carried


@kernel
def cut(buffer, at, end, chunk_bytes, cuts):
    """Find where runs of whole messages end in buffer[at:end], the first one beginning at `at`.

    Returns (runs found, DONE | PARTIAL | LOST); cuts[:found] are their ends. DONE: `cuts` is full,
    or the buffer ends with a message. PARTIAL: it ends within one. LOST: see `chunks`.
    O(messages), 2 ns each.
    """
    found = 0
    start = at
    while at < end:
        if at + 3 > end:
            return _close(cuts, found, start, at), PARTIAL
        length = load_u16be(buffer, at)
        if length == 0:
            length = BODY_BYTES[buffer[at + 2]]
            if length == 0:
                return _close(cuts, found, start, at), LOST
        following = at + 2 + length
        if following > end:
            return _close(cuts, found, start, at), PARTIAL
        if following - start > chunk_bytes and at > start:
            cuts[found] = at
            found += 1
            start = at
            if found == cuts.shape[0]:
                return found, DONE
        at = following
    return _close(cuts, found, start, at), DONE


@kernel
def _close(cuts, found, start, at):
    if at == start:
        return found
    cuts[found] = at
    return found + 1


def trading_date(name: str) -> date | None:
    """The date in a file's name, as the public ITCH files write it, or None.

    01302019.NASDAQ_ITCH50 and S101819-v50.txt (month first), 20191230.BX_ITCH_50, ex20101224...
    """
    for digits in re.findall(r"(?<!\d)\d{8}(?!\d)", name):
        for year, month, day in (
            (digits[:4], digits[4:6], digits[6:]),
            (digits[4:], digits[:2], digits[2:4]),
        ):
            if "1990" <= year <= "2099" and (found := _date(year, month, day)):
                return found
    short = re.match(r"S(\d\d)(\d\d)(\d\d)-v", name)
    return _date("20" + short[3], short[1], short[2]) if short else None


def _date(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
