"""A venue, a bad network and a node in virtual time: one seed, one run, no clock and no thread.

What happens to a datagram is the relay's own plan (`sim.venue.faults`); requests are those of the
hot loop (`edge.asking`), answered by the venue's own server. Only time is made up: datagrams come
when they were due, plus what the network does to them, and ticks as the intake would make them.

    day = Day(seed=1)
    ran = play(day, [Line(Faults(lose=0.05))], server=Server())
    ran.digests == day.digests
"""

import heapq
import socket
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.engine.running import DATA, END, TICK, frame

import onetape as ot
from onetape import market as mk
from onetape.codecs.moldudp64 import END_OF_SESSION
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.engine.digest import digests_of, state_digest
from onetape.engine.engine import Engine
from onetape.engine.frames import frames_of
from onetape.engine.planner import plan
from onetape.records.market import GAP_LOST
from onetape.runtimes import batch
from onetape.runtimes.edge import words as w
from onetape.runtimes.edge.asking import ask
from onetape.runtimes.edge.lines import CLOCK_ROW
from onetape.runtimes.edge.network import ASKED_NUMBER
from onetape.sim.exchange import simulate
from onetape.sim.venue.faults import Faults, damage, plan_packet
from onetape.sim.venue.packets import History, pack_all, session_of
from onetape.sim.venue.rerequest import RerequestServer
from onetape.surveillance import burst_cancel

BEGAN_NS = 10**15
PAUSE_MAX_NS = 20_000_000  # of the day's own pauses, so that none of them is an idle feed
LOOKS_NS = 2_000_000  # how late a tick is: the loop looks only now and then
BEHIND_NS = 5_000_000  # a reordered datagram that none follows arrives so much later
MS = 1_000_000
PACK_NS = 300_000
SESSION = session_of("ONETAPE")


def watch(patience="1s"):
    """The standard pipeline, with the gaps."""
    feed = mk.source("itch", patience=patience)
    trades = feed.trades()
    return ot.Pipeline(
        top_of_book=feed.top_of_book(),
        vwap=mk.vwap(trades, width="100ms"),
        bar=mk.bars(trades, width="100ms"),
        alert=burst_cancel(feed.events(), more_than=5, within="10ms"),
        gap=feed.gaps(),
    )


def mark(sequence, count, session=SESSION):
    """A packet without messages: 0 is a heartbeat, END_OF_SESSION the end."""
    return session + sequence.to_bytes(8, "big") + count.to_bytes(2, "big")


class Day:
    """A day's messages, its packets with the time each is due, and the answer over the file."""

    def __init__(self, seed, session=SESSION, **options):
        options = {
            "instruments": 8,
            "seconds": 0.6,
            "messages_per_s": 2000,
            "episodes": 2,
        } | options
        self.data = simulate(seed=seed, **options).data
        self.session = session
        self.blocks = list(pack_all([self.data], session=session, pack_ns=PACK_NS))
        self.next_sequence = self.blocks[-1].next_sequence
        due_ns = np.concatenate([block.due_ns for block in self.blocks])
        pauses = np.minimum(np.diff(due_ns, prepend=due_ns[:1]), PAUSE_MAX_NS)
        times = (BEGAN_NS + np.cumsum(pauses)).tolist()
        datagrams = [block.packet(i) for block in self.blocks for i in range(len(block))]
        self.sent = list(zip(times, datagrams))
        over = mark(self.next_sequence, END_OF_SESSION, session)
        self.marks = [(times[-1] + n * 10 * MS, over) for n in range(1, 4)]

    def answer(self, pipeline):
        """(digests, {output: rows}) of the batch runtime over the file."""
        engine = batch.make_engine(pipeline, {"itch": "length_prefixed"})
        rows = {name: [] for name in engine.plan.outputs}
        done = batch.run(
            engine, frames_of([(None, self.data)]), lambda name, r, _: rows[name].append(r.copy())
        )
        assert not engine.feed_state("itch")["refused"].any()
        made = {n: np.concatenate(r) if r else np.zeros(0) for n, r in rows.items()}
        return {n: d for n, d in done.digests.items() if n != "gap"}, made


@dataclass
class Line:
    """A line of the feed; `is_up(ordinal)` says whether it carries a datagram at all."""

    faults: Faults = Faults()  # noqa: RUF009
    is_up: Callable[[int], bool] = lambda ordinal: True


@dataclass
class Server:
    """The venue's re-request server; its answers suffer `faults`, and take `took_ns` at least."""

    faults: Faults = Faults()  # noqa: RUF009
    took_ns: int = 300_000
    is_up: Callable[[int], bool] = lambda now_ns: True  # ns since the day began


@dataclass
class Ran:
    log: list[Any] = field(default_factory=list)  # (kind, source, receive time, payload)
    rows: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    delivered: set[int] = field(default_factory=set)  # numbers that arrived whole, ever
    every_digest: dict[str, str] = field(default_factory=dict)  # with that of the gaps
    state: str = ""
    feed: Any = None
    asked: int = 0
    late: int = 0

    @property
    def lost(self):
        gaps = self.rows["gap"]
        return gaps[gaps["state"] == GAP_LOST]

    def lost_numbers(self):
        """Every number that a Gap record says was given up."""
        return {
            n
            for gap in self.lost
            for n in range(
                gap["first_sequence"], int(gap["first_sequence"]) + int(gap["messages_count"])
            )
        }


class Driver:
    """One compiled driver of a pipeline, for many runs."""

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.engine = Engine(plan(pipeline, {"itch": "moldudp64"}), 1 << 14)

    def fresh(self):
        return Engine(self.engine.plan, 1 << 14, self.engine.turn)


def play(driver, days, lines, server=None, *, marks=True, end=True):
    """Run a day, or several one after the other; `end`: to the end of the source."""
    days = days if isinstance(days, list) else [days]
    return _World(driver, days, lines, server, marks).run(end)


class _World:
    def __init__(self, driver, days, lines, server, marks):
        self.engine = driver.fresh()
        self.plan, self.ran = self.engine.plan, Ran()
        source = self.plan.pipeline.sources[0]
        self.patience_ns = min(source.idle_ns, max(source.patience_ns, MS))
        self.idle_ns = source.idle_ns
        self.heap, self.order = [], 0
        later_ns = 0
        self.sent = []
        for day in days:
            sent = [(t + later_ns, d) for t, d in day.sent + (day.marks if marks else [])]
            self.sent += sent
            later_ns = sent[-1][0] - BEGAN_NS + 50 * MS
        for number, line in enumerate(lines):
            self._travel(self.sent, line, number)
        self.server = server
        self.answers = server.faults.words() if server else None
        self.asks, self.asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.asked.setblocking(False)
        self.words, self.request = w.new_words(), np.zeros(20, np.uint8)
        self.clocks = np.zeros(1, CLOCK_ROW)
        self.answered = 0
        self.venues = {day.session: _venue(day, self) for day in days}
        self.now_ns = BEGAN_NS
        self.heard_ns = self.told_ns = 0
        self.digests = digests_of(self.plan)
        self.made = {name: [] for name in self.plan.outputs}

    def run(self, end):
        with self.asks, self.asked:
            while self.heap or self.row["gap_open"]:
                self._step()
        self.venues.clear()  # they know this world, whose arrays would else wait for the collector
        if end:
            self._feed(END, 0, b"")
        ran = self.ran
        ran.rows = {
            name: np.concatenate(made)
            if made
            else np.zeros(0, self.plan.pipeline.outputs[name].of.dtype)
            for name, made in self.made.items()
        }
        ran.every_digest = {name: digest.hexdigest() for name, digest in self.digests.items()}
        ran.digests = {name: digest for name, digest in ran.every_digest.items() if name != "gap"}
        ran.late = self.engine.counts().late
        ran.feed, ran.state, ran.asked = self.row.copy(), state_digest(self.engine), self.answered
        return ran

    @property
    def row(self):
        return self.engine.arrays["n0_feed"][0]

    def _step(self):
        """Whatever is next: a datagram, a tick, or the time to ask."""
        is_gap = bool(self.row["gap_open"])
        tick_ns = self.told_ns + (self.patience_ns if is_gap else self.idle_ns) + LOOKS_NS
        ask_ns = int(self.clocks[0]["ask_at_ns"]) if is_gap and self.server else 1 << 62
        next_ns = self.heap[0][0] if self.heap else 1 << 62
        if not self.heard_ns:
            tick_ns = 1 << 62
        self.now_ns = max(self.now_ns, min(next_ns, tick_ns, ask_ns))
        if next_ns <= self.now_ns:
            _, _, line, datagram = heapq.heappop(self.heap)
            self.heard_ns = self.told_ns = self.now_ns
            self._feed(DATA, line << 8, datagram)
        elif tick_ns <= self.now_ns:
            self.told_ns = self.now_ns
            self._feed(TICK, 0, b"")
        if self.row["gap_open"]:
            self._ask()
        else:
            self.clocks["ask_at_ns"] = 0

    def _feed(self, kind, source, payload):
        self.ran.log.append((kind, source, self.now_ns, payload))
        piece = frame(kind, source, payload, len(self.ran.log) - 1, self.now_ns)
        buffer = np.frombuffer(bytearray(piece), np.uint8)
        for name, rows, origins in self.engine.feed(buffer, 0, len(buffer)):
            self.digests[name].update(rows, origins)
            self.made[name].append(rows.copy())

    def _ask(self):
        if self.server is None:
            return
        fd = self.asks.fileno()
        arrays = self.engine.arrays
        ask_row(
            self.words,
            self.clocks,
            arrays["n0_feed"],
            arrays["n0_held"],
            fd,
            self.request,
            self.now_ns,
        )
        while True:
            try:
                request = self.asked.recv(100)
            except BlockingIOError:
                return
            self._answer(request)

    def _answer(self, request):
        venue = self.venues.get(request[:10])
        if venue is None or not self.server.is_up(self.now_ns - BEGAN_NS):
            return
        answer = venue.answer(request)
        if answer is None:
            return
        ordinal, self.answered = self.answered, self.answered + 1
        copies, _, delay_ns, flips = plan_packet(self.answers, ordinal)
        arrives_ns = self.now_ns + self.server.took_ns + delay_ns
        data = bytes(answer)
        self._arrive(arrives_ns, ASKED_NUMBER, data, copies, flips, self.answers, ordinal)

    def _travel(self, sent, line, number):
        """What a line makes of all that was sent on it."""
        faults = line.faults.words()
        for ordinal, (at_ns, datagram) in enumerate(sent):
            copies, behind, delay_ns, flips = plan_packet(faults, ordinal)
            if not line.is_up(ordinal):
                continue
            at_ns += delay_ns
            if behind:
                last = ordinal + behind
                at_ns = sent[last][0] + 1 if last < len(sent) else sent[-1][0] + BEHIND_NS
            self._arrive(at_ns, number, datagram, copies, flips, faults, ordinal)

    def _arrive(self, at_ns, line, datagram, copies, flips, faults, ordinal):
        if copies == 0:
            return
        data = np.frombuffer(bytearray(datagram), np.uint8)
        if flips:
            damage(faults, ordinal, flips, data, 0, len(data))
        self.ran.delivered |= whole_messages(datagram, data.tobytes())
        for _ in range(copies):
            self.order += 1
            heapq.heappush(self.heap, (at_ns, self.order, line, data.tobytes()))


@kernel
def ask_row(words, clocks, feeds, held, fd, request, now_ns):
    ask(words, row(clocks, 0), row(feeds, 0), held, fd, request, now_ns)


def _venue(day, world):
    history = History(len(day.blocks))
    for block in day.blocks:
        history.add(block)
    mine = [(t, d) for t, d in world.sent if d[:10] == day.session]
    times = [t for t, _ in mine]

    def next_sequence():
        n = bisect_right(times, world.now_ns)
        if n == 0:
            return 1
        header = mine[n - 1][1]
        count = int.from_bytes(header[18:20], "big")
        first = int.from_bytes(header[10:18], "big")
        return first if count == END_OF_SESSION else first + count

    receiver: Any = SimpleNamespace(socket=None)
    return RerequestServer(receiver, history, next_sequence, session=day.session)


def whole_messages(datagram, arrived):
    """Numbers of the messages that a datagram brings whole; damage to the frame leaves none."""
    first, count = int.from_bytes(datagram[10:18], "big"), int.from_bytes(datagram[18:20], "big")
    if count in (0, END_OF_SESSION):
        return set()
    numbers, at, types = [], 20, {}
    for number in range(first, first + count):
        numbers.append(number)
        types[at + 2] = number
        at += 2 + int.from_bytes(datagram[at : at + 2], "big")
    damaged = {i for i, (a, b) in enumerate(zip(datagram, arrived)) if a != b}
    if damaged - types.keys():
        return set()
    return set(numbers) - {types[i] for i in damaged}
