"""Appending into the ring: layout, refusals, and that nothing is half taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.naive import tape as naive

from onetape.compiled import mode
from onetape.records.errors import OperatorError
from onetape.tape import ring as r
from onetape.tape import writer

RING_BYTES = 1024
payloads = st.lists(st.binary(max_size=r.RING_BYTES_MIN // 2 - 64), max_size=30)


def bytes_of(data):
    return np.frombuffer(bytearray(data or b"\0"), np.uint8)


def new_tape(limit=1 << 40):
    ring, control = r.new_ring(RING_BYTES)
    control[r.LIMIT] = limit
    control[r.EPOCH] = 3
    return ring, control


def append_all(ring, control, payloads):
    """Append, and let the writer's first half (checksums) run behind; the tape's bytes."""
    job = np.zeros(writer.JOB_WORDS, np.int64)
    tape, statuses = b"", []
    for n, payload in enumerate(payloads):
        statuses.append(
            int(r.append(ring, control, 5, 1, 1000 + n, bytes_of(payload), 0, len(payload)))
        )
        while int(control[r.WRITTEN]) < int(control[r.HEAD]):
            at, head = int(control[r.WRITTEN]), int(control[r.HEAD])
            end = int(writer._seal(ring, job, at, head))
            begin = at % RING_BYTES
            tape += ring[begin : begin + end - at].tobytes()
            control[r.WRITTEN] = end
    return tape, statuses


@given(payloads)
def test_the_ring_holds_the_bytes_that_the_naive_layout_says(payloads):
    frames = [(n, 1000 + n, 5, 1, 3, payload) for n, payload in enumerate(payloads)]
    expected = naive.lay_out(frames, RING_BYTES)

    tape, statuses = append_all(*new_tape(), payloads)
    with mode.running("interpreted"):
        tape_in_python, statuses_in_python = append_all(*new_tape(), payloads)

    assert tape == tape_in_python == expected
    assert statuses == statuses_in_python
    for status, payload, frame in zip(statuses, payloads, frames, strict=True):
        assert (
            expected[status : status + 32 + len(payload)]
            == (naive.encode(*frame)[: 32 + len(payload)])
        )


def test_a_frame_that_ends_where_the_ring_ends_needs_no_pad():
    ring, control = new_tape()
    biggest = RING_BYTES // 2 - 64

    first = r.append(ring, control, 0, 1, 0, bytes_of(bytes(biggest)), 0, biggest)
    second = r.append(ring, control, 0, 1, 0, bytes_of(bytes(biggest)), 0, biggest)
    third = r.append(ring, control, 0, 1, 0, bytes_of(b""), 0, 0)
    fourth = r.append(ring, control, 0, 1, 0, bytes_of(b""), 0, 0)

    assert [first, second, third, fourth] == [0, 480, 960, 992]
    assert control[r.HEAD] == RING_BYTES
    assert control[r.OFFSET] == 4


REFUSED = {
    "the writer is behind": (r.WRITTEN, -(RING_BYTES - 39), r.RING_FULL),
    "the next segment is not there yet": (r.LIMIT, 39, r.RING_FULL),
    "the writer has stopped": (r.FAULT, 5, r.FAULTED),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_append_changes_nothing(why):
    word, value, expected = REFUSED[why]
    ring, control = new_tape()
    control[word] = value
    before = ring.copy(), control.copy()

    status = r.append(ring, control, 1, 1, 9, bytes_of(b"12345678"), 0, 8)

    assert status == expected
    assert np.array_equal(ring, before[0])
    assert np.array_equal(control, before[1])


def test_a_full_disk_is_told_apart_from_a_slow_writer():
    ring, control = new_tape(limit=64)
    control[r.FULL] = 1

    assert r.append(ring, control, 1, 1, 9, bytes_of(b"1"), 0, 1) == 0  # still room in the segment
    assert r.append(ring, control, 1, 1, 9, bytes_of(b"1" * 40), 0, 40) == r.REFUSED_FULL

    control[r.LIMIT], control[r.FULL] = 1 << 20, 0
    assert r.append(ring, control, 1, 1, 9, bytes_of(b"1" * 40), 0, 40) == 40


def test_the_longest_payload_fits_behind_any_other_frame():
    longest = int(r.payload_max(np.zeros(RING_BYTES, np.uint8)))
    for size in range(0, longest, 8):
        ring, control = new_tape()
        append_all(ring, control, [bytes(size)])

        assert r.append(ring, control, 1, 1, 9, bytes_of(bytes(longest)), 0, longest) >= 0
        assert r.append(ring, control, 1, 1, 9, bytes_of(bytes(999)), 0, longest + 1) == r.TOO_LONG


@pytest.mark.parametrize("size", [0, 512, 1000, 1025])
def test_a_ring_is_a_power_of_two(size):
    with pytest.raises(OperatorError, match=f"ring_bytes was {size}; expected a power of two"):
        r.new_ring(size)
