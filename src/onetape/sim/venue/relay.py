"""A bad network between two addresses: takes datagrams, and passes them on as `faults` decides.

What is held back waits in a few slots. A reordered datagram leaves when enough later ones have
come, or when nothing has for SILENCE_NS; a delayed one when its time is up. With no delays and no
silence, what comes out is a pure function of the seed and what comes in.
"""

import numpy as np

from onetape.compiled.atomics import load_acquire, poke
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import copy_bytes
from onetape.compiled.rows import row
from onetape.native.clock import monotonic_ns
from onetape.native.sockets import new_batch, new_watch, receive, received_bytes, wait_readable
from onetape.records import OperatorError
from onetape.sim.venue.faults import Faults, damage, plan_packet
from onetape.sim.venue.sender import fine_sleeps, send_datagram

SLOTS, SLOT_BYTES = 32, 9216
HELD_MAX = 512
SILENCE_NS = 5_000_000
NAP_NS, HOLDING_NAP_NS = 20_000_000, 500_000
NEVER = 1 << 62

COUNTS = (
    "received", "lost", "duplicated", "reordered", "delayed", "corrupted", "sent", "unsent",
    "not_held",
)  # fmt: skip
(RECEIVED, LOST, DUPLICATED, REORDERED, DELAYED, CORRUPTED, SENT, UNSENT, NOT_HELD) = range(9)
STOP, HOLDING, HEARD_NS, WORDS = 9, 10, 11, 16

HELD_ROW = np.dtype(
    [
        ("copies", "<i8"),  # 0: the slot is free
        ("length", "<i8"),
        ("until_ordinal", "<i8"),  # it leaves once the datagram of this ordinal has come
        ("until_ns", "<i8"),
    ]
)


class Relay:
    """Passes on what comes to socket `fd_in` through connected socket `fd_out`.

    `run` blocks and belongs on a thread; `stop` and `counts` may be called from any other. At the
    end, what is held leaves, and sent + unsent = received - lost + duplicated.
    """

    def __init__(self, fd_in: int, fd_out: int, faults: Faults) -> None:
        self._words = np.zeros(WORDS, np.int64)
        self._faults = faults.words()
        self._fds = fd_in, fd_out
        self._held = np.zeros(HELD_MAX, HELD_ROW), np.zeros(HELD_MAX * SLOT_BYTES, np.uint8)
        self._batch = new_batch(SLOTS, SLOT_BYTES)
        self._watch = new_watch([fd_in])
        self.stop()
        self._relay()  # compiles, before anything comes
        poke(self._words, STOP, 0)

    def run(self) -> None:
        """Until `stop`. OperatorError when the socket is unusable."""
        fine_sleeps()
        done = self._relay()
        if done < 0:
            raise OperatorError(f"the relay's socket failed: errno {-done}; open it again")

    def stop(self) -> None:
        poke(self._words, STOP, 1)

    def counts(self) -> dict[str, int]:
        """Datagrams by what became of them. not_held: to be held back, but there was no slot."""
        return {name: int(self._words[i]) for i, name in enumerate(COUNTS)}

    def _relay(self) -> int:
        arrays = self._watch, *self._batch, *self._held
        return int(relay(self._words, self._faults, *self._fds, *arrays))


@kernel
def relay(words, faults, fd_in, fd_out, watch, headers, batch, held, store):
    """Take and pass on until STOP; returns 0, or -errno of a socket that cannot receive."""
    while load_acquire(words, STOP) == 0:
        count = receive(fd_in, headers, batch, SLOT_BYTES)
        if count < 0:
            return count
        now_ns = monotonic_ns()
        for i in range(count):
            words[HEARD_NS] = now_ns
            length = received_bytes(headers, i)
            pass_on(words, faults, fd_out, batch, i * SLOT_BYTES, length, now_ns, held, store)
        if count == 0:
            if words[HOLDING] > 0:
                release(words, fd_out, held, store, now_ns)
            wait_readable(watch, HOLDING_NAP_NS if words[HOLDING] > 0 else NAP_NS)
    release(words, fd_out, held, store, NEVER)
    return 0


@kernel
def pass_on(words, faults, fd, batch, at, length, now_ns, held, store):
    """One datagram has come: lose, damage, hold or send it; then send what it sets free."""
    ordinal = words[RECEIVED]
    words[RECEIVED] = ordinal + 1
    copies, behind, delay_ns, flips = plan_packet(faults, ordinal)
    if copies == 0:
        words[LOST] += 1
    if copies == 2:
        words[DUPLICATED] += 1
    if flips > 0:
        damage(faults, ordinal, flips, batch, at, length)
        words[CORRUPTED] += 1
    is_held = False
    if behind > 0 or delay_ns > 0:
        slot = _free_slot(words, held)
        if slot < 0:
            words[NOT_HELD] += 1
        else:
            is_held = True
            words[REORDERED if behind > 0 else DELAYED] += 1
            words[HOLDING] += 1
            its = row(held, slot)
            its.copies, its.length = copies, length
            its.until_ordinal = ordinal + behind if behind > 0 else NEVER
            its.until_ns = NEVER if behind > 0 else now_ns + delay_ns
            copy_bytes(store, slot * SLOT_BYTES, batch, at, length)
    if not is_held:
        _send(words, fd, batch, at, length, copies)
    if words[HOLDING] > 0:
        release(words, fd, held, store, now_ns)


@kernel
def release(words, fd, held, store, now_ns):
    """Send what has been held for long enough; all of it when now_ns is NEVER."""
    newest = words[RECEIVED] - 1
    is_silent = now_ns - words[HEARD_NS] >= SILENCE_NS
    left = words[HOLDING]
    for slot in range(held.shape[0]):
        if left == 0:
            return
        its = row(held, slot)
        if its.copies == 0:
            continue
        left -= 1
        is_due = newest >= its.until_ordinal or now_ns >= its.until_ns
        if is_due or (is_silent and its.until_ordinal < NEVER):
            _send(words, fd, store, slot * SLOT_BYTES, its.length, its.copies)
            its.copies = 0
            words[HOLDING] -= 1


@kernel
def _free_slot(words, held):
    if words[HOLDING] < held.shape[0]:
        for slot in range(held.shape[0]):
            if row(held, slot).copies == 0:
                return slot
    return -1


@kernel
def _send(words, fd, buffer, at, length, copies):
    for _ in range(copies):
        done = send_datagram(fd, buffer, at, length)
        if done == length:
            words[SENT] += 1
        else:
            words[UNSENT] += 1
