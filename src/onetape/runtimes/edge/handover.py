"""Between two frames: one hot loop ends, another begins. No Python, no lock, nothing copied twice.

    old loop   sees the order (words[ORDERED]), puts it on the tape as a CONTROL frame: from there
               on all is the new version's, here and in every replay. Then HANDED, and it returns.
    new loop   stands ready in a thread of its own, in compiled code; sees HANDED, takes the state
               over (`engine/succession.py`), and goes on with the same sockets, ring and journal.

What has come meanwhile waits where it always does: in the batch, the inbox, the sockets' buffers.
"""

from onetape.compiled.atomics import load_acquire, store_release
from onetape.compiled.frame import CONTROL
from onetape.compiled.kernel import kernel
from onetape.native.clock import clock_ns, monotonic_ns, sleep_ns
from onetape.runtimes.edge.words import (
    DONE_OFFSET,
    HANDED,
    ORDERED,
    PAUSE_BEGAN_NS,
    PAUSE_NS_OF_SWAP,
    READY,
    STATE,
    SWAP_OFFSET,
    TAKEN,
    TURN,
)
from onetape.tape.ring import OFFSET, append

ORDER_BYTES = 512
NAP_NS = 20_000  # a thread that sleeps is let in at once when it wakes; one that yields is not


@kernel
def hand_over(words, ring, control, order):
    """The old loop's last act: the order on the tape, at once or at the next turn."""
    began_ns = monotonic_ns()
    at = append(ring, control, 0, CONTROL, clock_ns(), order, 0, words[ORDERED])
    if at < 0:
        return False
    words[ORDERED] = 0
    words[SWAP_OFFSET] = control[OFFSET] - 1
    words[PAUSE_BEGAN_NS] = began_ns
    store_release(words, HANDED, words[TURN])
    return True


@kernel
def await_hand_over(words, turn):
    """Wait for hand-over number `turn`; False: the old loop has ended without one."""
    store_release(words, READY, turn)
    while load_acquire(words, HANDED) != turn:
        if load_acquire(words, STATE) != 0 or load_acquire(words, HANDED) < 0:
            return False
        sleep_ns(NAP_NS)
    return True


@kernel
def taken_over(words, control, was_sent, sent):
    """All is in place: the loop goes on."""
    for k in range(min(was_sent.shape[0], sent.shape[0])):
        sent[k] = was_sent[k]  # an output that rows leave from keeps its number
    store_release(words, DONE_OFFSET, control[OFFSET])
    words[PAUSE_NS_OF_SWAP] = monotonic_ns() - words[PAUSE_BEGAN_NS]
    store_release(words, TAKEN, words[HANDED])
