"""The exchange as a whole: a day made ahead, sent on its lines, and answered for until it closes.

    blocks --> Ahead --> Publisher --> line A, line B
    (thread)             (thread)  \\-> History --> RerequestServer (thread)

A few million messages are made before the first is sent, so that making them disturbs nothing;
longer days are made as they are sent. Memory is bounded: AHEAD blocks to come and KEPT that went,
of some 1.5 MB each.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from onetape.connect.itch_file import EPOCH, LENGTH_PREFIXED, midnight_ns, open_itch, today
from onetape.connect.udp import LOOPBACK, Address, open_receiver, open_sender
from onetape.records import OperatorError
from onetape.sim.venue.packets import PACKET_BYTES, History, Packets
from onetape.sim.venue.rerequest import RerequestServer
from onetape.sim.venue.sender import Publisher

BLOCK_BYTES = 1 << 20
AHEAD, KEPT = 256, 256


class Exchange:
    """Use as a context manager: sockets open on entering, everything ends on leaving.

    blocks      of packets, of the same session and packet size
    lines       addresses of line A, line B ...
    rerequest   where it answers those who missed something; its port may be 0 (`asked_at`)
    restamp     event time is the scheduled send time of today instead of the day's own

    Errors of its threads are raised by `wait` and on leaving.
    """

    def __init__(
        self,
        blocks: Iterable[Packets],
        lines: Sequence[Address],
        *,
        session: bytes,
        rerequest: Address | None = None,
        packet_bytes: int = PACKET_BYTES,
        speed: float = 1.0,
        spin: bool = False,
        restamp: bool = False,
        interface: str = LOOPBACK,
    ) -> None:
        self.server: RerequestServer | None = None
        self.asked_at: Address | None = None
        self._history = History(KEPT)
        self._closing = threading.Event()
        self._futures: list[Future[None]] = []
        with ExitStack() as opened:
            senders = [
                opened.enter_context(open_sender(line, interface=interface)) for line in lines
            ]
            self.publisher = Publisher(
                [sender.fd for sender in senders],
                self._history,
                session=session,
                speed=speed,
                spin=spin,
                midnight_ns=midnight_ns(today()) if restamp else None,
            )
            if rerequest is not None:
                receiver = opened.enter_context(open_receiver(rerequest, interface=interface))
                self.asked_at = receiver.address
                self.server = RerequestServer(
                    receiver,
                    self._history,
                    lambda: self.publisher.next_sequence,
                    session=session,
                    packet_bytes=packet_bytes,
                )
            self._pool = opened.enter_context(ThreadPoolExecutor(2, "exchange"))
            self._ahead = opened.enter_context(Ahead(iter(blocks), AHEAD))
            opened.callback(self._close)
            self._opened = opened.pop_all()

    def start(self, *, start_after_s: float = 0.0) -> None:
        """Answer requests from now on, and send from `start_after_s` on."""
        if self.server is not None:
            self._futures.append(self._pool.submit(self.server.run, self._closing))
        sending = self._pool.submit(self.publisher.run, self._ahead, start_after_s=start_after_s)
        self._futures.insert(0, sending)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether the session has ended, within that time."""
        if not wait(self._futures[:1], timeout_s).done:
            return False
        self._futures[0].result()
        return True

    def statistics(self) -> dict[str, Any]:
        asked = None if self.server is None else self.server.statistics()
        return {**self.publisher.statistics(), "requests": asked}

    def _close(self) -> None:
        self.publisher.stop()
        self._closing.set()
        for future in self._futures:
            future.result()

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *why: Any) -> None:
        self._opened.__exit__(*why)


class Ahead(Iterator[Packets]):
    """The blocks, made on a thread up to `count` before they are asked for; that many at once."""

    def __init__(self, blocks: Iterator[Packets], count: int) -> None:
        self._blocks = blocks
        self._pool = ThreadPoolExecutor(1, "ahead")
        first: Future[Packets | None] = Future()
        first.set_result(next(blocks, None))  # it compiles: here, where Ctrl-C is heard
        self._coming = deque([first])
        for _ in range(count - 1):
            self._order()
        try:
            for made in self._coming:  # what is wrong with them is said before the first is sent
                made.result()
        except BaseException:  # Ctrl-C too: nobody waits for the rest
            self._pool.shutdown(wait=False, cancel_futures=True)
            raise

    def __next__(self) -> Packets:
        packets = self._coming.popleft().result()
        if packets is None:
            raise StopIteration
        self._order()
        return packets

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _order(self) -> None:
        self._coming.append(self._pool.submit(next, self._blocks, None))  # type: ignore[arg-type]


def file_blocks(path: Path) -> tuple[date | None, Iterator[Any]]:
    """The date of a recorded day, where its name tells it, and its messages in blocks.

    OperatorError for a capture.
    """
    file = open_itch(path, chunk_bytes=BLOCK_BYTES)
    if file.framing != LENGTH_PREFIXED:
        raise OperatorError(f"{path} is a capture of packets; expected a file of messages")
    day = file.trading_date if file.trading_date != EPOCH else None
    return day, (block for _, block in file)
