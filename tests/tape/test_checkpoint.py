"""Checkpoints come back exactly, or not at all; old segments go only when one stands for them."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onetape.compiled import mode
from onetape.compiled.frame import DATA
from onetape.native import files
from onetape.records.errors import IntegrityError, OperatorError
from onetape.sim.disk import PowerCut, SimDisk
from onetape.tape import checkpoint, layout, recovery
from onetape.tape.reader import frames, read_segments
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "threads": False}
ROW = np.dtype(
    {
        "names": ["ts", "levels", "id"],
        "formats": ["<i8", ("<i8", (3,)), "<u4"],
        "offsets": [0, 8, 32],
        "itemsize": 40,
    }
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / layout.CHECKPOINTS).mkdir()
    return tmp_path


def some_arrays():
    rows = np.zeros(5, ROW)
    rows["ts"] = np.arange(5)
    rows["levels"] = -7
    sparse = np.zeros(1 << 20, np.int64)
    sparse[[0, 70_000, 70_001, (1 << 20) - 1]] = 5
    return {
        "rows": rows,
        "sparse": sparse,
        "none": np.zeros(0, np.float64),
        "words": np.arange(12, dtype=np.uint16).reshape(3, 4),
        "untouched": np.zeros((4, 100_000), np.uint8),
    }


def equal(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_arrays_come_back_as_they_were(folder):
    arrays = some_arrays()

    path = checkpoint.write(folder, arrays, {"by": "test"}, position=640, offset=9)
    found, damaged = checkpoint.latest_valid(folder)

    assert damaged == []
    assert (found.position, found.offset, found.header) == (640, 9, {"by": "test"})
    assert list(found.arrays) == list(arrays)
    assert all(equal(found.arrays[name], arrays[name]) for name in arrays)
    assert os.path.getsize(path) < 4 * checkpoint.PAGE_BYTES  # of 8.8 MB


array_parts = st.tuples(
    st.sampled_from(["<i8", "<u4", "|u1", "<f8"]),
    st.integers(0, 3 * checkpoint.PAGE_BYTES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)


@settings(max_examples=25)
@given(st.lists(array_parts, max_size=4))
def test_any_arrays_come_back(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("any")
    (folder / layout.CHECKPOINTS).mkdir()
    arrays = {}
    for n, (kind, size_bytes, values) in enumerate(parts):
        array = np.zeros(size_bytes // np.dtype(kind).itemsize, kind)
        for where, value in values:
            if len(array):
                array[int(where * len(array))] = value
        arrays[f"a{n}"] = array

    checkpoint.write(folder, arrays, {}, position=0, offset=0)

    found = checkpoint.read(folder, 0).arrays
    assert list(found) == list(arrays)
    assert all(equal(found[name], arrays[name]) for name in arrays)


def test_every_flipped_bit_leads_to_the_one_before(folder):
    old = {"a": np.arange(3)}
    checkpoint.write(folder, old, {}, position=0, offset=5)
    path = checkpoint.write(folder, {"a": np.arange(9), "b": np.ones(2)}, {}, position=64, offset=7)
    with open(path, "rb") as file:
        whole = bytearray(file.read())
    for at in range(len(whole)):
        for bit in range(8):
            whole[at] ^= 1 << bit
            with open(path, "wb") as file:
                file.write(whole)
            whole[at] ^= 1 << bit

            found, damaged = checkpoint.latest_valid(folder)

            assert found.offset == 5
            assert equal(found.arrays["a"], old["a"])
            assert len(damaged) == 1 and path in damaged[0]


def test_every_truncation_leads_to_the_one_before(folder):
    checkpoint.write(folder, {"a": np.arange(3)}, {}, position=0, offset=5)
    path = checkpoint.write(folder, {"a": np.arange(9)}, {}, position=64, offset=7)
    size = os.path.getsize(path)
    for left in range(size - 1, -1, -1):
        os.truncate(path, left)
        assert checkpoint.latest_valid(folder).checkpoint.offset == 5
    os.unlink(path)
    os.truncate(os.path.join(folder, layout.CHECKPOINTS, f"{5:020d}.checkpoint"), 20)

    found, damaged = checkpoint.latest_valid(folder)

    assert found is None
    assert len(damaged) == 1


def test_the_newest_are_kept(folder):
    for offset in (3, 1, 20, 100):
        checkpoint.write(folder, {}, {}, position=0, offset=offset, keep=2)

    assert checkpoint.offsets(folder) == [20, 100]
    assert checkpoint.latest_valid(folder, at_most=99).checkpoint.offset == 20
    assert "ahead of the tape" in checkpoint.latest_valid(folder, at_most=99).damaged[0]


@pytest.mark.parametrize("seed", range(12))
def test_a_power_cut_leaves_the_old_or_the_new_one_whole(seed):
    disk = SimDisk(seed)
    with mode.running("interpreted"), files.using(disk):
        disk.makedirs("/t/checkpoints")
        for folder in ("/", "/t"):
            layout.sync_folder(folder)
        checkpoint.write("/t", {"a": np.arange(90)}, {}, position=0, offset=5)
        for cut in range(1, 30):
            disk.power_calls = cut
            finished = False
            try:
                checkpoint.write("/t", {"a": np.arange(95)}, {}, position=9, offset=7, keep=2)
                finished = True
            except PowerCut:
                pass
            disk.crash()

            found, damaged = checkpoint.latest_valid("/t")

            assert damaged == []
            assert found.offset == 7 or (found.offset == 5 and not finished)
            assert len(found.arrays["a"]) == {5: 90, 7: 95}[found.offset]
            if finished:
                break
        assert finished


# --- retention ------------------------------------------------------------------------------------


@pytest.fixture
def long_tape(tmp_path):
    with Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL) as tape:
        for n in range(100):
            tape.append(1, DATA, b"%03d" % n * 20)
        tape.sync()
        yield tape


def test_nothing_is_dropped_without_a_checkpoint_that_stands_for_it(long_tape):
    before = sorted(os.listdir(long_tape.folder))
    with pytest.raises(OperatorError, match=r"will not drop frames before 60.*there was none"):
        long_tape.drop_before(60)
    checkpoint.write(long_tape.folder, {}, {}, position=0, offset=50)
    with pytest.raises(OperatorError, match="and there was one at frame 50"):
        long_tape.drop_before(60)
    path = checkpoint.write(long_tape.folder, {}, {}, position=0, offset=80)
    os.truncate(path, 30)
    with pytest.raises(OperatorError, match="checkpoint is not what was written"):
        long_tape.drop_before(60)
    checkpoint.write(long_tape.folder, {}, {}, position=0, offset=500)
    with pytest.raises(OperatorError, match="ahead of the tape"):
        long_tape.drop_before(60)

    assert sorted(os.listdir(long_tape.folder)) == before


def test_whole_segments_are_dropped_and_the_rest_reads_on(long_tape):
    folder = long_tape.folder
    before = list(frames(folder))
    checkpoint.write(folder, {}, {}, position=0, offset=60)

    dropped = long_tape.drop_before(60)

    start = long_tape.facts.start_offset
    assert dropped == list(range(before[60][0].position // 2048))
    assert 60 - 30 < start <= 60
    assert before[start][0].position == (dropped[-1] + 1) * 2048
    assert list(frames(folder, start)) == before[start:]
    for dropped_offset in (0, start - 1):
        with pytest.raises(
            OperatorError, match=f"begins at frame {start}, older ones were dropped"
        ):
            next(read_segments(folder, dropped_offset))
    assert long_tape.drop_before(60) == []  # again: nothing left to drop
    long_tape.close()

    with Tape.open(folder, **SMALL) as again:
        assert again.recovered.offset == 101
        assert again.facts.start_offset == start
        with pytest.raises(OperatorError, match=r"a scan from 0 .* is not possible"):
            recovery.recover(folder, again.facts, since=(0, 0))
    assert len(list(frames(folder, start))) == 102 - start


def test_a_crash_while_dropping_leaves_a_tape_that_opens():
    for cut in range(1, 30):
        disk = SimDisk(cut)
        with mode.running("interpreted"), files.using(disk):
            tape = Tape.create("/t", segment_bytes=2048, **SMALL)
            for n in range(60):
                tape.append(1, DATA, b"%03d" % n * 20)
            tape.sync()
            checkpoint.write("/t", {}, {}, position=0, offset=50)
            disk.power_calls = cut
            finished = False
            try:
                tape.drop_before(50)
                finished = True
            except PowerCut:
                pass
            disk.crash()
            again = Tape.open("/t", **SMALL)

            start = again.facts.start_offset
            payloads = [p for h, p in frames("/t", start) if h.offset <= 60 and h.kind == DATA]
            assert payloads == [b"%03d" % n * 20 for n in range(max(start - 1, 0), 60)]
            assert min(layout.segments_of("/t")) == again.facts.start_segment
            assert start > 0 or not finished
        if finished:
            break
    assert finished


def test_an_array_that_is_cut_short_is_an_integrity_error(folder):
    path = checkpoint.write(folder, {"a": np.arange(9)}, {}, position=0, offset=7)
    os.truncate(path, os.path.getsize(path) - 8)

    with pytest.raises(IntegrityError, match="array a is cut short"):
        checkpoint.read(folder, 7)
