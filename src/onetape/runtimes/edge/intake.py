"""Where frames come from: datagrams of the lines, then the inbox; and what to do when none comes.

Lines are looked at in turn, a batch at a time. A datagram is copied once, to the tape, with the
time its batch was taken. A tape without room leaves it where it is: the socket's buffer fills up,
and what the kernel then drops shows in its count of drops and as a gap in the venue's numbers.
"""

from onetape.compiled.atomics import load_acquire, store_release
from onetape.compiled.frame import (
    DATA,
    HEADER_BYTES,
    PAD,
    TICK,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
    frame_ts_recv_ns,
)
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.native.clock import clock_ns, monotonic_ns, sleep_ns, yield_thread
from onetape.native.sockets import is_truncated, receive, received_bytes, wait_readable
from onetape.runtimes.edge.lines import SLOT_BYTES
from onetape.runtimes.edge.words import (
    BATCH_AT,
    BATCH_COUNT,
    BATCH_LINE,
    BATCH_NS,
    ERRNO,
    FRAME_TOO_LONG,
    IDLE_SINCE_NS,
    LINE_FAULT,
    MARKED,
    NAP_NS,
    NEXT_LINE,
    PAUSE_NS,
    SPIN,
    STATE,
    STOP,
    STOPPED,
    TAPE_FAULT,
    TICKS,
    TOLD_OFFSET,
    WAIT,
    WAIT_MAX_NS,
    WAIT_NS,
    WAITS_FULL,
    WAITS_TAPE,
    YIELD,
)
from onetape.tape.ring import FAULTED, HEAD, REFUSED_FULL, TOO_LONG, WRITTEN, append

NOTHING, LEAVE = -1, -2  # in place of a frame's position
SHORT_NAP_NS = 500_000  # the longest while messages are missing, or rows sent are not durable


@kernel
def take(words, inbox, inbox_control, ring, control, lines, headers, batch, clocks):
    """Put the next frame on the tape; its position, or NOTHING, or LEAVE (STATE says why)."""
    if words[BATCH_AT] < words[BATCH_COUNT] or _poll(words, lines, headers, batch):
        return _take_datagram(words, ring, control, lines, headers, batch, clocks)
    if words[STATE] != 0:
        return LEAVE
    tail = inbox_control[WRITTEN]
    if load_acquire(inbox_control, HEAD) != tail:
        return _take_frame(words, inbox, inbox_control, ring, control, clocks, tail)
    if load_acquire(words, STOP) != 0:
        store_release(words, STATE, STOPPED)
        return LEAVE
    if words[TICKS] != 0:
        return _tick(words, ring, control, inbox, clocks)
    return NOTHING


@kernel
def wait(words, lines, watch, is_gap):
    """Nothing has come: spin, yield, or sleep until something may have."""
    if words[WAIT] == SPIN:
        return
    if words[WAIT] == YIELD:
        yield_thread()
        return
    if lines.shape[0] > 0:
        now_ns = monotonic_ns()
        if words[IDLE_SINCE_NS] == 0:
            words[IDLE_SINCE_NS] = now_ns
        if now_ns - words[IDLE_SINCE_NS] >= words[WAIT_NS]:
            nap_ns = words[WAIT_MAX_NS]
            if is_gap != 0 or words[TOLD_OFFSET] > words[MARKED]:
                nap_ns = min(nap_ns, SHORT_NAP_NS)
            wait_readable(watch, nap_ns)
        return
    sleep_ns(words[NAP_NS])
    words[NAP_NS] = min(2 * words[NAP_NS], words[WAIT_MAX_NS])


@kernel
def _poll(words, lines, headers, batch):
    """Take a batch of the first line, in turn, that has one.

    A line that fails ends the node; only the one that was asked may be gone: A and B go on.
    """
    for _ in range(lines.shape[0]):
        n = words[NEXT_LINE]
        words[NEXT_LINE] = n + 1 if n + 1 < lines.shape[0] else 0
        line = row(lines, n)
        count = receive(line.fd, headers, batch, SLOT_BYTES)
        if count > 0:
            line.batches += 1
            words[BATCH_LINE] = n
            words[BATCH_COUNT] = count
            words[BATCH_AT] = 0
            words[BATCH_NS] = line.heard_ns = clock_ns()
            return True
        if count < 0:
            line.errors += 1
            if line.is_asked != 0:
                continue
            words[ERRNO] = -count
            store_release(words, STATE, LINE_FAULT)
            return False
    return False


@kernel
def _take_datagram(words, ring, control, lines, headers, batch, clocks):
    i = words[BATCH_AT]
    line = row(lines, words[BATCH_LINE])
    length = received_bytes(headers, i)
    now_ns = words[BATCH_NS]
    position = append(ring, control, line.source_id, DATA, now_ns, batch, i * SLOT_BYTES, length)
    if position < 0:
        return _refused(words, position)
    words[BATCH_AT] = i + 1
    line.packets += 1
    line.received_bytes += length
    if is_truncated(headers, i):
        line.truncated += 1
    _heard(words, clocks, line.source_id & 255, now_ns)
    return position


@kernel
def _take_frame(words, inbox, inbox_control, ring, control, clocks, tail):
    at = tail & (inbox.shape[0] - 1)
    length = frame_length(inbox, at)
    kind = frame_kind(inbox, at)
    if kind == PAD:
        store_release(inbox_control, WRITTEN, tail + frame_bytes(length))
        return NOTHING
    source = frame_source(inbox, at)
    ts_recv_ns = frame_ts_recv_ns(inbox, at)
    position = append(ring, control, source, kind, ts_recv_ns, inbox, at + HEADER_BYTES, length)
    if position < 0:
        return _refused(words, position)
    _heard(words, clocks, source & 255, ts_recv_ns)
    store_release(inbox_control, WRITTEN, tail + frame_bytes(length))
    return position


@kernel
def _heard(words, clocks, source, ts_recv_ns):
    words[NAP_NS] = words[WAIT_NS]
    words[IDLE_SINCE_NS] = 0
    if source < clocks.shape[0]:
        clock = row(clocks, source)
        clock.heard_ns = ts_recv_ns
        clock.told_ns = ts_recv_ns


@kernel
def _refused(words, position):
    """The tape has no room: wait a little. Or it has a fault: leave."""
    if position == FAULTED or position == TOO_LONG:
        store_release(words, STATE, TAPE_FAULT if position == FAULTED else FRAME_TOO_LONG)
        return LEAVE
    words[WAITS_FULL if position == REFUSED_FULL else WAITS_TAPE] += 1
    if load_acquire(words, STOP) > 1:  # asked to leave at once, whatever is waiting
        store_release(words, STATE, STOPPED)
        return LEAVE
    sleep_ns(PAUSE_NS)
    return NOTHING


@kernel
def _tick(words, ring, control, inbox, clocks):
    """A tick frame, if a source has been silent for its time."""
    now_ns = clock_ns()
    for source in range(clocks.shape[0]):
        clock = row(clocks, source)
        every_ns = clock.idle_ns
        if clock.is_gap != 0:
            every_ns = min(every_ns, clock.patience_ns)
        if clock.heard_ns > 0 and now_ns - clock.told_ns >= every_ns:
            position = append(ring, control, source, TICK, now_ns, inbox, 0, 0)
            if position >= 0:
                clock.told_ns = now_ns
                return position
    return NOTHING
