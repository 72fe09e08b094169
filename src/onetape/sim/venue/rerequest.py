"""The re-request server: whoever missed messages asks for them, and gets one packet of them.

A request is a packet's header alone: session, the first number wanted, how many. The answer is a
packet like those of the lines, to the asker only, with as many of the messages as fit and have
been sent; who wants more asks again. (It also ends with the block of the history it is in.)
Nothing is ever answered that the lines have not had yet. What cannot be answered is not: the
asker's timer does the rest, as UDP wants it. `refused` counts why.
"""

import select
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from onetape.codecs.moldudp64 import HEADER_BYTES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import copy_bytes, load_u16be, store_i64be, store_u16be
from onetape.connect.udp import Receiver
from onetape.sim.venue.packets import NO_PACKETS, PACKET_BYTES, SESSION_BYTES, History

POLL_S = 0.05
REQUEST_BYTES_READ = HEADER_BYTES + 1  # enough to see that it is too long


class RerequestServer:
    """Answers requests at `receiver`; `run` blocks until `stop` is set, on a thread of its own.

    next_sequence  says which numbers have been sent: those below it
    answered, messages, refused {reason: count}, unsent: what came of the requests
    """

    def __init__(
        self,
        receiver: Receiver,
        history: History,
        next_sequence: Callable[[], int],
        *,
        session: bytes,
        packet_bytes: int = PACKET_BYTES,
    ) -> None:
        self.answered = self.messages = self.unsent = 0
        self.refused: Counter[str] = Counter()
        self._socket = receiver.socket
        self._history = history
        self._next_sequence = next_sequence
        self._session = session
        self._packet_bytes = packet_bytes
        self._out = np.zeros(packet_bytes, np.uint8)
        gather(self._out, NO_PACKETS.message_at, 0, 0, 0, 0, self._out)  # compiles

    def run(self, stop: threading.Event) -> None:
        taken_from = self._socket
        while not stop.is_set():
            if not select.select([taken_from], [], [], POLL_S)[0]:
                continue
            while not stop.is_set():
                try:
                    request, asker = taken_from.recvfrom(REQUEST_BYTES_READ)
                except BlockingIOError:
                    break
                answer = self.answer(request)
                if answer is not None:
                    try:
                        taken_from.sendto(answer, asker)
                    except OSError:
                        self.unsent += 1

    def answer(self, request: bytes) -> memoryview | None:
        """The packet to send back, valid until the next call; None, and counted, if none is due."""
        sequence = int.from_bytes(request[10:18], "big")
        count = int.from_bytes(request[18:20], "big")
        available = self._next_sequence() - sequence
        packets = self._history.find(sequence)
        why = ""
        if len(request) != HEADER_BYTES:
            why = "length"
        elif request[:SESSION_BYTES] != self._session:
            why = "session"
        elif count == 0:
            why = "count of 0"
        elif sequence == 0 or available <= 0:
            why = "never sent"
        elif packets is None:
            why = "no longer kept"
        if why or packets is None:
            self.refused[why] += 1
            return None
        taken, size = gather(
            packets.buffer,
            packets.message_at,
            sequence - int(packets.first_sequence[0]),
            min(count, available),
            sequence,
            self._packet_bytes,
            self._out,
        )
        self.answered += 1
        self.messages += taken
        return self._out.data[:size]

    def statistics(self) -> dict[str, Any]:
        return {
            "answered": self.answered,
            "messages": self.messages,
            "unsent": self.unsent,
            "refused": dict(self.refused),
        }


@kernel
def gather(buffer, message_at, first, count, sequence, packet_bytes, out):
    """Write a packet of messages first, first + 1 ... to `out`; (how many, bytes)."""
    copy_bytes(out, 0, buffer, 0, 10)
    end = HEADER_BYTES
    taken = 0
    for message in range(first, min(first + count, message_at.shape[0])):
        at = message_at[message]
        size = 2 + load_u16be(buffer, at)
        if end + size > packet_bytes:
            break
        copy_bytes(out, end, buffer, at, size)
        end += size
        taken += 1
    store_i64be(out, 10, sequence)
    store_u16be(out, 18, taken)
    return taken, end
