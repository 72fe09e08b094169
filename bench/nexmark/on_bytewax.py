"""Bytewax: its windowers, one worker. The last step of q5 is told at the end of the input.

Its sessions are left out: with the 50 000 bidders of q11 a batch takes seconds, whatever is in it.
"""

from datetime import timedelta
from operator import add
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as w
from bench.nexmark.stream import EVERY_US, WIDTH_US, Bids
from bench.peers.on_bytewax import EPOCH, US, _Run

ALL = "all"


class _Query(_Run):
    key = ""

    def __init__(self, b: Bids) -> None:
        times = [EPOCH + ts_us * US for ts_us in b.ts_us.tolist()]
        keys = map(str, getattr(b, self.key).tolist()) if self.key else [ALL] * len(times)
        super().__init__(list(zip(keys, zip(times, b.price.tolist()))))


# The system's clock stands still, or events would grow late while they wait in memory.
CLOCK: Any = w.EventClock(lambda bid: bid[0], timedelta(0), now_getter=lambda: EPOCH)


class Q5(_Query):
    key = "auction"

    def asked(self, bids: Any) -> Any:
        windower = w.SlidingWindower(length=WIDTH_US * US, offset=EVERY_US * US, align_to=EPOCH)
        counted = w.fold_window("count", bids, CLOCK, windower, int, _one_more, add).down
        return op.reduce_final("hottest", op.map("by_end", counted, _by_window), min)

    def rows(self) -> Any:
        ends = [(int(n) * EVERY_US + WIDTH_US, *found) for n, found in self.out]
        return [(end_us, auction, -less) for end_us, less, auction in ends]


def _one_more(bids: int, _: Any) -> int:
    return bids + 1


def _by_window(counted: Any) -> Any:
    """The most bids, of equal ones the lowest auction, is the least of these."""
    auction, (number, bids) = counted
    return str(number), (-bids, int(auction))


class Q7(_Query):
    def asked(self, bids: Any) -> Any:
        windower = w.TumblingWindower(length=WIDTH_US * US, align_to=EPOCH)
        return w.max_window("highest", bids, CLOCK, windower, by=lambda bid: bid[1]).down

    def rows(self) -> Any:
        return [((n + 1) * WIDTH_US, price) for _, (n, (_, price)) in self.out]
