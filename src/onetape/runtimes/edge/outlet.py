"""Rows that leave at once: as datagrams, and on the tape what was said.

After each turn the loop sends the new rows of the outputs that have somewhere to go, copies each
datagram to the tape as a SENT frame, and later says that they are durable. Nothing waits for the
disk. What was sent before a crash is on the tape, or is sent again: at least once, each row with
its number.
"""

from onetape.codecs.rows_datagram import (
    DATAGRAM_BYTES,
    DURABLE,
    HEADER_BYTES,
    ROWS,
    rows_behind,
    write_header,
)
from onetape.compiled.atomics import load_acquire
from onetape.compiled.counts import record_ns
from onetape.compiled.frame import HEADER_BYTES as FRAME_HEADER_BYTES
from onetape.compiled.frame import SENT as SENT_FRAME
from onetape.compiled.frame import frame_bytes, frame_kind, frame_length
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import copy_bytes
from onetape.compiled.rows import row
from onetape.native.clock import clock_ns
from onetape.native.sockets import send
from onetape.runtimes.edge.words import MARKED, SENT, TOLD_OFFSET, UNLOGGED, UNSENT
from onetape.tape.ring import DURABLE_OFFSET, EPOCH, append


@kernel
def send_rows(words, ring, control, fd, packet, output, rows, row_bytes, sent, head, run, counts):
    """Send rows sent[output] to `head` of an output's ring (as bytes), some to a datagram.

    run     row of RUN: the frame that is being run
    counts  from its receive time to the sending
    """
    size = rows.shape[0] // row_bytes
    most = max((DATAGRAM_BYTES - HEADER_BYTES) // row_bytes, 1)
    for _ in range(head - sent[output]):
        first = sent[output]
        if first >= head:
            break
        at = first & (size - 1)
        count = min(head - first, most, size - at)
        now_ns = clock_ns()
        durable = load_acquire(control, DURABLE_OFFSET)
        write_header(
            packet,
            ROWS,
            output,
            count,
            row_bytes,
            control[EPOCH],
            first,
            run.offset,
            durable,
            now_ns,
        )
        length = count * row_bytes
        copy_bytes(packet, HEADER_BYTES, rows, at * row_bytes, length)
        length += HEADER_BYTES
        if send(fd, packet, 0, length) == length:
            words[SENT] += 1
        else:
            words[UNSENT] += 1
        record_ns(counts, now_ns - run.ts_recv_ns)
        if append(ring, control, output, SENT_FRAME, now_ns, packet, 0, length) < 0:
            words[UNLOGGED] += 1
        sent[output] = first + count
        words[TOLD_OFFSET] = run.offset + 1


@kernel
def send_again(words, ring, control, fd, packet, output, rows, row_bytes, sent, head, runs, counts):
    """As `send_rows`, from Python: `runs` is the block whose first row is `run`."""
    run = row(runs, 0)
    send_rows(words, ring, control, fd, packet, output, rows, row_bytes, sent, head, run, counts)


@kernel
def last_sent(buffer, begin, end, sent):
    """Raise sent[output] to the rows that SENT frames in buffer[begin:end] say have left."""
    at = begin
    while at < end:
        if frame_kind(buffer, at) == SENT_FRAME:
            output, behind = rows_behind(buffer, at + FRAME_HEADER_BYTES)
            if output < sent.shape[0]:
                sent[output] = max(sent[output], behind)
        at += frame_bytes(frame_length(buffer, at))


@kernel
def mark_durable(words, control, fds, packet):
    """Say once that all that was sent is durable, when it is."""
    if words[TOLD_OFFSET] <= words[MARKED]:
        return
    durable = load_acquire(control, DURABLE_OFFSET)
    if durable < words[TOLD_OFFSET]:
        return
    words[MARKED] = durable
    write_header(packet, DURABLE, 0, 0, 0, control[EPOCH], 0, durable - 1, durable, clock_ns())
    for k in range(fds.shape[0]):
        if fds[k] >= 0:
            send(fds[k], packet, 0, HEADER_BYTES)
