"""How many messages a payload of a feed holds, without reading them: for those who only move it."""

from typing import Any

from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.codecs.numbered import BASE_BYTES, PREFIX_BYTES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_u16be

MOLD_COUNT_AT, MOLD_HEADER_BYTES, MOLD_END = 18, 20, 0xFFFF  # MoldUDP64: session, sequence, count
FIX_CHECKSUM = b"\x0110="  # the last field of a message


def messages_in(feed: str, framing: str, payload: Any) -> int:
    """Of a payload as u8 array. What it holds twice is counted twice."""
    if feed == "fix":
        return payload.tobytes().count(FIX_CHECKSUM)
    if framing == "moldudp64":
        count = int(load_u16be(payload, MOLD_COUNT_AT)) if len(payload) >= MOLD_HEADER_BYTES else 0
        return 0 if count == MOLD_END else count
    if framing == "numbered":
        return int(numbered(payload, BASE_BYTES, len(payload)))
    return int(prefixed(payload, 0, len(payload)))


@kernel
def prefixed(buffer, at, end):
    """Messages behind their lengths; a length of zero says nothing, and the type tells it."""
    count = 0
    while at + 2 < end:
        length = load_u16be(buffer, at)
        at += 2 + (length if length > 0 else max(BODY_BYTES[buffer[at + 2]], 1))
        count += 1
    return count


@kernel
def numbered(buffer, at, end):
    """Messages of a feed that was divided."""
    count = 0
    while at + PREFIX_BYTES <= end:
        at += PREFIX_BYTES + load_u16be(buffer, at)
        count += 1
    return count
