"""One ITCH 5.0 message, every field, in plain Python: for tools, tests and the curious.

    >>> body = bytes.fromhex("44 0ab1 0000 1f1acf4c4eb7 0000000001665caa")
    >>> m = decode_message(body)
    >>> m.order_reference
    23485610
    >>> encode_message(m) == body
    True

A message is a named tuple made from the table in `spec.py`: numbers, prices and times are ints
(prices with 4 or 8 implied decimals, times in ns since midnight), alpha fields are bytes as they
were sent, padding included, so that encoding gives back every byte. Cost: microseconds; the hot
path is `decode.py`.
"""

from collections import namedtuple
from typing import Any

from onetape.codecs.itch50.spec import ALPHA, BY_LETTER, MESSAGES
from onetape.records import PeerError

# The named tuple of each message type, by its letter: MESSAGE_CLASSES["A"] is AddOrder.
MESSAGE_CLASSES: dict[str, Any] = {
    m.letter: namedtuple(m.name, [f.name for f in m.fields]) for m in MESSAGES
}


def decode_message(body: bytes) -> Any:
    """The message in a body (no length prefix). PeerError when its type or length is wrong."""
    found = BY_LETTER.get(chr(body[0])) if body else None
    if found is None:
        raise PeerError(
            f"ITCH message type was {body[:1]!r} ({len(body)} bytes); "
            f"expected one of {''.join(BY_LETTER)}"
        )
    if len(body) != found.size_bytes:
        raise PeerError(
            f"ITCH message {found.letter} ({found.name}) was {len(body)} bytes long; "
            f"expected {found.size_bytes}"
        )
    values: list[int | bytes] = []
    for field in found.fields:
        raw = bytes(body[field.offset : field.offset + field.size_bytes])
        values.append(raw if field.kind == ALPHA else int.from_bytes(raw, "big"))
    return MESSAGE_CLASSES[found.letter]._make(values)


def encode_message(message: Any) -> bytes:
    """The body of a message. ValueError names a field whose value does not fit."""
    of = BY_LETTER.get(message.message_type.decode("latin-1"))
    if of is None or type(message) is not MESSAGE_CLASSES[of.letter]:
        raise ValueError(f"{type(message).__name__}.message_type was {message.message_type!r}")
    parts = []
    for field, value in zip(of.fields, message):
        where = f"{of.name}.{field.name}"
        if field.kind == ALPHA:
            if len(value) != field.size_bytes:
                raise ValueError(f"{where} was {value!r}; expected {field.size_bytes} bytes")
            parts.append(bytes(value))
        else:
            if not 0 <= value < 1 << 8 * field.size_bytes:
                raise ValueError(
                    f"{where} was {value}; expected 0 to {(1 << 8 * field.size_bytes) - 1}"
                )
            parts.append(int(value).to_bytes(field.size_bytes, "big"))
    return b"".join(parts)
