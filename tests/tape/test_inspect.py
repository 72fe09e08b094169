"""What a person sees: `onetape tape ls`, `cat`, `verify` as a transcript, and their exit status.

tests/golden/tape/look.txt holds commands and what they print; ONETAPE_REWRITE=1 writes it anew
(read the difference before committing it).
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from onetape.compiled.frame import CONTROL, DATA, END, TICK
from onetape.tape import checkpoint, checkpoint_manifest, commands, layout, tape
from onetape.tape.tape import Tape

SMALL = {"ring_bytes": 1024, "threads": False}
GOLDEN = Path(__file__).parent.parent / "golden" / "tape" / "look.txt"
FORMAT_1 = "b8a10a17e30fbfc0940844848e50b2236d2b915e178dcd4858f31acf8ef3cf0e"
CHECKPOINT_2 = "8ff26762db5f3d030132a8cefb4db4f133aa094820451dd865659fe6a3cd60a4"
MONDAY_NS = 1_704_706_200_000_000_000  # 2024-01-08T09:30:00Z


@pytest.fixture
def day(tmp_path, monkeypatch):
    """The folder in which there is a tape named `day`."""
    monkeypatch.setattr(tape, "clock_ns", lambda: MONDAY_NS)
    monkeypatch.setattr(tape.secrets, "randbits", lambda bits: 0x0123456789ABCDEF)
    monkeypatch.chdir(tmp_path)
    with Tape.create("day", {"pipeline": "demo"}, segment_bytes=2048, **SMALL) as day:
        for n in range(12):
            day.append(n % 2, DATA, bytes(range(n, n + 20)) * (n + 1), MONDAY_NS + n * 1_000_003)
        day.append(0, TICK, b"", MONDAY_NS + 10**9)
        day.append(1, CONTROL, b'{"limit": 5}', MONDAY_NS + 2 * 10**9)
        day.append(0, END, b"", MONDAY_NS + 3 * 10**9)
        day.sync()
        arrays = {"a": np.arange(5)}
        checkpoint.write("day", arrays, {}, position=0, offset=7, written_ns=MONDAY_NS)
    return tmp_path


def run(line, capsys):
    parser = argparse.ArgumentParser(prog="onetape")
    commands.add_tape_parser(parser.add_subparsers())
    args = parser.parse_args(line.split())
    status = args.run(args)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_transcript(day, capsys):
    text = GOLDEN.read_text()
    made = []
    for block in text.split("$ onetape ")[1:]:
        line = block.partition("\n")[0]
        if line.startswith("damage "):
            _, name, at = line.split()
            flip(day / name, int(at))
            made.append(line + "\n----\n\n")
            continue
        status, out, err = run(line, capsys)
        shown = (out + err).replace(str(day) + "/", "")
        made.append(f"{line}\n----\n{shown}exit status {status}\n\n")
    made_text = text.partition("$ onetape ")[0] + "".join(f"$ onetape {part}" for part in made)
    if os.environ.get("ONETAPE_REWRITE") == "1":
        GOLDEN.write_text(made_text.rstrip("\n") + "\n")

    assert made_text.rstrip("\n") + "\n" == GOLDEN.read_text()


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_the_format_on_disk_is_frozen(day):
    """Tapes are kept for years. A change here is a new layout.FORMAT, and a test that reads 1.

    A checkpoint of another format is passed over: a change is a new checkpoint_manifest.FORMAT.
    """
    tape, checkpoints = hashlib.sha256(), hashlib.sha256()
    for path in sorted((day / "day").rglob("*")):
        if path.is_file() and path.name != "lock":
            digest = checkpoints if path.parent.name == layout.CHECKPOINTS else tape
            digest.update(path.name.encode() + path.read_bytes())

    assert (layout.FORMAT, checkpoint_manifest.FORMAT) == (1, 2)
    assert tape.hexdigest() == FORMAT_1
    assert checkpoints.hexdigest() == CHECKPOINT_2


def test_json_says_the_same(day, capsys):
    status, out, _ = run("tape ls day --json", capsys)
    found = json.loads(out)

    assert status == 0
    assert (found["first_offset"], found["durable_offset"], found["epoch"]) == (0, 16, 1)
    assert found["checkpoints"] == [7]
    assert [s["segment"] for s in found["segments"]] == [0, 1]

    status, out, _ = run("tape cat day --json --from 3 --count 2", capsys)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["offset"] for line in lines] == [3, 4]
    assert lines[0]["payload"] == bytes(range(2, 22)).hex() * 2 + bytes(range(2, 10)).hex()
    assert lines[0]["is_whole"] is False

    status, out, _ = run("tape verify day --json", capsys)
    assert json.loads(out)["problems"] == []
    assert json.loads(out)["frames"] == 16


def test_a_tape_that_is_being_written_is_looked_at_all_the_same(day, capsys):
    with Tape.open("day", **SMALL) as live:
        live.sync()
        live.append(1, DATA, b"not durable yet")
        assert "being written" in run("tape ls day", capsys)[1]
        status, out, _ = run("tape verify day", capsys)
        assert (status, out.startswith("ok: 17 frames")) == (0, True)
    assert run("tape verify day", capsys)[1].startswith("ok: 18 frames")


def test_damage_is_an_exit_status(day, capsys):
    assert run("tape verify day", capsys)[0] == 0
    (code,) = [checkpoint.offsets("day")]
    assert code == [7]
    flip(day / "day" / "checkpoints" / f"{7:020d}.checkpoint", 30)

    status, out, _ = run("tape verify day", capsys)

    assert status == 1
    assert "DAMAGED" in out and "checkpoint" in out


def test_stored_code_that_was_changed_is_damage(day, capsys):
    with Tape.open("day", code={"f": "pass"}, **SMALL):
        pass
    (stored,) = (day / "day" / "code").iterdir()
    stored.write_text("import os")

    status, out, _ = run("tape verify day", capsys)

    assert status == 1
    assert "its text has hash" in out
