"""Damage below the watermark is named and nothing is cut; above it the tail is cut and counted."""

import itertools
import os
import shutil

import pytest
from tests.naive import tape as naive

from onetape.compiled import mode
from onetape.compiled.frame import DATA, HEADER_BYTES, MANIFEST
from onetape.native import files
from onetape.records.errors import IntegrityError, OperatorError
from onetape.sim.disk import SimDisk
from onetape.tape import inspect, layout, recovery, writer
from onetape.tape.reader import frames
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "threads": False}
SEGMENT = 2048
SEGMENT_FILE = 4096 + SEGMENT


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A tape of two and a half segments, all durable, with frames of equal and unequal sizes."""
    folder = tmp_path_factory.mktemp("damage") / "tape"
    with Tape.create(folder, {"n": 1}, segment_bytes=SEGMENT, **SMALL) as tape:
        for n in range(60):
            tape.append(n, DATA, bytes([n + 1]) * (40 if n % 3 else n * 2), n)
    return folder


@pytest.fixture
def tape(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tape")


def segment(folder, index):
    return folder / f"segment-{index:08d}.tape"


def open_and_close(folder):
    tape = Tape.open(folder, **SMALL)
    tape.close()
    return tape.recovered


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def expect_rot(folder, *words):
    """Opening halts with these words and changes nothing; verify and cat find it too."""
    before = contents(folder)
    with pytest.raises(IntegrityError) as caught:
        Tape.open(folder, **SMALL)
    message = str(caught.value)
    for word in (*words, "nothing was cut", "restore this file from a copy"):
        assert word in message
    assert contents(folder) == before | {"lock": (folder / "lock").read_bytes()}
    assert inspect.verify(folder)["problems"]


def find_every_flipped_bit(folder, index):
    """All bits of one segment's header and of what is durable in it, each alone."""
    facts = layout.read_facts(str(folder))
    mark, _ = layout.read_watermark(str(folder), facts)
    path = str(segment(folder, index))
    flipper = BitFlipper(path)
    used = min(mark.position - index * SEGMENT, SEGMENT)
    with files.using(flipper):
        for at in [*range(0, 64), *range(4092, 4096 + used)]:
            for bit in range(8):
                flipper.at, flipper.bit = at, bit
                with pytest.raises(IntegrityError, match=f"segment-{index:08d}.tape: damage"):
                    recovery.recover(str(folder), facts)
    return used


def test_every_flipped_bit_of_the_last_segment_is_found(original):
    assert 500 < find_every_flipped_bit(original, 2) < SEGMENT


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_every_flipped_bit_of_a_full_segment_is_found(original, index):
    assert find_every_flipped_bit(original, index) == SEGMENT


class BitFlipper(files.OsDisk):
    """The machine's files, but one bit of one file reads wrong."""

    def __init__(self, path):
        self.path, self.at, self.bit, self.watched = path, 0, 0, -1

    def open(self, path, flags, mode=0o644):
        fd = os.open(path, flags, mode)
        if path == self.path:
            self.watched = fd
        return fd

    def close(self, fd):
        if fd == self.watched:
            self.watched = -1
        os.close(fd)

    def pread(self, fd, count, at):
        data = bytearray(os.pread(fd, count, at))
        if fd == self.watched and at <= self.at < at + len(data):
            data[self.at - at] ^= 1 << self.bit
        return bytes(data)

    def map(self, fd, size):
        buffer = super().map(fd, size)
        if fd == self.watched and self.at < size:
            buffer[self.at] ^= 1 << self.bit
        return buffer


def test_the_message_says_where_and_what(tape):
    header, _ = list(frames(tape))[30]
    where = segment(tape, header.position // SEGMENT)
    at = 4096 + header.position % SEGMENT
    flip(where, at + HEADER_BYTES)

    expect_rot(
        tape,
        f"{where}: damage at byte {at} (tape position {header.position}, frame 30)",
        "checksum was",
    )


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def equal_neighbours(folder):
    found = list(frames(folder))
    for (a, _), (b, _) in itertools.pairwise(found):
        same_segment = a.position // SEGMENT == b.position // SEGMENT
        if a.length_bytes == b.length_bytes == 40 and same_segment:
            return a, b
    raise AssertionError("no two neighbours of equal size")


def test_swapped_frames(tape):
    a, b = equal_neighbours(tape)
    path = segment(tape, a.position // SEGMENT)
    data = bytearray(path.read_bytes())
    at, to, size = 4096 + a.position % SEGMENT, 4096 + b.position % SEGMENT, HEADER_BYTES + 40
    data[at : at + size], data[to : to + size] = data[to : to + size], data[at : at + size]
    path.write_bytes(data)

    expect_rot(tape, f"frame {b.offset} was there, expected frame {a.offset}: swapped or repeated")


def test_a_repeated_frame(tape):
    a, b = equal_neighbours(tape)
    path = segment(tape, a.position // SEGMENT)
    data = bytearray(path.read_bytes())
    at, to, size = 4096 + a.position % SEGMENT, 4096 + b.position % SEGMENT, HEADER_BYTES + 40
    data[to : to + size] = data[at : at + size]
    path.write_bytes(data)

    expect_rot(tape, f"frame {a.offset} was there, expected frame {b.offset}")


def test_an_old_segment_under_a_new_name(tape):
    shutil.copy(segment(tape, 0), segment(tape, 1))

    expect_rot(tape, "it is segment 0, under the name of segment 1")


def test_an_older_state_of_a_segment(tape):
    path = segment(tape, 1)
    data = path.read_bytes()
    path.write_bytes(data[: 4096 + SEGMENT // 2] + bytes(SEGMENT // 2))

    expect_rot(tape, "there were zeros, expected a frame")


def test_a_segment_of_another_tape(tape, tmp_path):
    with Tape.create(tmp_path / "other", segment_bytes=SEGMENT, **SMALL) as other:
        for n in range(60):
            other.append(n, DATA, bytes(40), n)
    shutil.copy(segment(tmp_path / "other", 1), segment(tape, 1))

    expect_rot(tape, "it belongs to tape")


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_missing_segment(tape, index):
    segment(tape, index).unlink()

    expect_rot(tape, f"segment-{index:08d}.tape: damage", "No such file or directory")


def test_truncated_at_every_byte_below_the_watermark(original, tmp_path):
    """The last three frames, cut anywhere: they were promised, so none may go quietly."""
    facts = layout.read_facts(str(original))
    mark, _ = layout.read_watermark(str(original), facts)
    third = list(frames(original))[-3][0].position
    tape = shutil.copytree(original, tmp_path / "tape")
    path = segment(tape, third // SEGMENT)
    whole = path.read_bytes()
    for position in range(third, mark.position):
        path.write_bytes(whole[: 4096 + position % SEGMENT])
        with pytest.raises(IntegrityError, match="damage at byte"):
            recovery.recover(str(tape), facts)


# --- above the watermark: the tail ----------------------------------------------------------------


@pytest.fixture
def with_tail(tape):
    """The tape with its watermark put back by three frames: those were never promised."""
    folder = str(tape)
    facts = layout.read_facts(folder)
    mark, _ = layout.read_watermark(folder, facts)
    third = list(frames(tape))[-3][0]
    back = mark._replace(sequence=mark.sequence + 1, position=third.position, offset=third.offset)
    layout.write_watermark(folder, facts, back)
    return tape, third, mark.position


class Unsynced(files.OsDisk):
    """The machine's files, in a hurry."""

    def fsync(self, fd):
        pass

    fdatasync = fsync


def test_the_tail_is_cut_at_every_byte_and_counted(with_tail, tmp_path):
    tape, third, end = with_tail
    path = segment(tape, third.position // SEGMENT)
    whole = path.read_bytes()
    edges = [third.position, end]
    for position in range(third.position, end + 1):
        copy = tmp_path / "copy"
        shutil.copytree(tape, copy)
        segment(copy, third.position // SEGMENT).write_bytes(whole[: 4096 + position % SEGMENT])

        with files.using(Unsynced()):
            found = open_and_close(copy)

        left = list(frames(copy))
        assert [h.offset for h, _ in left] == list(range(len(left)))
        assert found.position <= position
        assert left[-1][0].kind == MANIFEST
        kept = left[found.offset - 1][0]
        assert found.torn_bytes <= position - found.position
        assert (
            whole[4096 + found.position % SEGMENT :][: position - found.position].rstrip(b"\0")
            == (whole[4096 + found.position % SEGMENT :][: found.torn_bytes])
        )
        edges.append(kept.position)
        shutil.rmtree(copy)
    assert len(set(edges)) >= 4  # it ended behind none, one, two and all three of them


def test_a_whole_tail_is_kept(with_tail):
    tape, third, end = with_tail

    found = open_and_close(tape)

    assert (found.position, found.offset, found.torn_bytes) == (end, third.offset + 3, 0)


def test_what_follows_the_end_is_zeroed(with_tail):
    tape, third, end = with_tail
    path = segment(tape, third.position // SEGMENT)
    flip(path, 4096 + third.position % SEGMENT + 9)

    found = Tape.open(tape, **SMALL)
    manifest_end = int(found.control[0])
    found.sync()

    assert found.recovered.position == third.position
    assert found.recovered.torn_bytes == end - third.position
    assert path.read_bytes()[4096 + manifest_end % SEGMENT :].strip(b"\0") == b""
    found.close()
    said = [p for h, p in frames(tape) if h.kind == MANIFEST]
    assert f'"torn_bytes_cut": {end - third.position}' in said[-1].decode()


def test_a_stale_frame_with_the_right_offset_is_told_by_its_epoch(tape):
    """Left behind by an earlier life, as if zeroing the tail had not reached the disk."""
    folder = str(tape)
    with Tape.open(tape, **SMALL) as second:  # epoch 2, one manifest frame
        stale_at, offset = int(second.control[0]), second.next_offset
    facts = layout.read_facts(folder)
    with Tape.open(tape, **SMALL) as third:  # epoch 3, as long a manifest frame
        end = int(third.control[0])
    path = segment(tape, stale_at // SEGMENT)
    data = path.read_bytes()
    made = naive.encode(offset + 1, 1, 1, DATA, 2, b"old frame")
    path.write_bytes(data[: 4096 + end % SEGMENT] + made)

    found = recovery.recover(folder, facts)

    assert (found.position, found.offset) == (end, offset + 1)
    assert found.torn_bytes == len(made.rstrip(b"\0"))


def test_a_frame_kept_by_recovery_is_written_again():
    """A failed sync marks bytes clean that are not on disk: recovery may not trust a sync alone."""
    disk = SimDisk(seed=1)
    disk.random.random = lambda: 1.0  # no short writes
    with mode.running("interpreted"), files.using(disk):
        tape = Tape.create("/tape", segment_bytes=SEGMENT, **SMALL)
        tape.sync()
        tape.append(1, DATA, b"seen, not stored")
        disk.fail_sync_at = disk.syncs + 1
        with pytest.raises(OperatorError, match="fdatasync of a segment failed"):
            tape.sync()
        disk.kill()  # the process restarts; the page cache still has the frame
        Tape.open("/tape", **SMALL).close()
        disk.crash()

        Tape.open("/tape", **SMALL).close()

        assert b"seen, not stored" in [payload for _, payload in frames("/tape")]


# --- the small files ------------------------------------------------------------------------------


def test_one_damaged_slot_of_the_watermark_is_survived(tape):
    for slot in range(2):
        copy = shutil.copytree(tape, tape.parent / f"slot{slot}")
        for at in range(writer.SLOT_BYTES):
            flip(copy / "watermark", slot * 4096 + at, bit=at % 8)
            found = recovery.recover(str(copy), layout.read_facts(str(copy)))
            assert found.notes == [f"slot {slot} of the file watermark is damaged"]
            assert found.offset == 61
            flip(copy / "watermark", slot * 4096 + at, bit=at % 8)
        flip(copy / "watermark", slot * 4096)
        open_and_close(copy)
        assert recovery.recover(str(copy), layout.read_facts(str(copy))).notes == []


def test_two_damaged_slots_are_refused_until_a_person_accepts_the_end(tape):
    flip(tape / "watermark", 3)
    flip(tape / "watermark", 4096 + 3)

    with pytest.raises(IntegrityError, match=r"slot 1 .* is damaged: .*restore the file"):
        Tape.open(tape, **SMALL)
    with pytest.raises(IntegrityError, match="nothing says how far the tape is durable"):
        inspect.verify(tape)

    with Tape.open(tape, accept_scanned_end=True, **SMALL) as accepted:
        assert accepted.recovered.offset == 61
        assert accepted.epoch == 2
        accepted.append(1, DATA, b"more")
    assert open_and_close(tape).offset == 63


def test_a_missing_watermark_is_as_bad_as_a_damaged_one(tape):
    (tape / "watermark").unlink()

    with pytest.raises(IntegrityError, match="the file watermark is missing"):
        Tape.open(tape, **SMALL)


@pytest.mark.parametrize(("position", "offset"), [(8, 0), (0, 1), (-8, 0), (0, -1)])
def test_a_watermark_that_does_not_fit_the_frames(with_tail, position, offset):
    """Whole, but not of these frames: one of the two files is not what was written."""
    tape, third, _ = with_tail
    facts = layout.read_facts(str(tape))
    mark, _ = layout.read_watermark(str(tape), facts)
    wrong = mark._replace(position=mark.position + position, offset=mark.offset + offset)
    layout.write_watermark(str(tape), facts, wrong)

    expect_rot(tape, f"by the watermark frame {third.offset + offset - 1} should end at")


def test_a_watermark_that_is_older_than_the_epoch_of_a_frame(tape):
    """A file put back from a copy of an earlier life would hide what was promised since."""
    old = (tape / "watermark").read_bytes()
    with Tape.open(tape, **SMALL) as second:
        second.append(1, DATA, b"promised in epoch 2")
    (tape / "watermark").write_bytes(old)

    expect_rot(tape, "the file watermark is older than the tape")


def test_a_damaged_manifest_file(tape):
    for at in range(len((tape / "manifest").read_bytes())):
        flip(tape / "manifest", at, bit=at % 8)
        with pytest.raises(IntegrityError, match="restore it from a copy"):
            layout.read_facts(str(tape))
        flip(tape / "manifest", at, bit=at % 8)


def test_a_tape_of_another_format_is_refused_with_a_reason(tape):
    facts = layout.read_facts(str(tape))
    layout.FORMAT, before = 2, layout.FORMAT
    try:
        layout.write_facts(str(tape), facts)
    finally:
        layout.FORMAT = before

    with pytest.raises(OperatorError, match="has tape format 2, this version of onetape reads 1"):
        Tape.open(tape, **SMALL)


def test_a_scan_can_start_at_a_checkpoint(tape):
    header, _ = list(frames(tape))[40]
    folder, facts = str(tape), layout.read_facts(str(tape))
    seen = []

    found = recovery.recover(
        folder,
        facts,
        since=(header.position, header.offset),
        progress=lambda done, durable: seen.append((done, durable)),
    )

    assert found.offset == 61
    assert found.scanned_bytes == found.position - header.position
    assert seen[-1] == (found.position, found.position)
    with pytest.raises(IntegrityError, match="the tape is older than what it was asked for"):
        recovery.recover(folder, facts, since=(found.position + 64, 62))
    with pytest.raises(IntegrityError, match="frame 40 was there, expected frame 41"):
        recovery.recover(folder, facts, since=(header.position, 41))
