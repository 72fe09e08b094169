"""What a person sees of checkpoints: the list, damage, and what the doctor says of a tape."""

import json

import numpy as np
import pytest

from onetape.cli import main
from onetape.compiled.frame import DATA
from onetape.runtimes.doctor.disk import disk_checks
from onetape.runtimes.doctor.finding import BETTER, OK
from onetape.tape import checkpoint
from onetape.tape.tape import Tape

DAY_NS = 1_767_571_200 * 10**9  # 2026-01-05


@pytest.fixture
def tape(tmp_path):
    with Tape.create(tmp_path / "tape", {}, segment_bytes=1 << 16, ring_bytes=1024) as tape:
        for _ in range(30):
            tape.append(0, DATA, b"x")
    for n in (10, 20):
        arrays = {"a": np.arange(20_000) + n}
        header = {"event_ns": DAY_NS + n * 10**9 if n == 20 else None}
        checkpoint.write(tmp_path / "tape", arrays, header, position=0, offset=n, written_ns=DAY_NS)
    return tmp_path / "tape"


def damage(tape):
    (path,) = (tape / "checkpoints").glob(f"{20:020d}-*.chunks")
    data = bytearray(path.read_bytes())
    data[70_000] ^= 1
    path.write_bytes(data)
    return path


def test_they_are_listed(tape, capsys):
    assert main(["checkpoints", str(tape), "--verify"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert main(["checkpoints", str(tape), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)

    assert " ".join(text[0].split()) == "frame event time (UTC) written (UTC) state new"
    assert " ".join(text[2].split()[:5]) == "20 2026-01-05 00:00:20.000000000 2026-01-05 00:00:00"
    assert text[2].endswith("0.2 MB     0.2 MB  ok")
    assert [one["offset"] for one in told["checkpoints"]] == [10, 20]
    assert told["checkpoints"][1] == {
        "offset": 20,
        "event_ns": DAY_NS + 20 * 10**9,
        "written_ns": DAY_NS,
        "state_bytes": 160_000,
        "new_bytes": told["checkpoints"][1]["new_bytes"],
        "problem": None,
    }


def test_a_damaged_one_is_found_by_verify_and_named(tape, capsys):
    path = damage(tape)

    assert main(["checkpoints", str(tape)]) == 0  # manifests are whole
    capsys.readouterr()
    assert main(["checkpoints", str(tape), "--verify"]) == 1
    out = capsys.readouterr().out
    assert f"DAMAGED {path}: at byte 65536, chunk 1 of a: hash was " in out
    assert "  ok\n" in out
    assert main(["tape", "verify", str(tape)]) == 1
    assert f"DAMAGED {path}: at byte 65536" in capsys.readouterr().out


def test_a_tape_without_any_says_what_makes_them(tmp_path, capsys):
    Tape.create(tmp_path / "t", {}, segment_bytes=1 << 16, ring_bytes=1024).close()

    assert main(["checkpoints", str(tmp_path / "t")]) == 0
    assert "no checkpoints" in capsys.readouterr().out
    assert main(["checkpoints", str(tmp_path / "none")]) == 1
    assert "is not a tape" in capsys.readouterr().err


def test_the_doctor_looks_at_the_checkpoints_of_a_tape(tape, tmp_path):
    good = disk_checks(tape)[-1]()
    path = damage(tape)
    bad = disk_checks(tape)[-1]()

    assert (good.what, good.verdict) == ("checkpoints", OK)
    assert good.found == "2, the newest before 20, 0.2 MB of state"
    assert bad.verdict == BETTER
    assert str(path) in bad.found and bad.found.endswith(
        "the one at frame 10 is used, and the tape from there"
    )
    assert bad.fix == f"onetape checkpoints {tape} --verify"
    assert all(check().what != "checkpoints" for check in disk_checks(tmp_path)[:2])
