"""A day on which own accounts trade on the simulated exchange: its ITCH, and their drop copy.

Every half second an episode begins, at another instrument. Every second one is a spoof: an account
places a wall, fills a small order on the other side, and pulls the wall, all within two seconds.
The others only look like one: the wall is small, is pulled too late, the fill is on the same side,
is another account's, or does not come. Each episode has an account of its own, so the plan says
exactly what a detector must find.

The feeds reach us on two ways: ITCH 200 us after it was sent, the drop copy 50 us to 1 ms. So a
report may come before or behind the public message it speaks of. A longer day begins as a shorter,
which ends with what has arrived.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from onetape.records import empty_block
from onetape.sim.drop_copy import DropCopy
from onetape.sim.exchange_day import fill_until, is_reached
from onetape.sim.exchange_options import MILLISECOND_NS as MS
from onetape.sim.exchange_options import (
    SECONDS_MAX,
    START_NS,
    ExchangeOptions,
    new_york_midnight_ns,
    symbol_of,
)
from onetape.sim.exchange_setup import new_exchange
from onetape.sim.exchange_state import NO_ORDER, RestingOrder
from onetape.sim.own_acts import BAIT, PULL, SMALL, TAKE, WALL, act
from onetape.sim.random import below, new_streams

INSTRUMENTS = 20
STEP_NS = 10 * MS
FIRST_NS, EVERY_NS = 1_000 * MS, 500 * MS
WITHIN_NS = 2_000 * MS  # a wall that is pulled later is no spoof
PUBLIC_NS, OWN_MIN_NS, OWN_MAX_NS = 200_000, 50_000, 1_000_000  # how long messages are under way
ROOM = 4  # orders of own accounts on a side, beside the flow's
KINDS = ("spoof", "small wall", "late pull", "same side", "no fill", "another's fill")


class Arrival(NamedTuple):
    """What reaches us: by the drop copy or the public feed, when, and the bytes."""

    feed: str  # "fix" or "itch"
    ts_recv_ns: int
    payload: bytes


@dataclass
class Episode:
    """What was planned, and the orders that came of it."""

    kind: str
    account: str
    instrument: int  # row; its locate code is one more
    symbol: str
    begin_ns: int
    wall_id: int = 0
    fill_id: int = 0
    is_filled: bool = False
    pulled_ns: int = 0  # UTC; 0: not yet
    acts: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_spoof(self) -> bool:
        """Did all of a spoof happen?"""
        return self.kind == KINDS[0] and self.is_filled and self.pulled_ns > 0


class OwnDay:
    """Iterate for arrivals, in order; the day begins anew each time. None: the whole day.

    episodes  of the last iteration, in the order of their begin
    """

    def __init__(self, *, seed: int, milliseconds: int | None) -> None:
        self.seed, self.milliseconds = seed, milliseconds
        self.options = ExchangeOptions(
            seed=seed, instruments=INSTRUMENTS, seconds=SECONDS_MAX, episodes=0
        )
        self.midnight_ns = new_york_midnight_ns(self.options.trading_date)
        self.symbols = {i + 1: symbol_of(i) for i in range(INSTRUMENTS)}
        self.episodes: list[Episode] = []

    def __iter__(self) -> Iterator[Arrival]:
        self.episodes = []
        run = _Run(self)
        most_ns = int(SECONDS_MAX * 1e9) if self.milliseconds is None else self.milliseconds * MS
        now_ns = START_NS
        while now_ns < START_NS + most_ns:
            now_ns += STEP_NS
            run.until(now_ns)
            yield from run.arrived(now_ns)


class _Run:
    """One iteration."""

    def __init__(self, day: OwnDay) -> None:
        self.day = day
        self.market, self.agenda = _with_room(new_exchange(day.options))
        self.streams = new_streams(day.seed ^ 0x5F00F, 1)
        self.copy = DropCopy(day.midnight_ns)
        self.out = np.empty(1 << 16, np.uint8)
        self.waiting: list[tuple[int, int, str, bytes]] = []
        self.told = 0
        self.own_ns = 0  # when the drop copy's last message arrives
        self.agreed: list[tuple[int, int, int, Episode]] = []  # acts: when, number, what, whose
        logon_ns = day.midnight_ns + START_NS - 1_000 * MS
        self._send(logon_ns, self.copy.logon(logon_ns))

    def until(self, end_ns: int) -> None:
        """All that happens before `end_ns`."""
        while self._next_ns() < end_ns:
            self._plan()
        while self.agreed and self.agreed[0][0] < end_ns:
            now_ns, _, what, episode = self.agreed.pop(0)
            self._flow(now_ns)
            self._act(now_ns, what, episode)
        self._flow(end_ns)

    def arrived(self, now_ns: int) -> Iterator[Arrival]:
        """What reaches us before anything that happens from `now_ns` on can."""
        surely_ns = self.day.midnight_ns + now_ns + OWN_MIN_NS
        self.waiting.sort(key=lambda w: w[:2])
        count = sum(w[0] < surely_ns for w in self.waiting)
        run, at_ns = b"", 0
        for ts_ns, _, feed, payload in self.waiting[:count]:
            if feed == "itch":
                run, at_ns = run + payload, ts_ns
                continue
            if run:
                yield Arrival("itch", at_ns, run)
            run = b""
            yield Arrival(feed, ts_ns, payload)
        if run:
            yield Arrival("itch", at_ns, run)
        del self.waiting[:count]

    def _flow(self, until_ns: int) -> None:
        while not is_reached(self.market, until_ns):
            self._tell(int(fill_until(self.market, self.agenda, self.out, 0, until_ns)))

    def _tell(self, size: int) -> None:
        """The messages in out[:size] are sent, and what the drop copy says of them."""
        data, at = self.out[:size].tobytes(), 0
        while at < size:
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            body = data[at + 2 : end]
            ts_ns = self.day.midnight_ns + int.from_bytes(body[5:11], "big")
            self._wait(ts_ns + PUBLIC_NS, "itch", data[at:end])
            for told_ns, report in self.copy.read(body):
                self._send(told_ns, report)
            at = end

    def _send(self, ts_ns: int, message: bytes) -> None:
        under_way_ns = OWN_MIN_NS + below(self.streams, 0, OWN_MAX_NS - OWN_MIN_NS)
        self.own_ns = max(self.own_ns, ts_ns + under_way_ns)
        self._wait(self.own_ns, "fix", message)

    def _wait(self, arrives_ns: int, feed: str, message: bytes) -> None:
        self.told += 1
        self.waiting.append((arrives_ns, self.told, feed, message))

    # --- episodes -------------------------------------------------------------------------------

    def _next_ns(self) -> int:
        return START_NS + FIRST_NS + EVERY_NS * len(self.day.episodes)

    def _plan(self) -> None:
        number, begin_ns = len(self.day.episodes), self._next_ns()
        begin_ns += self._draw(100)
        kind = KINDS[0] if number % 2 == 0 else KINDS[1 + number // 2 % (len(KINDS) - 1)]
        i = (7 * number + self.day.seed) % INSTRUMENTS
        episode = Episode(kind, f"ACC{number}", i, symbol_of(i), begin_ns)
        side = int(below(self.streams, 0, 2))
        bait_ns = begin_ns + 50 * MS + self._draw(100)
        take_ns = bait_ns + MS + self._draw(10)
        pull_ns = take_ns + 50 * MS + self._draw(100)
        if kind == "late pull":
            pull_ns = begin_ns + WITHIN_NS + 50 * MS + self._draw(100)
        episode.acts = [(SMALL if kind == "small wall" else WALL, side)]
        other = side if kind == "same side" else 1 - side
        times = [begin_ns]
        if kind != "no fill":
            episode.acts += [(BAIT, other), (TAKE, other)]
            times += [bait_ns, take_ns]
        episode.acts.append((PULL, side))
        times.append(pull_ns)
        self.day.episodes.append(episode)
        self.agreed += [(ns, number, step, episode) for step, ns in enumerate(times)]
        self.agreed.sort(key=lambda a: a[:3])

    def _act(self, now_ns: int, step: int, episode: Episode) -> None:
        what, side = episode.acts[step]
        if what in (WALL, SMALL):
            episode.wall_id = self._place(now_ns, what, side, episode, episode.account)
        elif not episode.wall_id:
            return  # the side was empty: nothing came of it
        elif what == BAIT:
            account = f"{episode.account}X" if episode.kind == "another's fill" else episode.account
            episode.fill_id = self._place(now_ns, what, side, episode, account)
        elif what == TAKE and episode.fill_id:
            if self.copy.is_gone(episode.fill_id):  # the flow has withdrawn it: another
                account = self.copy.account_of(episode.fill_id)
                episode.fill_id = self._place(now_ns, BAIT, side, episode, account)
            self._do(now_ns, TAKE, side, episode, episode.fill_id)
        elif what == PULL:
            self._do(now_ns, PULL, side, episode, episode.wall_id)
            episode.is_filled = episode.fill_id in self.copy.filled
            episode.pulled_ns = self.day.midnight_ns + now_ns

    def _place(self, now_ns: int, what: int, side: int, episode: Episode, account: str) -> int:
        size, ref = self._run_act(now_ns, what, side, episode, NO_ORDER)
        if ref != NO_ORDER:
            self.copy.accounts[ref] = account
        self._tell(size)
        return ref

    def _do(self, now_ns: int, what: int, side: int, episode: Episode, ref: int) -> None:
        self._tell(self._run_act(now_ns, what, side, episode, ref)[0])

    def _run_act(self, now_ns: int, what: int, side: int, episode: Episode, ref: int) -> Any:
        found = act(self.market, self.out, 0, what, episode.instrument, side, ref, now_ns)
        return int(found[0]), int(found[1])

    def _draw(self, milliseconds: int) -> int:
        return int(below(self.streams, 0, milliseconds * MS))


def _with_room(exchange: Any) -> Any:
    """The same exchange before its first message, with room for own orders on every side."""
    market, sides = exchange.market, exchange.market.sides
    room = sides["flow_max"] + ROOM
    sides["begin"][1:] = np.cumsum(room)[:-1]
    orders = empty_block(RestingOrder, int(np.sum(room)))
    return market._replace(orders=orders), exchange.agenda
