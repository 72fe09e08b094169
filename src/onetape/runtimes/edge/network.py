"""The sockets of a live node: lines of a feed, who is asked again, and where rows leave to."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from onetape.connect.udp import (
    LOOPBACK,
    RECEIVE_BUFFER_BYTES,
    Address,
    Receiver,
    Sender,
    open_receiver,
    open_sender,
)
from onetape.records import OperatorError
from onetape.runtimes.edge.lines import Line

NAMES = "ABCDEF"  # of lines
ASKED, ASKED_NUMBER = "asked", 7  # of the line that brings what was asked for; A is 0, B is 1


class Network:
    """Open sockets for one feed (source 0). Use as a context manager around an `EdgeNode`.

    lines      addresses of A, B and so on, as the venue sends the same numbered stream on each
    rerequest  address of the venue's re-request server
    sinks      {output: addresses' socket that its rows leave to}
    """

    def __init__(
        self,
        lines: Sequence[Address],
        *,
        rerequest: Address | None = None,
        sinks: dict[str, Address] | None = None,
        interface: str = LOOPBACK,
        receive_buffer_bytes: int = RECEIVE_BUFFER_BYTES,
    ) -> None:
        if len(lines) > len(NAMES):
            raise OperatorError(
                f"the lines of the feed were {len(lines)}; expected at most {len(NAMES)}: leave "
                "some out"
            )
        self._stack = ExitStack()
        self.receivers: list[Receiver] = []
        self.lines: list[Line] = []
        self.asks: dict[int, int] = {}
        self.rerequest = None if rerequest is None else str(rerequest)
        with ExitStack() as opened:
            for number, address in enumerate(lines):
                receiver = open_receiver(
                    address, interface=interface, receive_buffer_bytes=receive_buffer_bytes
                )
                self.receivers.append(opened.enter_context(receiver))
                self.lines.append(Line(NAMES[number], receiver.fd, 0, number))
            if rerequest is not None:
                asker = opened.enter_context(open_sender(rerequest, interface=interface))
                self.asks[0] = asker.fd
                self.lines.append(Line(ASKED, asker.fd, 0, ASKED_NUMBER))
            self.senders: dict[str, Sender] = {
                name: opened.enter_context(open_sender(address, interface=interface))
                for name, address in (sinks or {}).items()
            }
            self._stack = opened.pop_all()

    @property
    def warnings(self) -> list[str]:
        """What an operator should know before it matters."""
        return [receiver.warning for receiver in self.receivers if receiver.warning]

    def options(self) -> dict[str, Any]:
        """The arguments of an EdgeNode that listens here."""
        return {
            "lines": self.lines,
            "asks": self.asks,
            "sinks": {name: sender.fd for name, sender in self.senders.items()},
            "live": True,
        }

    def drops(self) -> int:
        """Datagrams the kernel dropped for want of room in a receive buffer, where it counts."""
        return sum(receiver.drops() or 0 for receiver in self.receivers)

    def __enter__(self) -> "Network":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stack.close()
