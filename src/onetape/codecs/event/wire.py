"""The header that clients of a schema registry put before a message.

byte 0  0
     1  the schema's id, u32 big-endian
     5  Protobuf only: which message of the schema, as zigzag varints: how many numbers follow,
        then those; one byte 0 is short for the first message
"""

import struct

from onetape.records import PeerError

HEADER = struct.Struct(">bI")
FIRST_MESSAGE = b"\0"


def header(schema_id: int | None, after: bytes = b"") -> bytes:
    """What to put before each message; nothing where there is no id."""
    return b"" if schema_id is None else HEADER.pack(0, schema_id) + after


def schema_id_of(message: bytes) -> int:
    """The id in its header. PeerError: there is none."""
    if len(message) < HEADER.size:
        raise PeerError(
            f"the message has {len(message)} bytes; expected a schema registry's header of "
            f"{HEADER.size} and a body"
        )
    magic, found = HEADER.unpack_from(message)
    if magic != 0:
        raise PeerError(
            f"the message begins with {magic & 255:#04x}; expected 0, as a schema registry's "
            "clients write it (is it a bare message? then decode without a registry)"
        )
    return int(found)


def after_message_index(message: bytes) -> int:
    """Where the body of a Protobuf message begins. PeerError: it is not the schema's first."""
    at = HEADER.size
    for short in (FIRST_MESSAGE, b"\2\0"):
        if message[at : at + len(short)] == short:
            return at + len(short)
    raise PeerError(
        f"the message is another one of its schema than the first: the numbers at byte {at} were "
        f"{message[at : at + 4].hex() or 'missing'}; expected 00"
    )
