"""Framings: how messages lie in the bytes of one read. What a generated driver calls, by name.

    at = open_packet(feed, buffer, at, end)
    while at < end:
        at, result = next_message(feed, buffer, at, end, ts_recv_ns, events)

`open_packet` returns where the first message begins, or `end` when there is none. `next_message`
reads one, always moves on (next > at), never reads at or past `end`, and says EVENT (events[0] is
filled), NOTHING (a duplicate) or REFUSED (counted in feed.refused). `feed` is a row of FeedState.

A new framing is a module with these two kernels and a line here.
"""

from typing import Any

from onetape.codecs import length_prefixed, moldudp64

FRAMINGS: dict[str, tuple[Any, Any]] = {
    "length_prefixed": (length_prefixed.open_packet, length_prefixed.next_message),
    "moldudp64": (moldudp64.open_packet, moldudp64.next_message),
}
