"""The journal writer: from the ring to the segments, durable in groups. One compiled thread.

One turn takes whatever has arrived: it fills in the frames' checksums, writes them, makes the
segment durable, notes that in the watermark file, makes that durable, and only then says so in
control[DURABLE]. While the disk works, more arrives: the next group. No lock, no allocation, no
Python.

The watermark's two slots are written in turn, so a power cut while one is written leaves the
other. It is what tells recovery a torn tail (above it: nobody was promised anything, cut) from
rot (below it: halt).

An error of a write or of a sync is final: after a failed sync the kernel may have marked the
pages clean, and a second one would succeed without having written anything. It is kept in
control[FAULT] and the thread ends.
"""

from errno import EINTR, EIO
from typing import Any

import numpy as np

from onetape.compiled.atomics import load_acquire, store_release
from onetape.compiled.crc32c import crc32c
from onetape.compiled.frame import (
    HEADER_BYTES,
    PAD,
    frame_bytes,
    frame_checksum,
    frame_kind,
    frame_length,
)
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import store_i64le, store_u32le
from onetape.native.clock import monotonic_ns, sleep_ns
from onetape.native.files import fdatasync, pwrite
from onetape.tape.layout import SEGMENT_HEADER_BYTES, SLOT_BYTES, SLOT_SPACING
from onetape.tape.ring import (
    COMMITS,
    DURABLE,
    DURABLE_OFFSET,
    EPOCH,
    FAULT,
    FAULT_CALL,
    HEAD,
    STOP,
    WRITTEN,
)

CHUNK_BYTES = 1 << 18  # written at once: small enough to be in cache still after its checksums
GROUP_BYTES_MAX = 1 << 26  # then it is made durable, even if as much has arrived again
FILES = 8  # segments that can be open at once; segment n is files[n % FILES]
LATENCIES = 4096  # the newest commits whose duration is kept
IDLE_MIN_NS = 10_000

# Words of `job`: what the writer is told before it starts, and its own notes.
SEGMENT_BYTES, TAPE_ID, WATERMARK_FD, INTERVAL_NS, IDLE_MAX_NS, SEQUENCE, SEALED_OFFSET = range(7)
JOB_WORDS = 7

# control[FAULT_CALL]
CALLS = (
    "the journal writer",
    "writing a segment",
    "fdatasync of a segment",
    "writing the watermark",
    "fdatasync of the watermark",
)
WRITE_SEGMENT, SYNC_SEGMENT, WRITE_WATERMARK, SYNC_WATERMARK = range(1, 5)


def new_job() -> tuple[Any, Any, Any, Any]:
    """(files, job, mark, latencies): the writer's arguments behind ring and control."""
    files = np.full(FILES, -1, np.int64)
    mark = np.zeros(SLOT_BYTES, np.uint8)
    return files, np.zeros(JOB_WORDS, np.int64), mark, np.zeros(LATENCIES, np.int64)


@kernel
def write_loop(ring, control, files, job, mark, latencies):
    """Commit what arrives until control[STOP] and nothing is left, or until the disk fails.

    ring, control  from `new_ring`; `control` says what has arrived and what has become of it
    files          int64[FILES]; descriptor of segment n at n % FILES, set before LIMIT covers it
    job            int64[JOB_WORDS]
    mark           uint8[SLOT_BYTES], scratch
    latencies      int64[LATENCIES] ns; commit n took latencies[n % LATENCIES]

    Waits by sleeping, 10 us at first, then longer, up to job[IDLE_MAX_NS]: what comes after a
    pause is seen after an eighth of that pause at the latest, and a writer that has long been
    idle costs next to nothing.
    """
    idle_ns = IDLE_MIN_NS
    while True:
        stop = load_acquire(control, STOP)  # before HEAD is read: what came before it is written
        began_ns = monotonic_ns()
        done = write_turn(ring, control, files, job, mark, latencies)
        if done < 0 or (done == 0 and stop != 0):
            return
        if done > 0:
            idle_ns = IDLE_MIN_NS
            rest_ns = job[INTERVAL_NS] - (monotonic_ns() - began_ns)
            if rest_ns > 0 and stop == 0:
                sleep_ns(rest_ns)
        else:
            sleep_ns(idle_ns)
            idle_ns = min(idle_ns + idle_ns // 8, job[IDLE_MAX_NS])


@kernel
def write_turn(ring, control, files, job, mark, latencies):
    """Commit what has arrived. Returns its bytes, 0 if nothing has, -1 from a fault on."""
    if control[FAULT] != 0:
        return -1
    head = load_acquire(control, HEAD)
    at = control[WRITTEN]
    begin = at
    if head == begin:
        return 0
    began_ns = monotonic_ns()
    segment = begin // job[SEGMENT_BYTES]
    while at < head:
        if at // job[SEGMENT_BYTES] != segment:
            error = fdatasync(load_acquire(files, segment % FILES))
            if error != 0:
                return _fail(control, SYNC_SEGMENT, error)
            segment += 1
        end = _seal(ring, job, at, head)
        error = _write(
            load_acquire(files, segment % FILES),
            ring,
            at & (ring.shape[0] - 1),
            end - at,
            SEGMENT_HEADER_BYTES + at % job[SEGMENT_BYTES],
        )
        if error != 0:
            return _fail(control, WRITE_SEGMENT, error)
        at = end
        store_release(control, WRITTEN, at)
        if at == head and at - begin < GROUP_BYTES_MAX:
            later = load_acquire(control, HEAD)
            if later - at >= CHUNK_BYTES:  # it arrives as fast as it is written: a larger group
                head = later
    error = fdatasync(load_acquire(files, segment % FILES))
    if error != 0:
        return _fail(control, SYNC_SEGMENT, error)

    job[SEQUENCE] += 1
    _mark(mark, job, head, control[EPOCH])
    slot_at = (job[SEQUENCE] & 1) * SLOT_SPACING
    error = _write(job[WATERMARK_FD], mark, 0, SLOT_BYTES, slot_at)
    if error != 0:
        return _fail(control, WRITE_WATERMARK, error)
    error = fdatasync(job[WATERMARK_FD])
    if error != 0:
        return _fail(control, SYNC_WATERMARK, error)
    store_release(control, DURABLE_OFFSET, job[SEALED_OFFSET])
    store_release(control, DURABLE, head)
    latencies[control[COMMITS] % LATENCIES] = monotonic_ns() - began_ns
    store_release(control, COMMITS, control[COMMITS] + 1)
    return head - begin


@kernel
def _seal(ring, job, begin, head):
    """Fill in checksums from `begin` on: a chunk, or to the ring's end, or to `head`. The end."""
    mask = ring.shape[0] - 1
    position = begin
    while position < head and position - begin < CHUNK_BYTES:
        at = position & mask
        if at == 0 and position > begin:
            break
        size = frame_bytes(frame_length(ring, at))
        if frame_kind(ring, at) == PAD:
            for i in range(at + HEADER_BYTES, at + size, 8):
                store_i64le(ring, i, 0)
        else:
            job[SEALED_OFFSET] += 1
        store_u32le(ring, at + 4, frame_checksum(ring, at))
        position += size
    return position


@kernel
def _write(fd, buffer, at, count, file_offset):
    """All of it, in as many calls as that takes. 0 or -errno."""
    while count > 0:
        done = pwrite(fd, buffer, at, count, file_offset)
        if done == -EINTR:
            continue
        if done <= 0:
            return done if done < 0 else -EIO
        at += done
        count -= done
        file_offset += done
    return 0


@kernel
def _mark(mark, job, position, epoch):
    store_i64le(mark, 0, job[TAPE_ID])
    store_i64le(mark, 8, job[SEQUENCE])
    store_i64le(mark, 16, position)
    store_i64le(mark, 24, job[SEALED_OFFSET])
    store_i64le(mark, 32, epoch)
    store_i64le(mark, 40, crc32c(0, mark, 0, 40))


@kernel
def _fail(control, call, error):
    store_release(control, FAULT_CALL, call)
    store_release(control, FAULT, -error)
    return -1
