"""Where a FIX message begins and ends, and where its fields stand. Every length is checked.

    8=FIX.4.4 | 9=<bytes from behind here ...> | 35=8 | 49=... | ... | <... to here> 10=<sum> |

with SOH (1) for |. A message whose BodyLength or CheckSum is wrong is none: FIX says to pass over
it, its number will be found missing. Bytes between messages that hold no SOH are no message (the
line ends and time stamps of logs).
"""

from onetape.codecs.feed import BAD_CHECKSUM, BAD_FIELD, BAD_PACKET, TRUNCATED
from onetape.codecs.fix44.spec import (
    DATA_BEHIND,
    KNOWN_TAGS,
    MESSAGE_BYTES_MAX,
    SLOT_OF,
    SOH,
    SPOT_BYTES,
    TAG_MAX,
    TAGS,
)
from onetape.codecs.fix44.values import number
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le, store_i64le

_EIGHT, _NINE, _ONE, _ZERO, _EQUALS = b"8910="
_F, _I, _X = b"FIX"
BEGIN_BYTES_MAX = 16  # of "8=FIX.4.4|"
TRAILER_BYTES = 7  # "10=123|"
SPOTS_BYTES = SPOT_BYTES * len(TAGS)


@kernel
def begins(buffer, at, end):
    """Does "8=FIX" stand at buffer[at:end]?"""
    return (
        at + 5 <= end
        and buffer[at] == _EIGHT
        and buffer[at + 1] == _EQUALS
        and buffer[at + 2] == _F
        and buffer[at + 3] == _I
        and buffer[at + 4] == _X
    )


@kernel
def find_begin(buffer, at, end):
    """(where the next "8=FIX" stands, or `end`; 1 if a SOH was passed over on the way)."""
    passed = 0
    while at < end:
        if begins(buffer, at, end):
            return at, passed
        if buffer[at] == SOH:
            passed = 1
        at += 1
    return end, passed


@kernel
def measure(buffer, at, end):
    """The message at buffer[at:end]: (first byte of its body, the one behind, reason or -1)."""
    body = at
    while body < end and body - at < BEGIN_BYTES_MAX and buffer[body] != SOH:
        body += 1
    if body >= end:
        return at, at, TRUNCATED
    if not begins(buffer, at, end) or buffer[body] != SOH:
        return at, at, BAD_PACKET
    digits = body + 3  # behind SOH, "9="
    if digits > end:
        return at, at, TRUNCATED
    if buffer[body + 1] != _NINE or buffer[body + 2] != _EQUALS:
        return at, at, BAD_PACKET
    body = digits
    while body < end and body - digits < 8 and buffer[body] != SOH:
        body += 1
    if body >= end:
        return at, at, TRUNCATED
    length = number(buffer, digits, body)
    if length <= 0 or length > MESSAGE_BYTES_MAX or buffer[body] != SOH:
        return at, at, BAD_PACKET
    body += 1
    trailer = body + length
    if trailer + TRAILER_BYTES > end:
        return at, at, TRUNCATED
    if buffer[trailer - 1] != SOH or buffer[trailer + 6] != SOH:
        return at, at, BAD_PACKET
    if buffer[trailer] != _ONE or buffer[trailer + 1] != _ZERO or buffer[trailer + 2] != _EQUALS:
        return at, at, BAD_PACKET
    check = 0
    for i in range(at, trailer):
        check += int(buffer[i])
    if number(buffer, trailer + 3, trailer + 6) != check & 255:
        return at, at, BAD_CHECKSUM
    return body, trailer, -1


@kernel
def note_fields(buffer, at, end, spots):
    """Where the values of the tags in TAGS stand in the body buffer[at:end]; a reason, or -1.

    spots  u8[SPOTS_BYTES], overwritten: two words a slot, 0 and 0 where there is no such field
    """
    for i in range(0, SPOTS_BYTES, 8):
        store_i64le(spots, i, 0)
    raw, raw_bytes = 0, 0  # the tag that must come next, of raw data, and how long its value is
    for _ in range((end - at) // 3):
        if at >= end:
            break
        begin = at
        tag = 0
        while at < end and at - begin < 6 and buffer[at] != _EQUALS:
            digit = int(buffer[at]) - _ZERO
            if digit < 0 or digit > 9:
                return BAD_FIELD
            tag = 10 * tag + digit
            at += 1
        if tag == 0 or tag > TAG_MAX or at >= end or buffer[at] != _EQUALS:
            return BAD_FIELD
        at += 1
        value = at
        if raw != 0:
            if tag != raw or raw_bytes > end - at - 1:
                return BAD_FIELD
            at += raw_bytes
            raw = 0
        else:
            while at < end and buffer[at] != SOH:
                at += 1
        if at >= end or at == value or buffer[at] != SOH:
            return BAD_FIELD
        if tag < KNOWN_TAGS:
            slot = SLOT_OF[tag]
            if slot >= 0:
                if load_i64le(spots, slot * SPOT_BYTES) != 0:
                    return BAD_FIELD
                store_i64le(spots, slot * SPOT_BYTES, value)
                store_i64le(spots, slot * SPOT_BYTES + 8, at)
            if DATA_BEHIND[tag] != 0:
                raw = DATA_BEHIND[tag]
                raw_bytes = number(buffer, value, at)
                if raw_bytes <= 0:
                    return BAD_FIELD
        at += 1
    return -1 if at == end and raw == 0 else BAD_FIELD
