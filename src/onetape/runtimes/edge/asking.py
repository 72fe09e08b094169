"""Asking the venue again for messages that are missing: MoldUDP64 request packets.

Each missing range is asked for in pieces of what one datagram may hold; the answers come back on
the same socket, as one more line of the feed, raw on the tape. What does not come is asked for
again. The first request waits a little: the other line may bring it, or the packets only swapped.

Source: "MoldUDP64 Protocol Specification", version 1.00: a request packet is the header alone.
"""

from onetape.codecs.arbitration import next_missing
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import store_i64be, store_u16be
from onetape.native.sockets import send
from onetape.runtimes.edge.words import ASKED

REQUEST_BYTES = 20
FIRST_AFTER_NS = 200_000
AGAIN_AFTER_NS = 2_000_000
REQUESTS_MAX = 64  # at a time
MESSAGES_MAX = 32  # of one request: about a datagram of orders


@kernel
def ask(words, clock, feed, held, fd, request, now_ns):
    """Ask for what is missing, if it is time by the monotonic clock.

    clock    row of CLOCK_ROW, of the feed's source
    request  uint8[20], to write into
    """
    if fd < 0:
        return
    if clock.ask_at_ns == 0:
        clock.ask_at_ns = now_ns + FIRST_AFTER_NS
    if now_ns < clock.ask_at_ns:
        return
    clock.ask_at_ns = now_ns + AGAIN_AFTER_NS
    store_i64be(request, 0, feed.session[0])
    store_u16be(request, 8, feed.session[1])
    first, until = next_missing(feed, held, feed.next_sequence)
    for _ in range(REQUESTS_MAX):
        if first >= until:
            first, until = next_missing(feed, held, until)
            if first >= until:
                return
        count = min(until - first, MESSAGES_MAX)
        store_i64be(request, 10, first)
        store_u16be(request, 18, count)
        send(fd, request, 0, REQUEST_BYTES)
        words[ASKED] += 1
        first += count
