"""The load of the wire bench: a day of ITCH in MoldUDP64 datagrams, and what it must cause.

A hundred instruments; adds, executions of all or part of an order, now and then a delete. Six
deletes of one instrument follow each other closely, one instrument after another, so that a burst
of cancels begins again and again and each has long ended when the same instrument has its next.

Datagrams are due at random (exponential) times of a given mean rate; every message of one bears
the time at which it is due. The alerts that this must cause are found here by a plain reading of
the rule, in Python.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.codecs.itch50.write import stock_word, write_add, write_delete, write_executed
from onetape.codecs.moldudp64 import HEADER_BYTES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import (
    load_u16be,
    store_i64be,
    store_u16be,
    store_u32be,
)
from onetape.records.market import ASK, BID

INSTRUMENTS = 100
LIVE_MAX, LIVE_HIGH, LIVE_LOW = 80, 60, 36  # orders of an instrument
BURST = 6  # deletes
WITHIN_NS = 10_000_000
WARM_PACKETS = 4_000
SESSION = (int.from_bytes(b"WIREBENC", "big"), int.from_bytes(b"H1", "big"))
TIME_AT = HEADER_BYTES + 2 + 5  # of a datagram's first message

Profiles = list[list[tuple[float, float]]]  # of each slice: (seconds, multiple of the rate)


@dataclass(frozen=True)
class Load:
    """What is offered: messages a second, in each datagram, and from one burst to the next."""

    rate: int
    packet_messages: int
    burst_every: int

    @classmethod
    def of(cls, rate: int) -> "Load":
        """As venues do: the more there is to say, the fuller the datagrams."""
        messages = 1 if rate < 10_000 else 2 if rate < 50_000 else 8 if rate < 300_000 else 16
        return cls(rate, messages, max(16, rate // 1_000))


class Market:
    """What is there between two messages: orders[instrument, n] = reference, shares."""

    def __init__(self) -> None:
        self.orders = np.zeros((INSTRUMENTS, LIVE_MAX, 2), np.int64)
        self.live = np.zeros(INSTRUMENTS, np.int64)
        self.last = np.zeros(2, np.int64)  # messages so far, the last order's reference


@dataclass(frozen=True)
class Flow:
    """Datagrams data[begin[n]:begin[n + 1]], in slices; due_ns counts from the slice's start."""

    data: Any  # uint8[]
    begin: Any  # int64[packets + 1]
    due_ns: Any  # int64[packets]
    slices: list[tuple[int, int]]  # (first packet, the one behind the last); the first warms up
    alerts: list[Any]  # by slice: int64[], the packets that open an alert, each as often as it does
    market: "Market"  # as it is at the end; another flow may go on from there

    def answers(self, messages: int) -> Any:
        """uint8[]: 1 at the number of the first message of a packet that opens an alert."""
        found = np.zeros(len(self.due_ns) * messages + 1, np.uint8)
        for packets in self.alerts:
            found[1 + packets * messages] = 1
        return found


def make(load: Load, profiles: Profiles, *, seed: int = 1, after: Market | None = None) -> Flow:
    """A flow of these slices.

    after   goes on where this market is, without another warm-up; it is changed
    """
    random = np.random.default_rng(seed)
    due = [] if after else [_times(random, WARM_PACKETS, 30_000)]
    for profile in profiles:
        parts, from_ns = [], 0
        for seconds, times in profile:
            per_s = load.rate * times / load.packet_messages
            parts.append(from_ns + _times(random, max(1, int(seconds * per_s)), per_s))
            from_ns += int(seconds * 1e9)
        due.append(np.sort(np.concatenate(parts)))
    due_ns = np.concatenate(due)
    ends = np.cumsum([len(times) for times in due]).tolist()
    slices = list(zip([0, *ends[:-1]], ends))

    count = len(due_ns) * load.packet_messages
    data = np.zeros(len(due_ns) * HEADER_BYTES + count * 38, np.uint8)
    begin = np.zeros(len(due_ns) + 1, np.int64)
    draws = random.integers(0, 1 << 40, (count, 2))
    deletes = np.zeros((count, 2), np.int64)
    words = np.array([stock_word(f"WIRE{n:03}") for n in range(INSTRUMENTS)])
    market = after or Market()
    warm = WARM_PACKETS * load.packet_messages
    done = write_flow(
        data, begin, due_ns, load.packet_messages, load.burst_every, warm, draws, deletes, words,
        market.orders, market.live, market.last,
    )  # fmt: skip
    return Flow(data, begin, due_ns, slices, _alerts(deletes[:done], due_ns, slices), market)


def _times(random: Any, count: int, per_s: float) -> Any:
    """`count` times in ns, the gaps between them exponential, `per_s` of them in a second."""
    gaps = random.exponential(1, count)
    return (np.cumsum(gaps) * (count / per_s / gaps.sum()) * 1e9).astype(np.int64)


def _alerts(deletes: Any, due_ns: Any, slices: list[tuple[int, int]]) -> list[Any]:
    """The rule as one would say it: more than five within 10 ms, again 10 ms after the last."""
    found = []
    for first, until in slices:
        recent: dict[int, deque[int]] = {}
        ends_ns: dict[int, int] = {}
        packets = []
        chosen = deletes[(deletes[:, 0] >= first) & (deletes[:, 0] < until)]
        for packet, instrument in chosen.tolist():
            now_ns = int(due_ns[packet])
            times = recent.setdefault(instrument, deque(maxlen=BURST))
            times.append(now_ns)
            if len(times) == BURST and now_ns - times[0] <= WITHIN_NS:
                if now_ns >= ends_ns.get(instrument, 0):
                    packets.append(packet)
                ends_ns[instrument] = now_ns + WITHIN_NS
        found.append(np.array(packets, np.int64))
    return found


@kernel
def write_flow(
    data, begin, due_ns, packet_messages, burst_every, warm, draws, deletes, words,
    orders, live, last
):  # fmt: skip
    """Fill `data`, `begin` and deletes[n] = packet, instrument; returns how many deletes.

    orders, live, last: of a Market, which this moves on.
    """
    at, draws_taken, done = 0, 0, 0
    message, order_ref = last[0], last[1]
    stride = max(1, burst_every // 16)
    for packet in range(due_ns.shape[0]):
        begin[packet] = at
        store_i64be(data, at, SESSION[0])
        store_u16be(data, at + 8, SESSION[1])
        store_i64be(data, at + 10, message + 1)
        store_u16be(data, at + 18, packet_messages)
        at += HEADER_BYTES
        for _ in range(packet_messages):
            draw = draws[draws_taken, 0]
            spread = draws[draws_taken, 1]
            draws_taken += 1
            place = message % burst_every - burst_every // 4
            burst = message // burst_every % INSTRUMENTS
            is_burst = message >= warm and place % stride == 0 and 0 <= place < BURST * stride
            i = burst if is_burst else draw % INSTRUMENTS
            n = live[i]
            draw //= INSTRUMENTS
            is_add = n < LIVE_LOW or (n < LIVE_HIGH and draw % 2 == 0)
            draw //= 2
            if is_add and not is_burst:
                order_ref += 1 + draw % 3
                side = ASK if draw // 3 % 2 == 0 else BID
                price = spread % 30
                price = 100_100 + 10_000 * i + (price if side == ASK else -1 - price) * 100
                shares = 100 + 100 * (draw // 8 % 8)
                orders[i, n, 0] = order_ref
                orders[i, n, 1] = shares
                live[i] += 1
                size = write_add(
                    data, at + 2, i + 1, 0, due_ns[packet], order_ref, side, shares, words[i], price
                )
            else:
                k = spread % n
                shares = orders[i, k, 1]
                is_delete = is_burst or draw % 50 == 0
                is_part = draw % 2 == 0 and shares >= 100 and not is_delete
                taken = shares // 2 if is_part else shares
                if is_delete:
                    size = write_delete(data, at + 2, i + 1, 0, due_ns[packet], orders[i, k, 0])
                    deletes[done, 0] = packet
                    deletes[done, 1] = i
                    done += 1
                else:
                    size = write_executed(
                        data, at + 2, i + 1, 0, due_ns[packet], orders[i, k, 0], taken, message
                    )
                orders[i, k, 1] = shares - taken
                if taken == shares:
                    live[i] = n - 1
                    orders[i, k, 0] = orders[i, n - 1, 0]
                    orders[i, k, 1] = orders[i, n - 1, 1]
            store_u16be(data, at, size)
            at += 2 + size
            message += 1
    begin[due_ns.shape[0]] = at
    last[0], last[1] = message, order_ref
    return done


@kernel
def stamp(data, begin, first, until, due_ns, start_ns):
    """Write into each message when it is due; start_ns: of the slice, since midnight."""
    for packet in range(first, until):
        at = begin[packet] + HEADER_BYTES
        while at < begin[packet + 1]:
            time_ns = start_ns + due_ns[packet]
            store_u16be(data, at + 7, time_ns >> 32)
            store_u32be(data, at + 9, time_ns & 0xFFFFFFFF)
            at += 2 + load_u16be(data, at)
