"""Checkpoints come back exactly, or not at all; old segments go only when one stands for them."""

import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onetape.compiled import mode
from onetape.compiled.frame import DATA
from onetape.native import files, pages
from onetape.records.errors import OperatorError
from onetape.sim.disk import PowerCut, SimDisk
from onetape.tape import checkpoint, checkpoint_keep, layout, recovery
from onetape.tape.checkpoint_keep import Retention
from onetape.tape.checkpoint_manifest import folder_of, manifest_path, read_manifest
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

    written = checkpoint.write(folder, arrays, {"by": "test"}, position=640, offset=9)
    found, damaged = checkpoint.latest_valid(folder)

    assert damaged == []
    assert (found.position, found.offset, found.header) == (640, 9, {"by": "test"})
    assert list(found.arrays) == list(arrays)
    assert all(equal(found.arrays[name], arrays[name]) for name in arrays)
    assert sum(size_of(folder).values()) == written.new_bytes()
    assert written.new_bytes() < 4 * checkpoint.CHUNK_BYTES  # of 8.8 MB


array_parts = st.tuples(
    st.sampled_from(["<i8", "<u4", "|u1", "<f8"]),
    st.integers(0, 3 * checkpoint.CHUNK_BYTES),
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


def write_some(folder, values, offset, **more):
    """A checkpoint of one chunk a value, in arrays of several."""
    arrays = {"a": np.zeros((len(values), checkpoint.CHUNK_BYTES // 8), np.int64)}
    arrays["a"][:, 7] = values
    return checkpoint.write(folder, arrays, {}, position=0, offset=offset, **more)


def values_at(folder, offset):
    return checkpoint.read(folder, offset).arrays["a"][:, 7].tolist()


def size_of(folder):
    base = os.path.join(folder, layout.CHECKPOINTS)
    return {name: os.path.getsize(os.path.join(base, name)) for name in os.listdir(base)}


def test_every_flipped_bit_leads_to_the_one_before(folder):
    old = {"a": np.arange(3)}
    checkpoint.write(folder, old, {}, position=0, offset=5)
    before = set(size_of(folder))
    checkpoint.write(folder, {"a": np.arange(9), "b": np.ones(2)}, {}, position=64, offset=7)
    for name in sorted(set(size_of(folder)) - before):
        path = os.path.join(folder, layout.CHECKPOINTS, name)
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
                assert damaged[0].endswith("; the one at frame 5 is used, and the tape from there")
        with open(path, "wb") as file:
            file.write(whole)
    assert checkpoint.latest_valid(folder).checkpoint.offset == 7


def test_a_flipped_bit_in_any_chunk_of_many_checkpoints_leads_to_the_one_before(folder):
    values = list(range(1, 9))
    for offset in range(1, 12):
        values[offset % 8] += 100
        write_some(folder, values, offset)
    newest = read_manifest(folder_of(folder), 11)
    assert len({pack.generation for pack in newest.packs}) > 2
    for chunk in newest.chunks:
        path = os.path.join(folder, layout.CHECKPOINTS, newest.packs[chunk["pack"]].name)
        flip(path, int(chunk["at"]) + 56)
        found, damaged = checkpoint.latest_valid(folder)
        flip(path, int(chunk["at"]) + 56)

        assert found.offset == 10
        assert len(damaged) == 1 and f"chunk {chunk['number']} of a" in damaged[0]


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_every_truncation_and_every_missing_file_leads_to_the_one_before(folder):
    checkpoint.write(folder, {"a": np.arange(3)}, {}, position=0, offset=5)
    before = set(size_of(folder))
    checkpoint.write(folder, {"a": np.arange(9)}, {}, position=64, offset=7)
    for name in sorted(set(size_of(folder)) - before):
        path = os.path.join(folder, layout.CHECKPOINTS, name)
        with open(path, "rb") as file:
            whole = file.read()
        for left in range(len(whole) - 1, -1, -1):
            os.truncate(path, left)
            assert checkpoint.latest_valid(folder).checkpoint.offset == 5
        os.unlink(path)
        assert checkpoint.latest_valid(folder).checkpoint.offset == 5
        with open(path, "wb") as file:
            file.write(whole)
    os.truncate(os.path.join(folder, layout.CHECKPOINTS, f"{5:020d}.checkpoint"), 20)
    os.unlink(os.path.join(folder, layout.CHECKPOINTS, f"{7:020d}.checkpoint"))

    found, damaged = checkpoint.latest_valid(folder)

    assert found is None
    assert damaged[0].endswith("; the tape is run from its first frame")


def test_only_what_changed_since_the_last_but_one_is_written(folder):
    values = list(range(1, 41))
    first, second = (write_some(folder, values, n).new_bytes() for n in (1, 2))
    values[3], values[5] = 1000, 0
    third, fourth = (write_some(folder, values, n).new_bytes() for n in (3, 4))
    none = write_some(folder, values, 5).new_bytes()

    assert first == second > 40 * checkpoint.CHUNK_BYTES
    anew = 8 * checkpoint.CHUNK_BYTES  # one in sixteen of those that did not change, by their hash
    assert checkpoint.CHUNK_BYTES < third < anew
    assert checkpoint.CHUNK_BYTES < fourth < anew
    assert none < anew
    assert values_at(folder, 5) == values_at(folder, 4) == values


def test_a_chunk_is_not_relied_on_for_ever_and_is_not_written_anew_with_all_others(folder):
    values, sizes = list(range(1, 41)), []
    for offset in range(1, 5 * checkpoint.ROUNDS):
        made = write_some(folder, values, offset, retention=Retention(2, 0, 0))
        oldest = min(pack.generation for pack in made.packs)
        assert made.generation - oldest <= 2 * checkpoint.ROUNDS
        sizes.append(made.new_bytes())
    assert max(sizes[2:]) < 10 * checkpoint.CHUNK_BYTES
    assert len(size_of(folder)) <= 2 * checkpoint.ROUNDS + 2


def test_what_was_never_touched_is_neither_read_nor_made_present(folder):
    reserved = np.zeros(1 << 32, np.uint8)
    reserved[1 << 31] = 9
    if pages.touched(reserved, checkpoint.CHUNK_BYTES).all():
        pytest.skip("this system does not tell which pages are in use")

    made = checkpoint.write(folder, {"a": reserved}, {}, position=0, offset=3)
    again = checkpoint.read(folder, 3).arrays["a"]
    target = np.zeros(1 << 32, np.uint8)
    target[77] = 5
    pages.copy_touched(target, again)

    assert made.state_bytes() == checkpoint.CHUNK_BYTES
    assert target[77] == 0 and target[1 << 31] == 9
    for array in (reserved, again, target):
        assert np.count_nonzero(pages.touched(array, checkpoint.CHUNK_BYTES)) < 256  # huge pages


@given(st.lists(st.integers(0, (1 << 21) - 1), max_size=6), st.integers(1, 5000))
def test_touched_is_never_wrong_about_what_is_there(places, part):
    array = np.zeros(1 << 21, np.uint8)
    view = array[part:]
    for place in places:
        array[place] = 1
    used = pages.touched(view, 4096 + part)

    for n, says in enumerate(used.tolist()):
        assert says or not view[n * (4096 + part) : (n + 1) * (4096 + part)].any()


def test_a_mapped_file_counts_as_used_everywhere(tmp_path):
    (tmp_path / "f").write_bytes(bytes(1 << 21))

    mapped = np.memmap(tmp_path / "f", np.uint8)

    assert pages.touched(mapped, 4096).all()
    assert pages.touched(mapped[5:], 4096).all()


def test_a_checkpoint_of_format_1_says_so(folder):
    line = b"{}"
    head = np.array([0x4B504331, len(line), layout.checksum(line), 0], "<u4").tobytes()
    path = os.path.join(folder, layout.CHECKPOINTS, f"{7:020d}.checkpoint")
    with open(path, "wb") as file:
        file.write(head + line + bytes(40))

    found, damaged = checkpoint.latest_valid(folder)

    assert found is None
    assert damaged[0].startswith(f"{path}: it has format 1, or is damaged; this version of onetape")


# --- which are kept -------------------------------------------------------------------------------


def test_the_newest_are_kept(folder):
    for n, offset in enumerate((3, 9, 20, 100)):
        write_some(folder, [offset], offset, retention=Retention(2, 0, 0), written_ns=n)

    assert checkpoint.offsets(folder) == [20, 100]
    assert len(size_of(folder)) == 4
    assert checkpoint.latest_valid(folder, at_most=99).checkpoint.offset == 20
    assert "ahead of the tape" in checkpoint.latest_valid(folder, at_most=99).damaged[0]


def test_beyond_the_newest_the_last_of_each_hour_and_day_is_kept(folder):
    half_ns = checkpoint_keep.HOUR_NS // 2
    for n in range(2 * 60):  # two and a half days
        write_some(folder, [n + 1], n, retention=Retention(3, 4, 2), written_ns=n * half_ns)

    newest, hours, days = [117, 118, 119], [113, 115, 117, 119], [95, 119]
    assert checkpoint.offsets(folder) == sorted({*newest, *hours, *days})
    assert all(values_at(folder, n) == [n + 1] for n in checkpoint.offsets(folder))


def test_a_chunk_that_a_kept_checkpoint_needs_outlives_the_one_that_wrote_it(folder):
    for n in range(9):
        write_some(folder, [1, 2, n + 10], n, retention=Retention(2, 0, 0))

    assert checkpoint.offsets(folder) == [7, 8]
    assert [values_at(folder, n)[2] for n in (7, 8)] == [17, 18]


@pytest.mark.parametrize("seed", range(30))
def test_a_power_cut_at_any_call_loses_no_valid_checkpoint(seed):
    """Writing and removing, cut short anywhere, again and again."""
    disk, rng, done = SimDisk(seed), random.Random(seed), []
    with mode.running("interpreted"), files.using(disk):
        disk.makedirs("/t/checkpoints")
        for folder in ("/", "/t"):
            layout.sync_folder(folder)
        said = {}
        for offset in range(1, 26):
            said[offset] = [rng.randrange(1, 4) for _ in range(3)]
            disk.power_calls = rng.randrange(1, 40) if rng.random() < 0.7 else None
            disk.fail_sync_at = disk.syncs + rng.randrange(1, 6) if rng.random() < 0.2 else None
            try:
                write_some("/t", said[offset], offset, retention=Retention(2, 0, 0))
                done.append(offset)
            except (PowerCut, OSError):
                pass
            (disk.crash if rng.random() < 0.7 else disk.kill)()
            disk.fail_sync_at = None

            found, damaged = checkpoint.latest_valid("/t")

            assert damaged == []
            assert (found.offset if found is not None else 0) >= max(done, default=0)
            for one in checkpoint.offsets("/t"):
                assert values_at("/t", one) == said[one]
            assert len(done) < 2 or len(checkpoint.offsets("/t")) >= 2
    assert len(done) > 5


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
    checkpoint.write(long_tape.folder, {}, {}, position=0, offset=80)
    os.truncate(manifest_path(folder_of(long_tape.folder), 80), 30)
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
