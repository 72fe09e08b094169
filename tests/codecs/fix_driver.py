"""What the tests of FIX share: a driver over the framing, and messages."""

import numpy as np

from onetape.codecs.feed import EVENT, GAP, NOTHING, REFUSED, new_feed, refusals
from onetape.codecs.fix44 import framing
from onetape.codecs.fix44.message import FixMessage, encode_message
from onetape.compiled import kernel
from onetape.compiled.rows import copy_row, row
from onetape.records import empty_block
from onetape.records.market import Gap, OwnOrder

MARGIN = 16
NO_PROGRESS = -1
ROOM = 256


@kernel
def read_all(feeds, held, buffer, at, end, ts_recv_ns, order, gap, orders, gaps, counts):
    """Read buffer[at:end]; counts: orders, gaps, refused. Returns where it ended."""
    feed = row(feeds, 0)
    at = framing.open_packet(feed, held, buffer, at, end, 0, ts_recv_ns)
    while at < end:
        before = at
        at, result = framing.next_message(feed, held, buffer, at, end, ts_recv_ns, order, gap)
        if at < before or (at == before and result != GAP):
            return NO_PROGRESS
        if result == EVENT:
            copy_row(orders, counts[0], order, 0)
            counts[0] += 1
        elif result == GAP:
            copy_row(gaps, counts[1], gap, 0)
            counts[1] += 1
        elif result == REFUSED:
            counts[2] += 1
        elif result != NOTHING:
            return NO_PROGRESS
    return at


class Reader:
    """Reads runs of messages, with rubbish on both sides; keeps orders, gaps and refusals."""

    def __init__(self):
        self.feed, self.held = new_feed(), np.zeros(framing.HELD_BYTES, np.uint8)
        self.orders, self.gaps = [], []

    def read(self, data, ts_recv_ns=5):
        buffer = np.frombuffer(b"8" * MARGIN + data + b"8" * MARGIN, np.uint8).copy()
        orders, gaps = empty_block(OwnOrder, ROOM), empty_block(Gap, ROOM)
        counts, end = np.zeros(3, np.int64), MARGIN + len(data)
        one = empty_block(OwnOrder, 1), empty_block(Gap, 1)
        stopped = read_all(
            self.feed, self.held, buffer, MARGIN, end, ts_recv_ns, *one, orders, gaps, counts
        )
        assert stopped == end
        made = orders[: counts[0]].tolist()
        self.orders += [dict(zip(OwnOrder._fields, order)) for order in made]
        self.gaps += [tuple(g[2:4]) for g in gaps[: counts[1]].tolist()]
        return self

    @property
    def refused(self):
        return refusals(self.feed)


def report(sequence, kind=b"0", head=(), begin=b"FIX.4.4", **fields):
    """The bytes of an ExecutionReport: `t60=b"..."` sets a field, None leaves it out."""
    told = {
        35: b"8", 49: b"VENUE", 56: b"DESK", 34: b"%d" % sequence,
        52: b"20260105-14:30:00.000000001", 37: b"%d" % (1000 + sequence), 17: b"X1",
        150: kind, 39: b"0", 1: b"ACC1", 55: b"AAPL", 54: b"1", 38: b"100", 44: b"12.34",
        32: b"40", 31: b"12.3399", 151: b"60", 14: b"40", 6: b"0", 60: b"20260105-14:30:00.5",
    }  # fmt: skip
    told |= {int(name[1:]): value for name, value in fields.items()}
    kept = ((tag, value) for tag, value in told.items() if value is not None)
    return encode_message(FixMessage(begin, (*kept, *head)))


def admin(sequence, letter, **fields):
    """A message that is no report."""
    told = [(35, letter), (49, b"VENUE"), (56, b"DESK"), (34, b"%d" % sequence)]
    told += [(int(name[1:]), value) for name, value in fields.items()]
    return encode_message(FixMessage(b"FIX.4.4", tuple(told)))
