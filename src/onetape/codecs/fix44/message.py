"""One FIX message, every field, in plain Python: for tools, tests, writing, and the curious.

    >>> m = decode_message(b"8=FIX.4.4\\x019=5\\x0135=0\\x0110=163\\x01")
    >>> m.fields
    ((35, b'0'),)
    >>> encode_message(m)
    b'8=FIX.4.4\\x019=5\\x0135=0\\x0110=163\\x01'

Fields keep their order and bytes, so encoding gives back what was decoded. Cost: microseconds; the
hot path is `scan.py` and `decode.py`.
"""

from typing import NamedTuple

from onetape.codecs.fix44.spec import DATA_OF, MESSAGE_BYTES_MAX
from onetape.records import PeerError

SOH = b"\x01"


class FixMessage(NamedTuple):
    """BeginString, and the fields between BodyLength and CheckSum; digits of BodyLength, if more
    than it needs."""

    begin: bytes
    fields: tuple[tuple[int, bytes], ...]
    length_digits: int = 0

    def get(self, tag: int) -> bytes | None:
        """The first value of a tag."""
        return next((value for known, value in self.fields if known == tag), None)


def encode_message(message: FixMessage) -> bytes:
    """The bytes of a message, BodyLength and CheckSum made. ValueError: SOH inside a value."""
    raw = 0
    for tag, value in message.fields:
        if tag != raw and SOH in value:
            raise ValueError(f"field {tag} was {value!r}; only raw data may hold a SOH")
        raw = DATA_OF.get(tag, 0)
    body = b"".join(b"%d=%s\x01" % field for field in message.fields)
    digits = str(len(body)).zfill(message.length_digits).encode()
    whole = b"8=%s\x019=%s\x01%s" % (message.begin, digits, body)
    return whole + b"10=%03d\x01" % (sum(whole) & 255)


def decode_message(data: bytes) -> FixMessage:
    """The message that is exactly these bytes. PeerError says what is wrong with them."""
    begin, _, rest = data.partition(SOH)
    length, soh, rest = rest.partition(SOH)
    if not begin.startswith(b"8=FIX") or not length.startswith(b"9=") or not soh:
        raise PeerError(f"FIX message began with {data[:24]!r}; expected 8=FIX..., then 9=")
    digits = length[2:]
    body, trailer = rest[:-7], rest[-7:]
    if not digits.isdigit() or int(digits) != len(body) or len(body) > MESSAGE_BYTES_MAX:
        raise PeerError(f"BodyLength was {digits!r}; there are {len(body)} bytes up to CheckSum")
    check = sum(data[:-7]) & 255
    if trailer != b"10=%03d\x01" % check:
        raise PeerError(f"CheckSum was {trailer!r}; expected {check:03d}")
    fields, at, raw = [], 0, (0, 0)
    while at < len(body):
        tag, equals, _ = body[at : at + 7].partition(b"=")
        if not equals or not tag.isdigit():
            raise PeerError(f"field at byte {at} of the body was {body[at : at + 12]!r}")
        number, value = int(tag), at + len(tag) + 1
        end = value + raw[1] if raw[0] else body.find(SOH, value)
        if (raw[0] and number != raw[0]) or body[end : end + 1] != SOH or end == value:
            raise PeerError(f"field {number} at byte {at} of the body is not whole, or empty")
        fields.append((number, body[value:end]))
        raw = (0, 0)
        if number in DATA_OF:
            if not body[value:end].isdigit():
                raise PeerError(f"field {number} was {body[value:end]!r}; expected a length")
            raw = (DATA_OF[number], int(body[value:end]))
        at = end + 1
    if raw[0]:
        raise PeerError(f"field {raw[0]} is missing behind its length")
    needed = len(str(len(body)))
    return FixMessage(begin[2:], tuple(fields), len(digits) if len(digits) > needed else 0)
