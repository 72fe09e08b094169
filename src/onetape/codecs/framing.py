"""How messages lie in the payloads of a source: one contract, so that a driver takes any.

    at = open_packet(feed, held, buffer, at, end, line, ts_recv_ns)
    while at < end:
        at, result = next_message(feed, held, buffer, at, end, ts_recv_ns, events, gaps)

`open_packet` returns where the first message begins, or `end` when there is none. `next_message`
returns where the next one begins and what this one came to: EVENT (events[0] is filled), GAP
(gaps[0] is filled), NOTHING (a duplicate, or held) or REFUSED (counted in feed.refused). `feed` is
a row of FeedState, `held` the framing's memory for messages that wait. `pass_time(feed, at,
is_over)` tells a framing of a tick or of the end of its source: it returns `at`, or `at - 1` if
`next_message` has more to say. `peek(buffer, at, stop)` guesses (order id, next at) of what comes
next. To add a framing, write these kernels and a line here.
"""

from dataclasses import dataclass
from typing import Any

from onetape.codecs import length_prefixed, moldudp64, numbered
from onetape.codecs.arbitration import CELL_BYTES, HELD_MESSAGES
from onetape.codecs.fix44 import framing as fix44
from onetape.codecs.itch50.decode import peek


@dataclass(frozen=True)
class Framing:
    """The kernels of a framing, and the bytes of `held` it wants (8 at least)."""

    open_packet: Any
    next_message: Any
    pass_time: Any
    peek: Any
    held_bytes: int = 8


FRAMINGS = {
    "length_prefixed": Framing(
        length_prefixed.open_packet, length_prefixed.next_message, length_prefixed.pass_time, peek
    ),
    "moldudp64": Framing(
        moldudp64.open_packet,
        moldudp64.next_message,
        moldudp64.pass_time,
        peek,
        HELD_MESSAGES * CELL_BYTES,
    ),
    "numbered": Framing(
        numbered.open_packet, numbered.next_message, numbered.pass_time, numbered.peek
    ),
    "fix": Framing(
        fix44.open_packet, fix44.next_message, fix44.pass_time, fix44.peek, fix44.HELD_BYTES
    ),
}
FRAMING_OF = {"itch": "length_prefixed", "fix": "fix"}  # of a feed, unless a runtime says another
