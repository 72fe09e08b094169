"""`onetape debug` and `onetape why` on a small tape: the right event and state."""

import json
import os
import subprocess
import sys

import pytest

from onetape import cli
from onetape.compiled.frame import DATA, END
from onetape.records import block_of
from onetape.runtimes import course
from onetape.runtimes.edge.follower import Follower
from onetape.runtimes.load import load_pipeline
from onetape.tape.layout import read_facts
from onetape.tape.tape import Tape

PIPELINE = """\
import onetape as ot


@ot.record
class Print:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    price_ticks: ot.i64


@ot.record
class Jump:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    ticks: ot.i64


@ot.operator(key="asset_id")
class Jumps:
    last_ticks: ot.i64 = ot.UNSET
    seen: ot.i64 = 0

    def on_print(self, p: Print, *, at_least: ot.Ticks = 10) -> Jump | None:
        was, self.last_ticks = self.last_ticks, p.price_ticks
        self.seen += 1
        if was == ot.UNSET or abs(p.price_ticks - was) < at_least:
            return None
        return Jump(p.ts_event_ns, p.asset_id, p.price_ticks - was)


@ot.aggregate
class High:
    high_ticks: ot.i64 = 0

    def add(self, p: Print) -> None:
        self.high_ticks = max(self.high_ticks, p.price_ticks)

    def result(self, key: int, start_ns: int, end_ns: int) -> Jump | None:
        return Jump(end_ns, key, self.high_ticks)


prints = ot.source(Print)
jumps = Jumps(prints)
pipeline = ot.Pipeline(
    jump=jumps,
    high=ot.window(prints, High, width="1s", key="asset_id"),
    alarm=jumps.alert("a jump", by="asset_id"),
)
"""
MS = 1_000_000
# A frame a line; frame 0 of the tape is its manifest.
FRAMES = [
    [(100 * MS, 1, 1000), (200 * MS, 2, 500)],
    [(300 * MS, 2, 501)],
    [(400 * MS, 2, 502), (500 * MS, 1, 1030), (1600 * MS, 1, 1031)],
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(pipeline file, folder of the tape)"""
    folder = tmp_path_factory.mktemp("dev")
    (folder / "mine.py").write_text(PIPELINE)
    made = load_pipeline(str(folder / "mine.py"))
    of = made.sources[0].of
    manifest = {"framing": {}, "midnight_ns": 0}
    with Tape.create(folder / "tape", manifest, ring_bytes=1 << 14, segment_bytes=1 << 16) as tape:
        for rows in FRAMES:
            tape.append(0, DATA, block_of(of, rows).tobytes())
        tape.append(0, END, b"")
        tape.sync()
    return folder / "mine.py", folder / "tape"


def run_json(capsys, *argv):
    assert cli.main([str(a) for a in argv] + ["--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *argv):
    assert cli.main([str(a) for a in argv]) == 1
    return capsys.readouterr().err


def test_debug_shows_the_event_with_the_state_of_that_offset(made, capsys):
    first = run_json(capsys, "debug", *made, "--at", "3")
    jump = run_json(capsys, "debug", *made, "--at", "3.1")

    assert (first["index"], first["key"]) == (0, 2)
    assert first["before"] == {"last_ticks": 501, "seen": 2}
    assert jump["operator"] == "Jumps"
    assert jump["event"] == {"ts_event_ns": 500 * MS, "asset_id": 1, "price_ticks": 1030}
    assert jump["before"] == {"last_ticks": 1000, "seen": 1}
    assert jump["after"] == {"last_ticks": 1030, "seen": 2}
    assert jump["rows"] == [{"ts_event_ns": 500 * MS, "asset_id": 1, "ticks": 30}]


def test_debug_of_a_timer_and_of_a_window(made, capsys):
    added = run_json(capsys, "debug", *made, "--at", "3.1", "--operator", "High_1000000000ns")
    closed = run_json(capsys, "debug", *made, "--at", "3.2", "--operator", "n2")

    assert (added["function"], added["after"]) == ("add", {"high_ticks": 1030})
    assert (closed["function"], closed["event"], closed["time_ns"]) == ("result", None, 1000 * MS)


def test_debug_from_a_checkpoint_is_debug_from_the_start(made, capsys):
    whole = run_json(capsys, "debug", *made, "--at", "3.1")
    manifest = read_facts(str(made[1])).manifest
    follower = Follower(course.begin(load_pipeline(str(made[0])), made[1], manifest), made[1])
    for buffer, begin, end, _ in [next(_frames_before(made[1], 3))]:
        for _ in follower.engine.feed(buffer, begin, end):
            pass
        follower.offset = 3
    follower.save()

    assert run_json(capsys, "debug", *made, "--at", "3.1") == whole
    assert (made[1] / "checkpoints").is_dir() and any((made[1] / "checkpoints").iterdir())


def _frames_before(folder, offset):
    from onetape.compiled.frame import frame_bytes, frame_length, frame_offset
    from onetape.tape.reader import runs_at

    for buffer, begin, end, base in runs_at(folder):
        at = begin
        while at < end and int(frame_offset(buffer, at)) < offset:
            at += int(frame_bytes(frame_length(buffer, at)))
        yield buffer, begin, at, base


def test_debug_says_what_there_is_instead(made, capsys):
    assert "has the frames 0 to 4; frame 9 was asked for" in refused(
        capsys, "debug", *made, "--at", "9"
    )
    assert "frame 3 has events 0 to 2\n  Jumps.on_print is reached at 3.0, 3.1, 3.2" in refused(
        capsys, "debug", *made, "--at", "3.7"
    )
    assert "no operator 'Jump'; it has Jumps (n1), High_1000000000ns (n2)" in refused(
        capsys, "debug", *made, "--at", "3", "--operator", "Jump"
    )


def in_debugger(made, at, commands, file=None):
    done = subprocess.run(
        [sys.executable, "-m", "onetape.cli", "debug", file or made[0], made[1], "--at", at],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
        check=False,
    )
    slow = ("compiled in ", "loaded from the cache in ")  # said on a busy machine only
    said = [text for text in done.stderr.splitlines() if not text.startswith(slow)]
    return done.returncode, done.stdout, "\n".join(said)


def test_pdb_stops_on_the_first_line_of_the_operator(made):
    status, out, err = in_debugger(made, "3.1", ["p self.last_ticks", "n", "p was, p.seen", "c"])
    left, last, said = in_debugger(made, "3.1", ["q"])

    assert status == 0, err
    assert "mine.py(24)on_print()\n-> was, self.last_ticks = " in out
    assert "(Pdb) 1000\n" in out
    assert "no field 'seen'; the record has ts_event_ns, asset_id, price_ticks" in out
    assert "row     ts_event_ns=500000000 asset_id=1 ticks=30" in out
    assert (left, said) == (0, "") and "no row" not in last


def test_a_breakpoint_stops_there_and_machine_code_passes_over_it(made, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PIPELINE.replace("        self.seen += 1\n", "        breakpoint()\n"))

    status, out, err = in_debugger(made, "3.1", ["c", "p self.last_ticks", "c"], file)

    assert status == 0, err
    assert "(Pdb) 1030\n" in out


def test_why_tells_the_events_of_the_key_since_its_state_was_initial(made, capsys):
    told = run_json(capsys, "why", *made, "--output", "jump", "--row", "0")
    short = run_json(capsys, "why", *made, "--output", "jump", "--row", "0", "--last", "1")

    assert told["row"] == {"ts_event_ns": 500 * MS, "asset_id": 1, "ticks": 30}
    assert (told["operator"], told["key"], told["origin"]["tape_offset"]) == ("Jumps", 1, 3)
    assert [(s["offset"], s["index"]) for s in told["steps"]] == [(1, 0), (3, 1)]
    assert told["is_whole"] and not short["is_whole"]
    assert [s["offset"] for s in short["steps"]] == [3]


def test_why_of_an_alert_and_of_a_window(made, capsys):
    assert "no alert 5 on this tape; it has " in refused(capsys, "why", *made, "5")
    assert cli.main(["why", *map(str, made), "--output", "high", "--row", "0"]) == 0
    said = capsys.readouterr().out
    alert = run_json(capsys, "why", *made, "--output", "alarm", "--row", "0")
    by_id = run_json(capsys, "why", *made, alert["row"]["alert_id"])

    assert by_id == alert
    assert alert["steps"][-1]["rows"][0]["ts_event_ns"] == alert["row"]["ts_event_ns"] == 500 * MS
    assert "changed high_ticks 1000 -> 1030" in said
    assert said.index("High_1000000000ns.add") < said.index("High_1000000000ns.result")


def test_why_of_a_pair_says_that_a_join_made_it(made, tmp_path, capsys):
    program, near = (
        tmp_path / "near.py",
        'prints.interval_join(jumps, by="asset_id", within=(-5, 5))',
    )
    program.write_text(f"{PIPELINE}\npipeline = ot.Pipeline(near={near})\n")
    told = run_json(capsys, "why", program, made[1], "--output", "near", "--row", "0")

    assert told["note"] == "an interval join made it, of the rows whose fields it has"
    assert (told["row"]["ts_left_ns"], told["row"]["apart_ns"]) == (500 * MS, 0)


def test_why_says_which_rows_there_are(made, capsys):
    assert "output jump has 1 rows; row 4 was asked for" in refused(
        capsys, "why", *made, "--output", "jump", "--row", "4"
    )
    assert "has no output 'jumps'; it has jump, high, alarm" in refused(
        capsys, "why", *made, "--output", "jumps", "--row", "4"
    )
    assert "which row?" in refused(capsys, "why", *made, "--output", "jump")
