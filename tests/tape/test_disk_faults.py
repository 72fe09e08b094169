"""A full disk refuses and resumes; an error of the disk stops the journal; short writes go on."""

import contextlib
import errno
import os
import subprocess

import pytest

from onetape.compiled import mode
from onetape.compiled.frame import DATA
from onetape.native import files
from onetape.records.errors import IntegrityError, OperatorError
from onetape.sim.disk import PowerCut, SimDisk
from onetape.tape import checkpoint, ring
from onetape.tape.reader import frames
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "segments_ahead": 1, "threads": False}


@contextlib.contextmanager
def simulated(disk):
    with mode.running("interpreted"), files.using(disk):
        yield disk


def fill(tape):
    """Append until refused; the payloads that were taken."""
    taken = []
    while True:
        payload = b"%d" % len(taken) * 50
        try:
            tape.append(1, DATA, payload)
        except OperatorError as why:
            return taken, str(why)
        taken.append(payload)


def data_frames(folder):
    return [payload for header, payload in frames(folder) if header.kind == DATA]


def test_a_full_disk_refuses_and_then_resumes():
    with simulated(SimDisk(1, capacity=8192 + 20_000)) as disk:
        tape = Tape.create("/tape", segment_bytes=2048, **SMALL)

        taken, why = fill(tape)

        assert "no room for more frames (No space left on device for a segment of 2048" in why
        assert "this one was not taken, all earlier ones are safe" in why
        assert tape.sync() == len(taken) + 1
        assert data_frames("/tape") == taken

        disk.capacity += 2048 + 4096
        tape.append(1, DATA, b"after")  # no need to open it again
        tape.sync()
        assert data_frames("/tape") == [*taken, b"after"]
        tape.close()
        Tape.open("/tape", **SMALL).close()
        assert data_frames("/tape") == [*taken, b"after"]


def test_reading_goes_on_and_dropping_makes_room_while_the_disk_is_full():
    with simulated(SimDisk(2, capacity=8192 + 30_000)):
        tape = Tape.create("/tape", segment_bytes=2048, **SMALL)
        taken, _ = fill(tape)
        tape.sync()
        assert data_frames("/tape") == taken
        with pytest.raises(OSError, match="No space left"):
            checkpoint.write("/tape", {}, {"x": "y" * 9000}, position=0, offset=1)
        assert checkpoint.offsets("/tape") == []

        checkpoint.write(
            "/tape", {}, {}, position=tape.durable_position, offset=tape.durable_offset
        )
        assert tape.drop_before(tape.durable_offset) == [0, 1, 2]
        tape.append(1, DATA, b"after")
        tape.sync()
        kept = [p for h, p in frames("/tape", tape.facts.start_offset) if h.kind == DATA]
        assert kept[-1] == b"after"
        assert kept[:-1] == taken[-len(kept) + 1 :]


def test_the_hot_loop_sees_the_refusal_and_the_resumption():
    with simulated(SimDisk(3, capacity=8192 + 20_000)) as disk:
        tape = Tape.create("/tape", segment_bytes=2048, **SMALL)
        fill(tape)
        payload = files.np.zeros(400, files.np.uint8)

        def attempt():
            return ring.append(tape.ring, tape.control, 1, DATA, 0, payload, 0, 400)

        while attempt() >= 0:
            tape.turn()
        assert attempt() == ring.REFUSED_FULL
        before = tape.next_offset
        disk.capacity += 1 << 16
        tape.turn()
        assert attempt() >= 0
        assert tape.next_offset == before + 1


@pytest.mark.parametrize("nth", range(1, 9))
def test_after_an_error_of_the_disk_nothing_is_retried(nth):
    with simulated(SimDisk(nth)) as disk:
        disk.random.random = lambda: 1.0  # no short writes
        tape = Tape.create("/tape", segment_bytes=1 << 16, **SMALL)
        tape.sync()
        disk.fail_sync_at = disk.syncs + nth
        promised = 0
        with pytest.raises(OperatorError, match="failed: Input/output error") as caught:
            for n in range(20):
                tape.append(1, DATA, b"%d" % n)
                tape.sync()
                promised = n + 1
        calls = disk.calls
        what = "a segment" if nth % 2 else "the watermark"
        assert f"fdatasync of {what} failed" in str(caught.value)
        assert "Check the disk, then open the tape again" in str(caught.value)

        for attempt in (tape.sync, lambda: tape.append(1, DATA, b"more"), tape.close):
            with pytest.raises(OperatorError, match="does not retry"):
                attempt()
        assert disk.calls == calls, "the journal touched the disk after its failure"

        disk.crash()
        Tape.open("/tape", **SMALL).close()
        found = data_frames("/tape")
        assert found == [b"%d" % n for n in range(len(found))]
        assert len(found) >= promised


def test_an_error_at_the_end_of_a_segment_is_final_too():
    """Found by seed 8286 of test_power_loss: the next turn went on with the next segment."""
    with simulated(SimDisk(6)) as disk:
        disk.random.random = lambda: 1.0  # no short writes
        tape = Tape.create("/tape", segment_bytes=2048, **SMALL)
        tape.sync()
        while int(tape.control[ring.HEAD]) < 1600:
            tape.append(1, DATA, b"1" * 100)
        tape.sync()
        for _ in range(5):  # from the first segment into the second
            tape.append(1, DATA, b"2" * 100)
        tape._allocator.look()  # the next sync is then one of the journal
        durable = tape.durable_position
        disk.fail_sync_at = disk.syncs + 1
        with pytest.raises(OperatorError, match="fdatasync of a segment failed"):
            tape.sync()
        calls = disk.calls

        assert tape.turn() == -1
        with pytest.raises(OperatorError, match="does not retry"):
            tape.close()

        assert tape.durable_position == durable
        assert disk.calls == calls


def test_killed_anywhere_while_created_then_used_then_powered_off():
    """The names that a killed process made may not be on disk yet: opening puts them there."""
    for k in range(1, 60):
        disk = SimDisk(k)
        with simulated(disk):
            disk.power_calls = k
            finished = False
            try:
                Tape.create("/tape", segment_bytes=2048, **SMALL)
                finished = True
            except PowerCut:
                pass
            disk.kill()
            if "tape" in disk.root.seen:
                tape = Tape.open("/tape", **SMALL)
                tape.append(1, DATA, b"promised")
                tape.sync()
                disk.random.random = lambda: 1.0  # nothing that was not synced arrives
                disk.random.randint = lambda low, high: low
                disk.crash()
                Tape.open("/tape", **SMALL).close()
                assert data_frames("/tape") == [b"promised"]
            else:
                assert not finished
        if finished:
            break
    assert finished


def test_an_error_while_allocating_is_not_tried_again():
    with simulated(SimDisk(5)) as disk:
        tape = Tape.create("/tape", segment_bytes=2048, **SMALL)
        tape.sync()
        tape.append(1, DATA, b"1" * 400)
        tape.append(1, DATA, b"2" * 400)
        tape.append(1, DATA, b"3" * 400)
        tape.append(1, DATA, b"4" * 400)
        tape.append(1, DATA, b"5" * 400)  # in the second segment: the third is wanted now
        disk.fail_sync_at = disk.syncs + 1

        taken, why = fill(tape)

        assert "Input/output error for a segment of 2048 bytes; not tried again" in why
        assert len(data_frames("/tape")) < len(taken) + 5
        assert tape.sync() == len(taken) + 6
        tape.close()
        with Tape.open("/tape", **SMALL) as again:
            again.append(1, DATA, b"after")
        assert data_frames("/tape")[5:] == [*taken, b"after"]


def test_a_sync_that_lies_about_the_segments_is_found_out():
    with simulated(SimDisk(4)) as disk:
        tape = Tape.create("/tape", segment_bytes=1 << 14, **SMALL)
        tape.sync()
        disk.lies_about = "segment"
        for n in range(20):
            tape.append(1, DATA, b"%d" % n * 9)
            tape.sync()
        disk.random.random = lambda: 1.0  # nothing that was not synced arrives
        disk.crash()

        with pytest.raises(IntegrityError, match="there were zeros, expected a frame"):
            Tape.open("/tape", **SMALL)


class Short(files.OsDisk):
    """Takes one byte at a time, and is interrupted now and then."""

    def __init__(self):
        self.calls = 0

    def pwrite(self, fd, data, at):
        self.calls += 1
        if self.calls % 3 == 0:
            raise InterruptedError(errno.EINTR, "interrupted")
        return os.pwrite(fd, data[:1], at)


def test_short_and_interrupted_writes_lead_to_the_same_bytes(tmp_path):
    tape = Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL)
    with mode.running("interpreted"), files.using(Short()) as disk:
        for n in range(12):
            tape.append(1, DATA, b"%d" % n * 20, n)
            tape.sync()
        assert disk.calls > 1000
    tape.close()

    assert data_frames(tmp_path / "t") == [b"%d" % n * 20 for n in range(12)]


def test_a_write_that_takes_nothing_is_an_error(tmp_path):
    class Nothing(files.OsDisk):
        def pwrite(self, fd, data, at):
            return 0

    tape = Tape.create(tmp_path / "t", segment_bytes=2048, **SMALL)
    failed = pytest.raises(OperatorError, match="writing a segment failed: Input/output error")
    with mode.running("interpreted"), files.using(Nothing()), failed:
        tape.sync()
    with pytest.raises(OperatorError, match="does not retry"):
        tape.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_full_disk(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(64 << 10))
    with Tape.create(
        small_disk / "tape", segment_bytes=16384, ring_bytes=4096, segments_ahead=1
    ) as tape:
        taken, why = fill(tape)
        assert "no room for more frames (No space left on device" in why
        assert data_frames(tape.folder) == taken[: tape.sync() - 1]

        ballast.unlink()
        deadline = 400
        while True:  # the allocator looks every 20 ms
            deadline -= 1
            try:
                tape.append(1, DATA, b"after")
                break
            except OperatorError:
                assert deadline > 0
                tape._closing.wait(0.01)

    assert data_frames(small_disk / "tape") == [*taken, b"after"]
