"""What the tests of this room share: a small driver over a framing, and bodies of messages."""

import struct

import numpy as np
from hypothesis import strategies as st

from onetape.codecs import FRAMINGS, length_prefixed, moldudp64
from onetape.codecs.arbitration import next_missing
from onetape.codecs.feed import EVENT, GAP, NOTHING, REFUSED, new_feed, refusals
from onetape.codecs.itch50.message import MESSAGE_CLASSES, encode_message
from onetape.codecs.itch50.spec import ALPHA, MESSAGES
from onetape.compiled import kernel
from onetape.compiled.rows import copy_row, row
from onetape.records import empty_block
from onetape.records.market import Gap, MarketEvent

DAY_NS = 86_400 * 10**9
NO_PROGRESS = -(10**9)
OVER = -1  # in place of a line: the source has ended


@kernel
def read_length_prefixed(
    feeds, held, buffer, begin, end, line, ts_recv_ns, scratch, gaps, events, counts, said
):
    """Read buffer[begin:end]; returns the number of events. counts: events, nothing, refused."""
    feed = row(feeds, 0)
    n = 0
    at = length_prefixed.open_packet(feed, held, buffer, begin, end, line, ts_recv_ns)
    while at < end:
        before = at
        at, result = length_prefixed.next_message(
            feed, held, buffer, at, end, ts_recv_ns, scratch, gaps
        )
        n = _take(result, scratch, events, n, counts, gaps, said)
        if at <= before:
            return NO_PROGRESS
    return n if at == end else NO_PROGRESS


@kernel
def read_moldudp64(
    feeds, held, buffer, begin, end, line, ts_recv_ns, scratch, gaps, events, counts, said
):
    feed = row(feeds, 0)
    n = 0
    if line == OVER:
        at = moldudp64.pass_time(feed, end, 1)
    else:
        at = moldudp64.open_packet(feed, held, buffer, begin, end, line, ts_recv_ns)
    while at < end:
        before = at
        at, result = moldudp64.next_message(feed, held, buffer, at, end, ts_recv_ns, scratch, gaps)
        n = _take(result, scratch, events, n, counts, gaps, said)
        if at < before:
            return NO_PROGRESS
    return n if at == end else NO_PROGRESS


@kernel
def _take(result, scratch, events, n, counts, gaps, said):
    if result == EVENT:
        counts[0] += 1
        if n < events.shape[0]:
            copy_row(events, n, scratch, 0)
            return n + 1
    elif result == GAP:
        copy_row(said, counts[3], gaps, 0)
        counts[3] += 1
    elif result == NOTHING:
        counts[1] += 1
    elif result == REFUSED:
        counts[2] += 1
    return n


@kernel
def missing_of(feeds, held, sequence):
    return next_missing(row(feeds, 0), held, sequence)


READERS = {"length_prefixed": read_length_prefixed, "moldudp64": read_moldudp64}


class Reader:
    """Reads packets of one framing; keeps the events, the feed and the counts of results.

    Every packet lies between bytes of rubbish, so reading outside of it changes the answer.
    """

    def __init__(self, framing, midnight_ns=0, rubbish=0xA5, patience_ns=0):
        self.read = READERS[framing]
        self.feed = new_feed(midnight_ns, patience_ns)
        self.held = np.zeros(FRAMINGS[framing].held_bytes, np.uint8)
        self.blocks = []
        self.tally = np.zeros(4, np.int64)
        self.scratch_gap = empty_block(Gap, 1)
        self.gaps = []
        self.rubbish = rubbish

    def end(self, ts_recv_ns):
        """The source is over: what is missing is given up."""
        return self.packet(None, ts_recv_ns)

    def packet(self, data, ts_recv_ns=0, line=0):
        is_over = data is None
        data = b"" if is_over else data
        margin = 64
        buffer = np.full(len(data) + 2 * margin, self.rubbish, np.uint8)
        buffer[margin : margin + len(data)] = np.frombuffer(bytes(data), np.uint8)
        scratch = np.full(64, self.rubbish, np.uint8).view(MarketEvent.dtype)
        events = empty_block(MarketEvent, len(data) // 3 + 1 + int(self.feed["held"][0]))
        said = empty_block(Gap, 64)
        n = self.read(
            self.feed,
            self.held,
            buffer,
            margin,
            margin + len(data),
            OVER if is_over else line,
            ts_recv_ns,
            scratch,
            self.scratch_gap,
            events,
            self.tally,
            said,
        )
        self.gaps += [tuple(gap) for gap in said[: int(self.tally[3])].tolist()]
        self.tally[3] = 0
        assert n >= 0, "no progress, or past the end"
        self.blocks.append(events[:n])
        return self

    @property
    def events(self):
        block = np.concatenate(self.blocks) if self.blocks else empty_block(MarketEvent, 0)
        return [dict(zip(MarketEvent._fields, values)) for values in block.tolist()]

    @property
    def counts(self):
        """Messages that were events, nothing, refused."""
        return self.tally[:3]

    @property
    def refused(self):
        return refusals(self.feed)

    def missing_from(self, sequence):
        """The first run of missing messages from `sequence` on: first, behind the last."""
        first, until = missing_of(self.feed, self.held, sequence)
        return int(first), int(until)

    def state(self, name):
        return int(self.feed[name][0])


def prefixed(bodies):
    """Messages behind their lengths."""
    return b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def mold(sequence, bodies, session=b"SESSION001", count=None):
    """A MoldUDP64 datagram."""
    count = len(bodies) if count is None else count
    return struct.pack(">10sQH", session, sequence, count) + prefixed(bodies)


def add_order(order=1, side=b"B", shares=100, price=10_000, ts_ns=0, locate=7):
    return struct.pack(
        ">cHH6sQcI8sI", b"A", locate, 0, ts_ns.to_bytes(6, "big"), order, side, shares,
        b"AAPL    ", price,
    )  # fmt: skip


def field_values(field):
    """Any value of a field, the interesting ones more often."""
    if field.name == "timestamp_ns":
        return st.one_of(st.integers(0, DAY_NS - 1), st.sampled_from([0, DAY_NS - 1, DAY_NS]))
    if field.name == "side":
        return st.sampled_from([b"B", b"S", b"B", b"S", b"A", b"\0"])
    if field.name == "printable":
        return st.sampled_from([b"Y", b"N", b"y"])
    if field.kind == ALPHA:
        return st.binary(min_size=field.size_bytes, max_size=field.size_bytes)
    top = (1 << 8 * field.size_bytes) - 1
    some = st.sampled_from([0, 1, top, top // 2, min(top, 2 * 10**9), min(top, 2 * 10**9 + 1)])
    return st.one_of(st.integers(0, top), some)


@st.composite
def messages(draw, letters=None):
    """A message of any type of the table, its fields anything that fits."""
    choice = [m for m in MESSAGES if letters is None or m.letter in letters]
    of = draw(st.sampled_from(choice))
    values = [of.letter.encode()] + [draw(field_values(field)) for field in of.fields[1:]]
    return MESSAGE_CLASSES[of.letter]._make(values)


bodies = messages().map(encode_message)


@st.composite
def damaged(draw, whole=bodies):
    """A body with some bytes changed, cut off or added; sometimes as it was."""
    body = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))
    return bytes(body[:cut]) + draw(st.sampled_from([b"", b"", b"", b"\0", b"ABC"]))
