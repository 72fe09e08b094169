"""What was appended is what is read, through any number of openings."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.naive import tape as naive

from onetape.compiled import mode
from onetape.compiled.frame import CONTROL, DATA, END, MANIFEST, TICK
from onetape.records.errors import OperatorError
from onetape.tape import layout
from onetape.tape.reader import frames, read_segments
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "threads": False}

frame_parts = st.tuples(
    st.integers(0, 65535),
    st.sampled_from([DATA, TICK, END, CONTROL]),
    st.binary(max_size=448),
    st.integers(0, 2**62),
)
lives = st.lists(st.lists(frame_parts, max_size=12), min_size=1, max_size=4)


def record(folder, lives, clean):
    """Append each life's frames; leave the tape by closing it, or by just letting go of it."""
    said = []
    for n, life in enumerate(lives):
        if n == 0:
            tape = Tape.create(folder, {"n": 1}, segment_bytes=2048, **SMALL)
        else:
            tape = Tape.open(folder, **SMALL)
        said.append((tape.next_offset - 1, MANIFEST, 0, tape.epoch, tape._manifest_frame()))
        for source, kind, payload, ts_recv_ns in life:
            offset = tape.append(source, kind, payload, ts_recv_ns)
            said.append((offset, kind, source, tape.epoch, payload))
        tape.sync()
        if clean[n % len(clean)]:
            tape.close()
        else:
            forget(tape)
    return said


def forget(tape):
    """What kill -9 does, as far as files can tell."""
    tape._allocator.abandon()
    for fd in (tape._lock, int(tape._job[2])):
        layout.files.disk.close(fd)


def seen(folder, start=0):
    return [
        (h.offset, h.kind, h.source_id, h.epoch, payload) for h, payload in frames(folder, start)
    ]


@settings(max_examples=20)
@given(lives, st.lists(st.booleans(), min_size=1, max_size=4))
def test_what_was_appended_is_read_back(tmp_path_factory, lives, clean):
    folder = tmp_path_factory.mktemp("round") / "tape"

    said = record(folder, lives, clean)

    assert seen(folder) == said
    assert [offset for offset, *_ in said] == list(range(len(said)))
    for start in {0, 1, len(said) // 2, len(said)}:
        assert seen(folder, start) == said[start:]


@settings(max_examples=5)
@given(lives)
def test_the_same_bytes_are_on_disk_however_it_runs(tmp_path_factory, lives):
    folders = [tmp_path_factory.mktemp("modes") / "tape" for _ in range(2)]

    said = record(folders[0], lives, [True])
    with mode.running("interpreted"):
        assert [x[:4] for x in record(folders[1], lives, [True])] == [x[:4] for x in said]
        assert seen(folders[0]) == said
    assert [x[:4] for x in seen(folders[1])] == [x[:4] for x in said]


def test_runs_are_whole_frames_as_the_naive_layout_has_them(tmp_path):
    tape = Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL)
    first = tape.next_offset
    payloads = [bytes([n]) * (n * 7 % 449) for n in range(40)]
    for n, payload in enumerate(payloads):
        tape.append(n, DATA, payload, n)
    tape.sync()

    runs = b"".join(
        b[begin:end].tobytes() for b, begin, end in read_segments(tmp_path / "t", first)
    )

    expected = [naive.encode(first + n, n, n, DATA, 1, p) for n, p in enumerate(payloads)]
    assert runs == b"".join(expected)
    tape.close()


def test_a_run_has_the_type_that_kernels_are_compiled_for(tmp_path):
    Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL).close()

    for buffer, begin, end in read_segments(tmp_path / "t"):
        assert buffer.dtype == np.uint8
        assert buffer.flags.writeable and buffer.flags.c_contiguous
        buffer[begin:end] = 0  # a reader's scribbles stay its own

    assert len(list(frames(tmp_path / "t"))) == 1


def test_reading_beside_the_writer_ends_at_what_is_durable(tmp_path):
    tape = Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL)
    tape.append(1, DATA, b"promised")
    tape.sync()
    tape.append(1, DATA, b"only in memory")

    assert [payload for h, payload in frames(tmp_path / "t") if h.kind == DATA] == [b"promised"]
    tape.close()
    assert len(list(frames(tmp_path / "t"))) == 3


def test_two_writers_cannot_open_one_tape(tmp_path):
    refused = pytest.raises(OperatorError, match=r"being written by another process \(pid \d+\)")
    with Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL), refused:
        Tape.open(tmp_path / "t", **SMALL)
    Tape.open(tmp_path / "t", **SMALL).close()


def test_the_manifest_names_the_code_by_its_hash(tmp_path):
    text = "def f(x):\n    return x\n"
    with Tape.create(tmp_path / "t", {"speed": 1}, code={"f": text}, segment_bytes=2048, **SMALL):
        pass
    with Tape.open(tmp_path / "t", **SMALL) as tape:
        tape.manifest({"speed": 2}, code={"f": text, "g": "pass"})

    said = [json.loads(p)["manifest"] for h, p in frames(tmp_path / "t") if h.kind == MANIFEST]
    assert [m["speed"] for m in said] == [1, 1, 2]
    assert said[0] == said[1]
    stored = tmp_path / "t" / "code" / said[2]["code"]["f"]
    assert stored.read_text() == text


def test_a_tape_is_made_only_where_nothing_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(OperatorError, match="is not empty; a tape is made in a folder of its own"):
        Tape.create(tmp_path, segment_bytes=2048, **SMALL)
    with pytest.raises(OperatorError, match="is not a tape"):
        Tape.open(tmp_path)
    with pytest.raises(OperatorError, match="segment_bytes was 1000; expected a multiple"):
        Tape.create(tmp_path / "t", segment_bytes=1000, **SMALL)


def test_threads_write_while_python_appends(tmp_path):
    with Tape.create(tmp_path / "t", segment_bytes=8192, ring_bytes=4096) as tape:
        payloads = [bytes([n % 251]) * (n * 37 % 1900) for n in range(400)]
        for payload in payloads:
            tape.append(1, DATA, payload)
        assert tape.sync(timeout_s=30) == 401
        assert 0 < len(tape.commit_latencies_ns()) <= 401
        assert tape.commit_latencies_ns().min() > 0

    assert [payload for h, payload in frames(tmp_path / "t", 1)] == payloads
