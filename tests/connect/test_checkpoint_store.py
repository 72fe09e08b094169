"""Checkpoints in an object store: a real S3 server holds them, only what is missing goes there."""

import os
import sys

import numpy as np
import pytest

from onetape.compiled.frame import DATA
from onetape.connect.checkpoint_store import CheckpointStore
from onetape.records import IntegrityError, OperatorError
from onetape.tape import checkpoint, layout
from onetape.tape.checkpoint_keep import Retention
from onetape.tape.checkpoint_manifest import folder_of, read_manifest
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "threads": False}
KEEP = Retention(2, 0, 0)


@pytest.fixture
def tape(tmp_path):
    """A tape of 30 frames."""
    with Tape.create(tmp_path / "tape", {"n": 1}, segment_bytes=2048, **SMALL) as tape:
        for n in range(30):
            tape.append(1, DATA, b"%03d" % n * 20)
    return str(tmp_path / "tape")


def write(tape, values, offset):
    arrays = {"a": np.zeros((len(values), checkpoint.CHUNK_BYTES // 8), np.int64)}
    arrays["a"][:, 7] = values
    header = {"epoch": 1, "event_ns": offset}
    position = 70 * offset
    return checkpoint.write(
        tape, arrays, header, position=position, offset=offset, retention=Retention(9, 0, 0)
    )


def objects(s3_server, bucket_url):
    """The names of what is there."""
    base = s3_server.bucket / bucket_url.removeprefix("s3://bucket/") / "checkpoints"
    return {path.name: path for path in base.iterdir()}


def test_only_what_is_missing_goes_up_and_what_is_not_kept_goes_away(s3_server, bucket_url, tape):
    store, sizes = CheckpointStore(bucket_url, KEEP), []
    assert store.upload(tape) is None
    for offset in range(1, 8):
        write(tape, [100 + offset, 5, 6, 7], offset)
        done = store.upload(tape)
        assert (done.offset, done.trouble) == (offset, "")
        sizes.append(done.bytes_done)
        assert store.upload(tape).bytes_done == 0

    chunk = checkpoint.CHUNK_BYTES
    assert all(size > 4 * chunk for size in sizes[:2])
    assert sum(sizes[2:]) < 2.5 * chunk * len(sizes[2:])  # of 4 chunks, 1 changes
    kept = [read_manifest(folder_of(tape), offset) for offset in (6, 7)]
    names = {pack.name for manifest in kept for pack in manifest.packs}
    assert set(objects(s3_server, bucket_url)) == {
        *names,
        *(f"{n:020d}.checkpoint" for n in (6, 7)),
    }


def test_a_store_begun_by_another_process_is_gone_on_with(bucket_url, tape):
    same = list(range(100, 140))
    write(tape, [1, *same], 1)
    CheckpointStore(bucket_url, KEEP).upload(tape)
    write(tape, [2, *same], 2)
    CheckpointStore(bucket_url, KEEP).upload(tape)
    write(tape, [3, *same], 3)

    assert CheckpointStore(bucket_url, KEEP).upload(tape).bytes_done < 10 * checkpoint.CHUNK_BYTES


def test_a_restored_folder_is_a_tape_that_begins_at_the_checkpoint(bucket_url, tape, tmp_path):
    for offset in (10, 20):
        write(tape, [offset, 5], offset)
        CheckpointStore(bucket_url).upload(tape)

    manifest, problems = CheckpointStore(bucket_url).restore(str(tmp_path / "again"))

    assert (manifest.offset, problems) == (20, [])
    found = checkpoint.latest_valid(tmp_path / "again").checkpoint
    assert found.arrays["a"][:, 7].tolist() == [20, 5]
    ours, theirs = (layout.read_facts(folder) for folder in (tape, str(tmp_path / "again")))
    assert (theirs.tape_id, theirs.start_offset) == (ours.tape_id, 20)
    with Tape.open(tmp_path / "again", **SMALL) as again:
        assert again.epoch == 2
        assert again.append(1, DATA, b"goes on") == 21  # behind its manifest
        assert again.sync() == 22
    assert not (tmp_path / "again.restoring").exists()


@pytest.mark.parametrize("kind", [".chunks", ".checkpoint"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_object_leads_to_the_one_before(
    s3_server, bucket_url, tape, tmp_path, kind, damage
):
    for offset in (10, 20):
        write(tape, [offset, 5], offset)
        CheckpointStore(bucket_url).upload(tape)
    path = next(
        p
        for name, p in objects(s3_server, bucket_url).items()
        if f"{20:020d}" in name[:20] and kind in name
    )
    data = path.read_bytes()
    at = len(data) // 2
    if damage == "flip":
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    elif damage == "cut":
        path.write_bytes(data[:at])
    else:
        path.unlink()

    manifest, problems = CheckpointStore(bucket_url).restore(str(tmp_path / "again"))

    assert manifest.offset == 10
    assert len(problems) == (0 if (damage, kind) == ("remove", ".checkpoint") else 1)
    assert checkpoint.read(tmp_path / "again", 10).arrays["a"][0, 7] == 10


def test_the_checkpoints_of_two_tapes_are_not_mixed(bucket_url, tape, tmp_path):
    write(tape, [1], 1)
    CheckpointStore(bucket_url).upload(tape)
    Tape.create(tmp_path / "other", {}, segment_bytes=2048, **SMALL).close()
    write(str(tmp_path / "other"), [1], 1)

    with pytest.raises(OperatorError, match="holds the checkpoints of another tape"):
        CheckpointStore(bucket_url).upload(str(tmp_path / "other"))


def test_what_the_store_refuses_is_said(s3_server, bucket_url, tape, tmp_path, monkeypatch):
    with pytest.raises(OperatorError, match=r"holds no checkpoints; give what --checkpoints was"):
        CheckpointStore(bucket_url).restore(str(tmp_path / "again"))
    write(tape, [1], 1)
    CheckpointStore(bucket_url).upload(tape)
    with pytest.raises(OperatorError, match="is not empty; a tape is restored to a folder of"):
        CheckpointStore(bucket_url).restore(tape)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(OperatorError, match=r"cannot be listed: .*403"):
        CheckpointStore(bucket_url).upload(tape)
    with pytest.raises(OperatorError, match=r"did not give manifest: .*403"):
        CheckpointStore(bucket_url).restore(str(tmp_path / "again"))
    assert os.listdir(tmp_path) == ["tape"]


def test_without_the_library_the_command_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)

    with pytest.raises(OperatorError, match=r'pip install "onetape\[s3\]"'):
        CheckpointStore("s3://bucket/x")


def test_an_address_that_is_none_is_refused():
    with pytest.raises(OperatorError, match=r"expected s3://BUCKET/PREFIX"):
        CheckpointStore("bucket/x")


def test_every_checkpoint_damaged_is_an_integrity_error(s3_server, bucket_url, tape, tmp_path):
    write(tape, [1], 1)
    CheckpointStore(bucket_url).upload(tape)
    for name, path in objects(s3_server, bucket_url).items():
        if name.endswith(".chunks"):
            path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(IntegrityError, match="every checkpoint there is damaged"):
        CheckpointStore(bucket_url).restore(str(tmp_path / "again"))
