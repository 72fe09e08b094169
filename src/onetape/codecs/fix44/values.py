"""Values of FIX fields: whole numbers, decimals, times, texts as 64-bit words. No byte is read
that is not between `at` and `end`, whatever stands there."""

from onetape.compiled.bits import mul_wrap
from onetape.compiled.kernel import kernel

BAD = -(2**63)  # no value: the text is not of that form
DIGITS_MAX = 18
SECOND_NS = 1_000_000_000
YEAR_MAX = 2115  # of what 62 bits of ns hold, as times have here
HASHED = -(2**63)  # the top bit, which no ASCII letter sets

_ZERO, _NINE, _DOT, _MINUS, _DASH, _COLON, _SPACE = b"09.--: "
_FNV_BASIS, _FNV_PRIME = -3750763034362895579, 1099511628211  # FNV-1a, 64 bits
_CRC_POLYNOMIAL = 0xEDB88320  # of zlib


@kernel
def number(buffer, at, end):
    """The digits buffer[at:end] as a whole number, or BAD."""
    if end <= at or end - at > DIGITS_MAX:
        return BAD
    value = 0
    for i in range(at, end):
        digit = int(buffer[i]) - _ZERO
        if digit < 0 or digit > 9:
            return BAD
        value = 10 * value + digit
    return value


@kernel
def decimal(buffer, at, end, places):
    """A decimal number in units of 10**-places, or BAD; digits behind these must be zeros."""
    sign = 1
    if at < end and buffer[at] == _MINUS:
        sign, at = -1, at + 1
    dot = at
    while dot < end and buffer[dot] != _DOT:
        dot += 1
    last = min(end, dot + 1 + places)
    if dot - at + places > DIGITS_MAX or (dot == at and last <= dot + 1):
        return BAD
    value = 0
    for i in range(at, last):
        if i != dot:
            digit = int(buffer[i]) - _ZERO
            if digit < 0 or digit > 9:
                return BAD
            value = 10 * value + digit
    for i in range(last, end):
        if buffer[i] != _ZERO:
            return BAD
    for _ in range(places - max(last - dot - 1, 0)):
        value *= 10
    return sign * value


@kernel
def time_ns(buffer, at, end):
    """YYYYMMDD-HH:MM:SS with up to nine more digits behind a point: UTC ns since 1970, or BAD."""
    if end - at < 17 or buffer[at + 8] != _DASH:
        return BAD
    if buffer[at + 11] != _COLON or buffer[at + 14] != _COLON:
        return BAD
    year, month = number(buffer, at, at + 4), number(buffer, at + 4, at + 6)
    day, hour = number(buffer, at + 6, at + 8), number(buffer, at + 9, at + 11)
    minute, second = number(buffer, at + 12, at + 14), number(buffer, at + 15, at + 17)
    if min(year, month, day, hour, minute, second) < 0:
        return BAD
    if year < 1970 or year > YEAR_MAX or month < 1 or month > 12 or hour > 23 or minute > 59:
        return BAD
    if day < 1 or day > _days_in(year, month) or second > 60:  # 60: a leap second
        return BAD
    part = 0
    if end > at + 17:
        digits = end - at - 18
        if buffer[at + 17] != _DOT or digits > 9:
            return BAD
        part = number(buffer, at + 18, end)
        if part < 0:
            return BAD
        for _ in range(9 - digits):
            part *= 10
    seconds = ((_days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    return seconds * SECOND_NS + part


@kernel
def _days_in(year, month):
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 + ((month + month // 8) & 1)


@kernel
def _days_since_1970(year, month, day):
    """Years begin in March here, so that a leap day is the last of its year."""
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return (
        year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    )


@kernel
def text_word(buffer, at, end):
    """A text as a word: up to eight bytes as they are, spaces behind; of a longer one its hash."""
    if end - at > 8:
        return text_hash(buffer, at, end)
    word = 0
    for i in range(8):
        letter = int(buffer[at + i]) if at + i < end else _SPACE
        word = mul_wrap(word, 256) | letter
    return word


@kernel
def text_hash(buffer, at, end):
    """FNV-1a of a text, the top bit set."""
    word = _FNV_BASIS
    for i in range(at, end):
        word = mul_wrap(word ^ int(buffer[i]), _FNV_PRIME)
    return word | HASHED


@kernel
def id_word(buffer, at, end):
    """A number is itself; another text is its hash."""
    value = number(buffer, at, end)
    return text_hash(buffer, at, end) if value == BAD else value


@kernel
def name_id(buffer, at, end):
    """The CRC-32 of a name, as `market.instruments.id_of` has it."""
    check = 0xFFFFFFFF
    for i in range(at, end):
        check ^= int(buffer[i])
        for _ in range(8):
            check = (check >> 1) ^ (_CRC_POLYNOMIAL if check & 1 else 0)
    return check ^ 0xFFFFFFFF
