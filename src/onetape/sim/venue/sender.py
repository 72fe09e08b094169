"""The open-loop sender: packet i leaves when it is due, whoever listens, whoever keeps up.

    due = start + (due_ns[i] - due_ns[0]) / speed

A sender that waited for its receivers would hide what it wants to measure. A packet that is late
leaves at once, and by how much is counted: lateness is the sender's own and must be known before a
latency is believed. `restamp` writes the time a packet was due into its messages, so that "received
minus event time" is the latency from the schedule, without the sender's excuses.

Line B gets each datagram right after line A. A heartbeat follows each second of silence, and
END_PACKETS say the end of the session.
"""

import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import ECONNREFUSED
from pathlib import Path
from typing import Any

import numpy as np

from onetape.codecs.itch50.decode import DAY_NS, TIME_MASK
from onetape.codecs.moldudp64 import END_OF_SESSION, HEADER_BYTES
from onetape.compiled.atomics import load_acquire, peek, poke, store_release
from onetape.compiled.counts import new_counts, percentile_ns, record_ns
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, store_i64be, store_u16be
from onetape.native.clock import monotonic_ns, sleep_ns
from onetape.native.sockets import send
from onetape.records import OperatorError
from onetape.sim.venue.packets import NO_PACKETS, History, Packets

END_PACKETS = 3
END_APART_S = 0.01
HEARTBEAT_NS = 1_000_000_000
NAP_NS = 10_000_000  # the longest sleep: how soon `stop` is heard
SPIN_NS = 100_000  # a sleep may take 50 us too long; so long before, spinning takes over
SPEED_UNIT = 1000
NO_STAMP = -1

# Words that the loop shares with Python.
STOP, NEXT_SEQUENCE, START_NS, FIRST_DUE_NS, SPEED, SPIN, STAMP_NS, LAST_NS = range(8)
SENT, HEARTBEATS, UNSENT = 8, 9, 10  # UNSENT and on: one a line
WORDS = 16
LINES_MAX = WORDS - UNSENT


class Publisher:
    """Sends blocks of packets on lines, and remembers them for the re-request server.

    fds            connected sockets, line A first
    speed          x the pace of the day's own times; 0: as fast as it goes
    spin           wait on the processor for the last SPIN_NS: less late, one processor taken
    midnight_ns    restamp: UTC ns of midnight New York, that the new times count from

    `run` blocks and belongs on a thread; the rest may be called from any other.
    """

    def __init__(
        self,
        fds: Sequence[int],
        history: History,
        *,
        session: bytes,
        speed: float = 1.0,
        spin: bool = False,
        midnight_ns: int | None = None,
    ) -> None:
        if not 1 <= len(fds) <= LINES_MAX:
            raise OperatorError(f"lines were {len(fds)}; expected 1 to {LINES_MAX}")
        if speed != 0 and not 1 / SPEED_UNIT <= speed <= 1e6:
            raise OperatorError(f"speed was {speed}; expected 0.001 to 1 000 000, or 0")
        self.lateness = new_counts()
        self._history = history
        self._fds = np.array(fds, np.int64)
        self._mark = np.zeros(HEADER_BYTES, np.uint8)
        self._mark[: len(session)] = np.frombuffer(session, np.uint8)
        self._midnight_ns = midnight_ns
        self._words = np.zeros(WORDS, np.int64)
        self._words[[NEXT_SEQUENCE, SPEED, SPIN]] = 1, round(speed * SPEED_UNIT), spin
        self._send(NO_PACKETS)  # compiles, before anything is due
        send_mark(self._words, self._fds[:0], self._mark, 0)

    @property
    def next_sequence(self) -> int:
        """Behind the last message that was sent."""
        return int(peek(self._words, NEXT_SEQUENCE))

    def run(self, blocks: Iterable[Packets], *, start_after_s: float = 0.0) -> None:
        """Send all of it, then the end of the session, which also follows a `stop`."""
        fine_sleeps()
        words = self._words
        words[LAST_NS] = time.monotonic_ns()
        words[START_NS] = words[LAST_NS] + round(start_after_s * 1e9)
        words[STAMP_NS] = NO_STAMP
        if self._midnight_ns is not None:
            words[STAMP_NS] = time.time_ns() - time.monotonic_ns() - self._midnight_ns
        for number, packets in enumerate(blocks):
            if number == 0:
                words[FIRST_DUE_NS] = packets.due_ns[0]
            self._history.add(packets)
            if self._send(packets) < len(packets):
                break
        for _ in range(END_PACKETS):
            send_mark(words, self._fds, self._mark, END_OF_SESSION)
            time.sleep(END_APART_S)

    def stop(self) -> None:
        """Send no more packets; `run` returns within some 50 ms."""
        poke(self._words, STOP, 1)

    def statistics(self) -> dict[str, Any]:
        """What was sent. `unsent`: datagrams that the socket of each line refused."""
        words = self._words
        return {
            "packets": int(words[SENT]),
            "messages": self.next_sequence - 1,
            "heartbeats": int(words[HEARTBEATS]),
            # A message of time t (since midnight) is due at start + (t - first_due) / speed.
            "start_ns": int(words[START_NS]) + time.time_ns() - time.monotonic_ns(),
            "first_due_ns": int(words[FIRST_DUE_NS]),
            "unsent": words[UNSENT : UNSENT + len(self._fds)].tolist(),
            "lateness_ns_p50": percentile_ns(self.lateness, 50),
            "lateness_ns_p99": percentile_ns(self.lateness, 99),
            "lateness_ns_max": percentile_ns(self.lateness, 100),
        }

    def _send(self, p: Packets) -> int:
        sent = send_packets(
            self._words, self._fds, p.buffer, p.starts, p.counts, p.due_ns, p.message_at,
            self._mark, self.lateness,
        )  # fmt: skip
        return int(sent)


def fine_sleeps() -> None:
    """Let the calling thread's sleeps end when asked: by default Linux may add 50 us to each."""
    if sys.platform == "linux":
        slack = Path(f"/proc/{threading.get_native_id()}/timerslack_ns")
        with suppress(OSError):  # a sandbox without it; how long sleeps are is counted as lateness
            slack.write_text("1")


@kernel
def send_packets(words, fds, buffer, starts, counts, due_ns, message_at, mark, lateness):
    """Send packets when they are due; returns how many were, fewer than all only after STOP.

    Times are written into `buffer` where STAMP_NS says so. NEXT_SEQUENCE moves after a packet has
    left, so nobody is answered with a message that was not sent.
    """
    message = 0
    for i in range(counts.shape[0]):
        due = words[START_NS]
        if words[SPEED] > 0:
            due += (due_ns[i] - words[FIRST_DUE_NS]) * SPEED_UNIT // words[SPEED]
        if not _wait(words, fds, mark, due):
            return i
        if words[STAMP_NS] != NO_STAMP:
            _stamp(buffer, message_at, message, counts[i], (due + words[STAMP_NS]) % DAY_NS)
        now_ns = monotonic_ns()
        if words[SPEED] > 0:
            record_ns(lateness, now_ns - due)
        _send_on_all(words, fds, buffer, starts[i], starts[i + 1] - starts[i])
        message += counts[i]
        words[LAST_NS] = now_ns
        words[SENT] += 1
        store_release(words, NEXT_SEQUENCE, words[NEXT_SEQUENCE] + counts[i])
    return counts.shape[0]


@kernel
def send_mark(words, fds, mark, count):
    """A packet without messages: count 0 is a heartbeat, END_OF_SESSION the end."""
    store_i64be(mark, 10, words[NEXT_SEQUENCE])
    store_u16be(mark, 18, count)
    _send_on_all(words, fds, mark, 0, HEADER_BYTES)


@kernel
def send_datagram(fd, buffer, at, count):
    """`send`, again where it only told of an earlier datagram that nobody was there for."""
    done = send(fd, buffer, at, count)
    if done == -ECONNREFUSED:
        done = send(fd, buffer, at, count)
    return done


@kernel
def _send_on_all(words, fds, buffer, at, count):
    for line in range(fds.shape[0]):
        if send_datagram(fds[line], buffer, at, count) != count:
            words[UNSENT + line] += 1


@kernel
def _wait(words, fds, mark, due):
    """Until `due`; False if STOP was said before. Heartbeats meanwhile."""
    while load_acquire(words, STOP) == 0:
        now_ns = monotonic_ns()
        left_ns = due - now_ns
        if left_ns <= 0:
            return True
        silent_ns = now_ns - words[LAST_NS]
        if silent_ns >= HEARTBEAT_NS:
            send_mark(words, fds, mark, 0)
            words[HEARTBEATS] += 1
            words[LAST_NS] = now_ns
        elif words[SPIN] == 0:
            sleep_ns(min(left_ns, NAP_NS))
        elif left_ns > SPIN_NS:
            sleep_ns(min(left_ns - SPIN_NS, NAP_NS))
    return False


@kernel
def _stamp(buffer, message_at, first, count, time_ns):
    """Write a time, ns since midnight, into messages first, first + 1 ..., behind their tracking
    numbers."""
    for message in range(first, first + count):
        at = message_at[message] + 5
        store_i64be(buffer, at, (load_i64be(buffer, at) & ~TIME_MASK) | time_ns)
