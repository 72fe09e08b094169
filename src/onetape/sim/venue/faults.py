"""What a bad network does to a datagram: decided by a seed and the datagram's ordinal alone.

    lose        it never arrives
    duplicate   it arrives twice, one right behind the other
    reorder     it arrives behind 1 to `reorder_depth` later ones
    delay       it arrives `delay_ms` later; what comes behind it overtakes it
    corrupt     1 to 8 of its bits are flipped, in both copies if there are two

A damaged datagram still arrives, because the kernel computes the UDP checksum of what is sent on.
MoldUDP64 has no checksum of its own, so what a receiver can detect depends on where the bits are:

    frame   one byte is damaged so that a careful receiver refuses the packet or the message, for
            certain: the session (a letter that is none), the number (beyond 2**48), the count or
            the last length (they no longer add up to the size), a type (that ITCH has not)
    any     anywhere. A changed price or order reference is a valid message, which nobody can tell
            from a true one; so is a packet with another small number. A receiver may notice only
            where another line says otherwise. On a real network this is what the checksums of
            UDP and Ethernet are for; use it to see that nothing crashes, not that nothing is wrong
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.codecs.moldudp64 import END_OF_SESSION, HEADER_BYTES
from onetape.compiled.bits import add_wrap, mix, mul_wrap, shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_u16be
from onetape.records import OperatorError
from onetape.sim.random import STEP

DEPTH_MAX = 128
FLIPS_MAX = 8
CORRUPT_KINDS = ("frame", "any")
FRAME, ANY = range(2)

# Words of the settings: chances are of 2**30.
SEED, LOSE, DUPLICATE, REORDER, DEPTH, CORRUPT, KIND, DELAY, DELAY_NS = range(9)
CHANCE_BITS = 30

# Draws that decide more than a chance, and where damage to the frame may lie.
DEPTH_DRAW, FLIPS_DRAW, PLACE, BYTE, FLIP = 16, 17, 18, 19, 20  # FLIP: and the next seven
PLACES = 5
SESSION_PLACE, SEQUENCE_PLACE, COUNT_PLACE, TYPE_PLACE = range(PLACES - 1)  # else a length


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Chances, 0 to 1 for each datagram, and their measures. OperatorError if they cannot be."""

    seed: int = 7
    lose: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_depth: int = 16
    corrupt: float = 0.0
    corrupt_kind: str = "frame"
    delay_spike: float = 0.0
    delay_ms: float = 50.0

    def __post_init__(self) -> None:
        for name in ("lose", "duplicate", "reorder", "corrupt", "delay_spike"):
            if not 0 <= getattr(self, name) <= 1:
                raise OperatorError(f"{name} was {getattr(self, name)}; expected 0 to 1")
        if not 1 <= self.reorder_depth <= DEPTH_MAX:
            raise OperatorError(
                f"reorder_depth was {self.reorder_depth}; expected 1 to {DEPTH_MAX}"
            )
        if self.corrupt_kind not in CORRUPT_KINDS:
            raise OperatorError(f"corrupt_kind was {self.corrupt_kind!r}; expected frame or any")
        if not 0 <= self.delay_ms <= 10_000:
            raise OperatorError(f"delay_ms was {self.delay_ms}; expected 0 to 10 000")

    def words(self) -> Any:
        """int64[]: the settings as the kernels read them."""
        return np.array(
            [
                self.seed,
                _chance(self.lose),
                _chance(self.duplicate),
                _chance(self.reorder),
                self.reorder_depth,
                _chance(self.corrupt),
                CORRUPT_KINDS.index(self.corrupt_kind),
                _chance(self.delay_spike),
                round(self.delay_ms * 1e6),
            ],
            np.int64,
        )


def _chance(of_one: float) -> int:
    return round(of_one * (1 << CHANCE_BITS))


@kernel
def plan_packet(faults, ordinal):
    """What happens to datagram `ordinal` (0, 1, 2 ...), by the settings of `Faults.words`.

    Returns (copies, behind, delay_ns, flips): 0 copies is lost; behind how many later datagrams it
    arrives; how much later it arrives (it is one or the other); how many bits are flipped.
    """
    if _happens(faults, ordinal, LOSE):
        return 0, 0, 0, 0
    copies = 2 if _happens(faults, ordinal, DUPLICATE) else 1
    behind, delay_ns, flips = 0, 0, 0
    if _happens(faults, ordinal, DELAY):
        delay_ns = faults[DELAY_NS]
    elif _happens(faults, ordinal, REORDER):
        behind = 1 + _below(faults, ordinal, DEPTH_DRAW, faults[DEPTH])
    if _happens(faults, ordinal, CORRUPT):
        flips = 1 + _below(faults, ordinal, FLIPS_DRAW, FLIPS_MAX)
    return copies, behind, delay_ns, flips


@kernel
def damage(faults, ordinal, flips, buffer, at, length):
    """Damage the datagram buffer[at:at + length]: `flips` bits, fewer where a draw repeats itself.

    At least one bit is another afterwards, unless the datagram is empty.
    """
    if faults[KIND] == FRAME and length >= HEADER_BYTES:
        where, mask = _frame_damage(faults, ordinal, buffer, at, length)
        for i in range(1, flips):
            mask |= 1 << _below(faults, ordinal, FLIP + i, 8)
        buffer[at + where] ^= mask
    elif length > 0:
        first = _below(faults, ordinal, FLIP, 8 * length)
        buffer[at + (first >> 3)] ^= 1 << (first & 7)
        for i in range(1, flips):
            bit = _below(faults, ordinal, FLIP + i, 8 * length)
            if bit != first:
                buffer[at + (bit >> 3)] ^= 1 << (bit & 7)


@kernel
def _frame_damage(faults, ordinal, buffer, at, length):
    """(byte of the datagram, bits of it) whose change must be refused, whatever else changes."""
    count = load_u16be(buffer, at + 18)
    place = _below(faults, ordinal, PLACE, PLACES)
    bit = 1 << _below(faults, ordinal, FLIP, 8)
    if place == SESSION_PLACE or count == 0 or count == END_OF_SESSION:
        return _below(faults, ordinal, BYTE, 10), 0x80  # beyond ASCII
    if place == SEQUENCE_PLACE:
        return 10 + _below(faults, ordinal, BYTE, 2), bit  # its upper 16 bits
    if place == COUNT_PLACE:
        return 18 + _below(faults, ordinal, BYTE, 2), bit
    chosen = count - 1
    if place == TYPE_PLACE:
        chosen = _below(faults, ordinal, BYTE, count)
    where = HEADER_BYTES
    for _ in range(chosen):
        if where + 2 > length:
            break
        where += 2 + load_u16be(buffer, at + where)
    if where + 2 >= length:  # no packet of ITCH at all
        return 0, 0x80
    if place == TYPE_PLACE:
        return where + 2, 0x80  # no letter
    return where + _below(faults, ordinal, BYTE, 2), bit


@kernel
def _happens(faults, ordinal, what):
    return shift_right(_word(faults, ordinal, what), 64 - CHANCE_BITS) < faults[what]


@kernel
def _below(faults, ordinal, draw, n):
    """0 <= it < n, n far below 2**32: the bias is too small to matter here."""
    return (shift_right(_word(faults, ordinal, draw), 32) * n) >> 32


@kernel
def _word(faults, ordinal, draw):
    """64 random bits: draw number `draw` for this datagram."""
    of_packet = mix(add_wrap(mix(add_wrap(faults[SEED], STEP)), ordinal))
    return mix(add_wrap(of_packet, mul_wrap(draw + 1, STEP)))
