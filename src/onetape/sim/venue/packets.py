"""From the bytes of a day to datagrams: several messages a packet, as venues do.

Messages whose times lie within `pack_ns` of the packet's first one share a packet, up to
`packet_bytes`. A packet is due at the time of its last message, when a venue would have closed it.
Numbers go on over all blocks of a day; a packet never spans two blocks, so a day of any length is
packed and sent in bounded memory. About 10 ns a message.

Source: "MoldUDP64 Protocol Specification", version 1.00; the layout is in codecs/moldudp64.py.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.codecs.itch50.decode import TIME_MASK
from onetape.codecs.itch50.spec import BODY_BYTES
from onetape.codecs.moldudp64 import HEADER_BYTES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import (
    copy_bytes,
    load_i64be,
    load_u16be,
    store_i64be,
    store_u16be,
)
from onetape.records import OperatorError, PeerError

PACK_NS = 50_000
PACKET_BYTES = 1400
PACKET_BYTES_MIN, PACKET_BYTES_MAX = 72, 9000  # the longest ITCH message; a jumbo frame
SESSION_BYTES = 10
PREFIX_BYTES = 2
TIMED_BYTES = 11  # a message that has a time is at least as long


@dataclass(frozen=True, eq=False)
class Packets:
    """A run of packets, one behind the other in `buffer`. m messages, n packets.

    buffer          u8[]       packet i is buffer[starts[i]:starts[i + 1]]
    starts          i64[n + 1]
    counts          i64[n]     messages of each
    first_sequence  i64[n]     number of each packet's first message
    due_ns          i64[n]     time of each packet's last message, ns since midnight
    message_at      i64[m]     where in `buffer` the length of each message is
    """

    buffer: Any
    starts: Any
    counts: Any
    first_sequence: Any
    due_ns: Any
    message_at: Any

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def messages(self) -> int:
        return len(self.message_at)

    @property
    def sizes(self) -> Any:
        """Bytes of each packet, i64[n]."""
        return np.diff(self.starts)

    @property
    def next_sequence(self) -> int:
        """The number behind the last message's."""
        return int(self.first_sequence[0]) + self.messages

    def packet(self, i: int) -> bytes:
        """The datagram."""
        return self.buffer[self.starts[i] : self.starts[i + 1]].tobytes()

    def message(self, sequence: int) -> bytes:
        """The body of the message of that number. IndexError if it is not here."""
        i = sequence - int(self.first_sequence[0])
        if not 0 <= i < self.messages:
            raise IndexError(f"message {sequence} of {self.first_sequence[0]} on")
        at = int(self.message_at[i])
        return self.buffer[at + 2 : at + 2 + load_u16be(self.buffer, at)].tobytes()


NO_PACKETS = Packets(np.zeros(0, np.uint8), *(np.zeros(n, np.int64) for n in (1, 0, 0, 0, 0)))


class History:
    """The last blocks of packets, for those who ask again. One thread adds, others look."""

    def __init__(self, blocks: int) -> None:
        self._kept: list[Packets] = []
        self._blocks = blocks

    def add(self, packets: Packets) -> None:
        self._kept = [*self._kept, packets][-self._blocks :]  # who looks keeps the old list

    def find(self, sequence: int) -> Packets | None:
        """The block that holds this number, if it is still kept."""
        kept = self._kept
        i = bisect_right(kept, sequence, key=lambda p: int(p.first_sequence[0])) - 1
        return kept[i] if i >= 0 and sequence < kept[i].next_sequence else None


def session_of(name: str) -> bytes:
    """A session's ten letters, spaces behind. OperatorError if it cannot be one."""
    if not 0 < len(name) <= SESSION_BYTES or not (name.isascii() and name.isprintable()):
        raise OperatorError(f"session was {name!r}; expected 1 to 10 printable ASCII letters")
    return name.ljust(SESSION_BYTES).encode()


def pack(
    data: Any,
    *,
    session: bytes,
    first_sequence: int = 1,
    pack_ns: int = PACK_NS,
    packet_bytes: int = PACKET_BYTES,
) -> Packets:
    """The packets of length-prefixed ITCH messages, u8[]; a length of 0 is written out.

    PeerError where the data ends within a message, or has one that no packet or time is in.
    Memory: the data, 20 bytes a packet and 8 a message.
    """
    if not PACKET_BYTES_MIN <= packet_bytes <= PACKET_BYTES_MAX:
        raise OperatorError(
            f"packet_bytes was {packet_bytes}; expected {PACKET_BYTES_MIN} to {PACKET_BYTES_MAX}"
        )
    messages, end = _count(data, packet_bytes)
    if end != len(data):
        raise PeerError(
            f"byte {end} of {len(data)}: expected a whole message of at least {TIMED_BYTES} bytes "
            f"that fits a packet of {packet_bytes}, was {bytes(data[end : end + 16]).hex(' ')}"
        )
    header = np.zeros(HEADER_BYTES, np.uint8)
    header[:SESSION_BYTES] = np.frombuffer(session, np.uint8)
    size = len(data) + messages * HEADER_BYTES  # what is not needed is never touched
    buffer, message_at = np.empty(size, np.uint8), np.empty(messages, np.int64)
    starts, counts, firsts, due_ns = (np.empty(messages + 1, np.int64) for _ in range(4))
    n = _fill(
        data, header, first_sequence, pack_ns, packet_bytes,
        buffer, starts, counts, firsts, due_ns, message_at,
    )  # fmt: skip
    return Packets(
        buffer[: starts[n]],
        starts[: n + 1].copy(),
        counts[:n].copy(),
        firsts[:n].copy(),
        due_ns[:n].copy(),
        message_at,
    )


def pack_all(
    blocks: Iterable[Any],
    *,
    session: bytes,
    pack_ns: int = PACK_NS,
    packet_bytes: int = PACKET_BYTES,
) -> Iterator[Packets]:
    """`pack` over the blocks of a day, numbered through from 1."""
    sequence = 1
    for block in blocks:
        packets = pack(
            block,
            session=session,
            first_sequence=sequence,
            pack_ns=pack_ns,
            packet_bytes=packet_bytes,
        )
        if len(packets):
            sequence = packets.next_sequence
            yield packets


@kernel
def _length(data, at):
    """Body bytes of the message whose length is at data[at:], or 0 if nobody knows."""
    if at + PREFIX_BYTES >= data.shape[0]:
        return 0
    length = load_u16be(data, at)
    if length == 0:
        length = BODY_BYTES[data[at + PREFIX_BYTES]]
    return length


@kernel
def _count(data, packet_bytes):
    """(messages that can be packed, where they end)."""
    messages = 0
    at = 0
    longest = packet_bytes - HEADER_BYTES - PREFIX_BYTES
    while at < data.shape[0]:
        length = _length(data, at)
        following = at + PREFIX_BYTES + length
        if length < TIMED_BYTES or length > longest or following > data.shape[0]:
            break
        messages += 1
        at = following
    return messages, at


@kernel
def _fill(
    data, header, sequence, pack_ns, packet_bytes,
    buffer, starts, counts, firsts, due_ns, message_at,
):  # fmt: skip
    """Copy every message into its packet; returns how many packets."""
    n = -1
    at, end = 0, 0
    opened_ns = 0
    starts[0] = 0
    for message in range(message_at.shape[0]):
        length = _length(data, at)
        body = at + PREFIX_BYTES
        time_ns = load_i64be(data, body + 3) & TIME_MASK  # behind the tracking number
        size = PREFIX_BYTES + length
        if n < 0 or time_ns - opened_ns > pack_ns or end + size - starts[n] > packet_bytes:
            n += 1
            starts[n], counts[n], firsts[n] = end, 0, sequence + message
            copy_bytes(buffer, end, header, 0, HEADER_BYTES)
            store_i64be(buffer, end + 10, sequence + message)
            end += HEADER_BYTES
            opened_ns = time_ns
        message_at[message] = end
        store_u16be(buffer, end, length)
        copy_bytes(buffer, end + PREFIX_BYTES, data, body, length)
        end += size
        at += size
        counts[n] += 1
        due_ns[n] = time_ns
        store_u16be(buffer, starts[n] + 18, counts[n])
    starts[n + 1] = end
    return n + 1
