"""Messages are counted in each framing, without reading them."""

import numpy as np
import pytest

from onetape.codecs.messages_in import messages_in

BODY = b"S" + bytes(11)  # a system event of ITCH


@pytest.mark.parametrize(
    "feed, framing, payload, count",
    [
        ("itch", "length_prefixed", (b"\0\x0c" + BODY) * 3, 3),
        ("itch", "length_prefixed", (b"\0\0" + BODY) * 2, 2),  # the type tells the length
        ("itch", "moldudp64", bytes(18) + b"\0\7" + bytes(99), 7),
        ("itch", "moldudp64", bytes(18) + b"\xff\xff", 0),  # the session has ended
        ("itch", "numbered", bytes(8) + (b"\0\x0c" + bytes(4) + BODY) * 4, 4),
        ("fix", "", b"8=FIX.4.4\x0110=000\x01" * 5, 5),
        ("itch", "length_prefixed", b"", 0),
        ("itch", "moldudp64", b"", 0),
    ],
)
def test_messages_of_a_payload(feed, framing, payload, count):
    assert messages_in(feed, framing, np.frombuffer(payload, np.uint8).copy()) == count
