"""How fast the tape is, beside the disk it stands on, in the same run.

    append      a compiled loop puts frames into the ring (no disk)
    through     the same loop, with the journal writer behind it, until the last byte is durable;
                beside plain pwrite + fdatasync of as many bytes into an allocated file
    commit      one small frame at a time, from appended to durable (two syncs: the frame, then the
                watermark); beside a bare pwrite + fdatasync of the same bytes, in turns

What was appended is read back and checked frame by frame.

python -m bench.tape [SECONDS] [FOLDER]
"""

import json
import os
import shutil
import sys
import tempfile
import time
from typing import Any

import numpy as np

from onetape.compiled.frame import DATA, HEADER_BYTES, frame_bytes, frame_offset
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le, store_i64le
from onetape.native.clock import sleep_ns
from onetape.tape.reader import read_segments
from onetape.tape.ring import HEAD, LIMIT, RING_FULL, WRITTEN, append, new_ring
from onetape.tape.tape import Tape

PAYLOAD_BYTES = 1400  # a full datagram
CHUNK_BYTES = 1 << 18


@kernel
def append_to_memory(ring, control, payload, count):
    """`count` frames into the ring, whose bytes are free again at once. How many were taken."""
    taken = 0
    for n in range(count):
        control[WRITTEN] = control[HEAD]
        store_i64le(payload, 0, n)
        if append(ring, control, 1, DATA, n, payload, 0, payload.shape[0]) >= 0:
            taken += 1
    return taken


@kernel
def append_through(ring, control, payload, begin, count):
    """`count` frames, waiting for the writer where it is behind. The status that ended it."""
    for n in range(begin, begin + count):
        store_i64le(payload, 0, n)
        status = append(ring, control, 1, DATA, n, payload, 0, payload.shape[0])
        while status == RING_FULL:
            sleep_ns(20_000)
            status = append(ring, control, 1, DATA, n, payload, 0, payload.shape[0])
        if status < 0:
            return status
    return 0


@kernel
def check_frames(buffer, begin, end, size, first, payload):
    """Frames in a run whose number or bytes are not what was appended."""
    wrong = 0
    for at in range(begin, end, size):
        if load_i64le(buffer, at + HEADER_BYTES) != frame_offset(buffer, at) - first:
            wrong += 1
        for i in range(8, payload.shape[0]):
            if buffer[at + HEADER_BYTES + i] != payload[i]:
                wrong += 1
    return wrong


def run(seconds: float = 3.0, folder: str | None = None) -> dict[str, Any]:
    """Measure for about `seconds` in a fresh folder under `folder`; figures by name."""
    where = tempfile.mkdtemp(prefix="tape-bench-", dir=folder)
    try:
        return {
            "payload_bytes": PAYLOAD_BYTES,
            **measure_append(seconds / 6),
            **measure_through(where, seconds / 2),
            **measure_commit(where, seconds / 3),
        }
    finally:
        shutil.rmtree(where)


def measure_append(seconds: float) -> dict[str, float]:
    ring, control = new_ring()
    control[LIMIT] = 2**62
    payload = some_payload()
    append_to_memory(ring, control, payload, 1)
    count, spent_ns, frames = 100_000, 0, 0
    while spent_ns < seconds * 1e9:
        began_ns = time.perf_counter_ns()
        taken = int(append_to_memory(ring, control, payload, count))
        spent_ns += time.perf_counter_ns() - began_ns
        frames += taken
        assert taken == count
    assert control[HEAD] >= frames * int(frame_bytes(len(payload)))
    return {
        "append_bytes_per_s": frames * PAYLOAD_BYTES / spent_ns * 1e9,
        "append_ns": spent_ns / frames,
    }


def measure_through(where: str, seconds: float) -> dict[str, float]:
    """In rounds of 64 MiB, the tape and the plain file in turns; medians over the rounds."""
    payload = some_payload()
    size = int(frame_bytes(len(payload)))
    count = (1 << 26) // size
    same = bytearray(os.urandom(count * size))
    path = os.path.join(where, "through")
    tape_ns: list[int] = []
    plain_ns: list[int] = []
    with Tape.create(path) as tape:
        first = tape.next_offset
        append_through(tape.ring, tape.control, payload, 0, 0)
        tape.sync()
        deadline = time.monotonic() + seconds
        while not tape_ns or time.monotonic() < deadline:
            began_ns = time.perf_counter_ns()
            begin = len(tape_ns) * count
            status = append_through(tape.ring, tape.control, payload, begin, count)
            assert status == 0
            tape.sync()
            tape_ns.append(time.perf_counter_ns() - began_ns)
            plain_ns.append(plain_write(where, same))
    wrong = seen = 0
    for buffer, begin, end in read_segments(path, first):
        wrong += int(check_frames(buffer, begin, end, size, first, payload))
        seen += (end - begin) // size
    expected = len(tape_ns) * count
    assert (seen, wrong) == (expected, 0), f"{wrong} of {seen} frames are wrong"
    bytes_a_round = count * size
    return {
        "through_bytes_per_s": bytes_a_round / float(np.median(tape_ns)) * 1e9,
        "plain_bytes_per_s": bytes_a_round / float(np.median(plain_ns)) * 1e9,
        "through_to_plain": float(np.median(np.divide(plain_ns, tape_ns))),
        "rounds": len(tape_ns),
        "frames_checked": seen,
    }


def plain_write(where: str, data: Any) -> int:
    """Ns to write `data` into an allocated file and sync it."""
    view = memoryview(data)
    fd = os.open(os.path.join(where, "plain"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.posix_fallocate(fd, 0, len(view))
        os.fsync(fd)
        began_ns = time.perf_counter_ns()
        for at in range(0, len(view), CHUNK_BYTES):
            os.pwrite(fd, view[at : at + CHUNK_BYTES], at)
        os.fdatasync(fd)
        return time.perf_counter_ns() - began_ns
    finally:
        os.close(fd)


def measure_commit(where: str, seconds: float) -> dict[str, float]:
    """In turns: ten commits of one frame, ten bare syncs."""
    payload = some_payload()
    bare_ns: list[int] = []
    seen_ns: list[int] = []
    fd = os.open(os.path.join(where, "bare"), os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 1 << 26)
    os.fsync(fd)
    with Tape.create(os.path.join(where, "commit")) as tape:
        tape.sync()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _ in range(10):
                began_ns = time.perf_counter_ns()
                append_through(tape.ring, tape.control, payload, 0, 1)
                tape.sync()
                seen_ns.append(time.perf_counter_ns() - began_ns)
            for _ in range(10):
                began_ns = time.perf_counter_ns()
                os.pwrite(fd, payload, len(bare_ns) * len(payload) % (1 << 25))
                os.fdatasync(fd)
                bare_ns.append(time.perf_counter_ns() - began_ns)
        commit_ns = tape.commit_latencies_ns()
    os.close(fd)
    return {
        "commit_ns_p50": float(np.percentile(commit_ns, 50)),
        "commit_ns_p99": float(np.percentile(commit_ns, 99)),
        "append_to_durable_ns_p50": float(np.percentile(seen_ns, 50)),
        "append_to_durable_ns_p99": float(np.percentile(seen_ns, 99)),
        "fdatasync_ns_p50": float(np.percentile(bare_ns, 50)),
        "fdatasync_ns_p99": float(np.percentile(bare_ns, 99)),
        "commits": len(commit_ns),
    }


def some_payload() -> Any:
    return np.frombuffer(bytearray(os.urandom(PAYLOAD_BYTES)), np.uint8)


if __name__ == "__main__":
    args = sys.argv[1:]
    print(json.dumps(run(float(args[0]) if args else 3.0, *args[1:]), indent=2))
