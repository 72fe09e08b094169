"""The twin of crypto venues: quotes and trades of one asset at several venues, from a seed.

Every asset has one price, a walk in cents, a step a millisecond. Each venue quotes it on its own
grid, some milliseconds after it was there: binance at once, kraken four milliseconds later; so one
leads and the other can be seen to follow. Trades meet the quote of their venue. Messages reach us a
millisecond or two after they were sent, those of one venue in the order they were sent.

What a venue sends is a datagram of whole rows of one record, `TopOfBook` or `Trade`, as the record
lays them out and nothing else; prices are in units of 0.00000001, as `market/instruments.py` says.

All is integers, from SplitMix64 asked by number (see `sim/random.py`): the same everywhere, and
what one channel sends depends on the seed and the channel alone. A longer run begins as a shorter.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from onetape.market.instruments import VENUE_TICK, Channel
from onetape.records import OperatorError, empty_block
from onetape.records.market import ASK, BID, TopOfBook, Trade

MS = 1_000_000
BEGIN_NS = 1_767_600_000 * 1_000_000_000  # 2026-01-05T08:00:00Z
CHUNK_MS = 1000
CENT = int(1 / VENUE_TICK) // 100
STARTS = {"BTC": 9_700_000, "ETH": 330_000}  # cents; else 100.00
LOTS_MAX = 200_000_000  # of 0.00000001: two whole ones


@dataclass(frozen=True)
class Habits:
    """How a venue differs from others."""

    lag_ms: int  # behind the price
    tick: int  # cents


HABITS = {"binance": Habits(0, 1), "kraken": Habits(4, 10)}
LAG_MAX_MS = max(habits.lag_ms for habits in HABITS.values())


class Message(NamedTuple):
    """What arrives: of which channel, when, and the bytes."""

    channel: int
    ts_recv_ns: int
    datagram: Any  # uint8[n], whole rows


def messages(
    channels: Sequence[Channel], *, seed: int, milliseconds: int | None
) -> Iterator[Message]:
    """Everything the venues send, in the order it arrives; None: without end.

    In step with the time of the market: the messages of a second are made when it is asked for.
    OperatorError: a venue that has no twin.
    """
    for channel in channels:
        if channel.instrument.venue not in HABITS:
            raise OperatorError(
                f"{channel.instrument.venue} has no simulated twin; there is one of "
                f"{', '.join(HABITS)}"
            )
    assets = {channel.instrument.asset for channel in channels}
    walks = {asset: _Walk(seed, asset) for asset in sorted(assets)}
    made = [_Sent(channel, seed) for channel in channels]
    clocks: dict[str, int] = {}  # of each connection: when its last message arrived
    waiting: list[tuple[int, str, int, Any]] = []
    begin = 0
    while milliseconds is None or begin < milliseconds:
        end = begin + CHUNK_MS if milliseconds is None else min(begin + CHUNK_MS, milliseconds)
        prices = {asset: walk.until(end) for asset, walk in walks.items()}
        sent = []
        for number, each in enumerate(made):
            rows, delays = each.rows(prices[each.asset], begin, end)
            sent += [
                (int(ts), str(each.channel), number, row, int(delay))
                for ts, row, delay in zip(rows["ts_event_ns"], _datagrams(rows), delays)
            ]
        for ts_ns, name, number, datagram, delay in sorted(sent, key=lambda s: s[:2]):
            venue = made[number].channel.instrument.venue
            clocks[venue] = max(clocks.get(venue, 0), ts_ns + delay)
            waiting.append((clocks[venue], name, number, datagram))
        waiting.sort(key=lambda w: w[:2])
        surely_ns = BEGIN_NS + (end + 1) * MS  # nothing of later seconds arrives before
        arrived = sum(w[0] < surely_ns for w in waiting)
        for ts_recv_ns, _, number, datagram in waiting[:arrived]:
            yield Message(number, ts_recv_ns, datagram)
        begin, waiting = end, waiting[arrived:]


class _Walk:
    """The price of an asset in cents, millisecond by millisecond."""

    def __init__(self, seed: int, asset: str) -> None:
        self._seed = _word(seed, asset)
        self._start = STARTS.get(asset.partition("/")[0], 10_000)
        self._known = np.zeros(LAG_MAX_MS + 1, np.int64)  # of the last ms, the newest last
        self._done = 0

    def until(self, end: int) -> Any:
        """Prices of the milliseconds up to `end`; the last one belongs to `end - 1`."""
        draws = _draws(self._seed, self._done, end)
        steps = np.where(_chance(draws, 2), _below(draws, 7) - 3, 0)
        walk = np.concatenate([self._known, self._known[-1] + np.cumsum(steps)])
        self._known, self._done = walk[-LAG_MAX_MS - 1 :], end
        half = self._start // 2  # and back from there, so that a price stays a price
        return self._start + half - np.abs((walk + half) % (4 * half) - 2 * half)


class _Sent:
    """One channel: what the venue sends on it."""

    def __init__(self, channel: Channel, seed: int) -> None:
        self.channel = channel
        self.asset = channel.instrument.asset
        self._habits = HABITS[channel.instrument.venue]
        self._quote_seed = _word(seed, f"{channel.instrument} quotes")
        self._trade_seed = _word(seed, f"{channel.instrument} trades")
        self._delay_seed = _word(seed, f"{channel} delays")
        self._sequence = 0

    def rows(self, prices: Any, begin: int, end: int) -> tuple[Any, Any]:
        """What is sent in these milliseconds of the market, and how long it is under way."""
        count = end - begin
        last = len(prices) - self._habits.lag_ms
        bids = prices[last - count - 1 : last] // self._habits.tick * self._habits.tick
        is_quote = self.channel.of is TopOfBook
        if is_quote:
            draws = _draws(self._quote_seed, begin, end)
            when = np.flatnonzero((np.diff(bids) != 0) | (np.arange(begin, end) == 0))
        else:
            draws = _draws(self._trade_seed, begin, end)
            when = np.flatnonzero(_chance(draws, 10))
        rows = empty_block(self.channel.of, len(when))
        bid, ask = bids[1:][when] * CENT, (bids[1:][when] + self._habits.tick) * CENT
        drawn = draws[when]
        within = _below(drawn, MS // 2) + (0 if is_quote else MS // 2)  # a trade meets the quote
        rows["ts_event_ns"] = BEGIN_NS + (begin + when) * MS + within
        rows["sequence"] = self._sequence + 1 + np.arange(len(when))
        rows["instrument_id"] = self.channel.instrument.instrument_id
        rows["asset_id"] = self.channel.instrument.asset_id
        lots = 1 + _below(_scattered(drawn), LOTS_MAX)
        if is_quote:
            rows["bid_price_ticks"], rows["ask_price_ticks"] = bid, ask
            rows["bid_qty_lots"], rows["ask_qty_lots"] = lots, LOTS_MAX + 1 - lots
        else:
            meets_bid = _chance(_scattered(drawn), 2)
            rows["price_ticks"], rows["qty_lots"] = np.where(meets_bid, bid, ask), lots
            rows["side"] = np.where(meets_bid, BID, ASK)
            rows["match_id"], rows["kind"] = rows["sequence"], ord("T")
        first, self._sequence = self._sequence, self._sequence + len(when)
        return rows, MS + _below(_draws(self._delay_seed, first, self._sequence), MS)


def _datagrams(rows: Any) -> Any:
    return rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def _word(seed: int, name: str) -> int:
    """Where the stream of that name begins."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")


def _draws(stream: int, begin: int, end: int) -> Any:
    """Draws number `begin` to `end` of a stream, uint64."""
    numbers = np.arange(begin + 1, end + 1, dtype=np.uint64)
    return _scattered(np.uint64(stream) + numbers * np.uint64(0x9E3779B97F4A7C15))


def _scattered(words: Any) -> Any:
    """`compiled.bits.mix`, of an array."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _below(draws: Any, n: int) -> Any:
    """Whole numbers from 0 to n - 1, n < 2**31, by the high bits of draws; int64."""
    return ((draws >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


def _chance(draws: Any, one_in: int) -> Any:
    """True for one in so many, by the low bits of draws."""
    return (draws & np.uint64(0xFFFFFFFF)) % np.uint64(one_in) == 0


assert TopOfBook.dtype.itemsize == Trade.dtype.itemsize == 64  # type: ignore[attr-defined]
