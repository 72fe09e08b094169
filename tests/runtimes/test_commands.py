"""The commands as a person meets them: what they print, what they leave behind, how they refuse."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from onetape import cli
from onetape.records.market import TopOfBook
from onetape.runtimes.progress import heeding_interrupts
from onetape.sim.exchange import write_file

RUN = ["run", "standard", "--file", "day.itch", "--tape", "tape"]
OUTPUTS = ["alert", "bar", "top_of_book", "trade", "vwap"]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "01302019.NASDAQ_ITCH50"
    write_file(path, seed=9, instruments=30, seconds=4.0, episodes=2)
    return path


def run_json(capsys, *argv):
    assert cli.main([str(a) for a in argv]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_replay_leaves_parquet_with_symbols_and_integer_prices(day, tmp_path, capsys):
    import pyarrow.parquet as pq

    facts = run_json(capsys, "replay", day, "--out", tmp_path / "out", "--json")

    assert sorted(p.stem for p in (tmp_path / "out").iterdir()) == OUTPUTS
    table = pq.read_table(tmp_path / "out" / "top_of_book.parquet")
    assert table.column_names == ["symbol", *TopOfBook._fields]
    assert table.num_rows == facts["rows"]["top_of_book"]
    assert table.schema.metadata[b"price_scale"] == b"0.0001"
    assert b"rules" not in table.schema.metadata
    alerts = pq.read_schema(tmp_path / "out" / "alert.parquet").metadata
    assert json.loads(alerts[b"rules"]) == {"1": "burst cancel"}
    assert str(table.schema.field("bid_price_ticks").type) == "int64"
    assert all(len(symbol.as_py()) > 0 for symbol in table["symbol"][:5])
    assert facts["messages"] == sum(facts["by_type"].values())
    assert facts["trading_date"] == "2019-01-30"


def test_replay_run_and_demo_of_one_file_give_one_answer(day, tmp_path, capsys):
    replayed = run_json(capsys, "replay", day, "--json")
    live = run_json(capsys, "run", "standard", "--file", day, "--tape", tmp_path / "tape", "--json")
    shown = run_json(capsys, "demo", "--file", day, "--json")

    assert live["digests"] == replayed["digests"] == shown["digests"]
    assert live["state_digest"] == replayed["state_digest"]


def test_demo_catches_every_planted_episode(capsys):
    facts = run_json(capsys, "demo", "--seconds", "5", "--seed", "7", "--json")

    assert facts["episodes_planted"] == facts["episodes_caught"] == facts["alerts"] > 0
    assert facts["gaps"] == facts["late"] == facts["dropped"] == 0
    assert {"messages", "messages_per_s", "instruments", "digests"} <= set(facts)


def test_demo_on_a_bad_network_gives_the_answer_of_a_good_one(capsys):
    options = ["demo", "--seconds", "2", "--episodes", "1", "--json"]
    good = run_json(capsys, *options)
    bad = run_json(capsys, *options, "--lose", "0.05")

    assert good["gaps"] == good["lost"] == bad["lost"] == 0
    assert bad["gaps"] > 0
    assert bad["digests"] == good["digests"]


def test_verify_agrees_in_every_runtime_and_names_a_difference(day, tmp_path, capsys):
    tape = tmp_path / "tape"
    run_json(capsys, "run", "standard", "--file", day, "--tape", tape, "--json")

    assert run_json(capsys, "verify", "standard", tape, "--json")["equal"]

    result = json.loads((tape / "result.json").read_text())
    result["digests"]["vwap"] = "0" * 32
    (tape / "result.json").write_text(json.dumps(result))
    assert cli.main(["verify", "standard", str(tape)]) == 1
    assert "vwap differs between live and replay" in capsys.readouterr().out


def test_explain_shows_graph_capacity_and_driver(capsys):
    assert cli.main(["explain", "standard", "--driver"]) == 0

    said = capsys.readouterr().out
    assert "n1   operator  Book" in said
    assert "at capacity the pipeline halts" in said
    assert "def turn(run, sources, buffer" in said


LIVE = ["run", "standard", "--udp", "127.0.0.1:0", "--tape", "{tmp}/t"]
SEND_TWICE = ["--send", "trade=127.0.0.1:9"] * 2
REFUSALS = [
    (["replay", "{tmp}/none.itch"], "cannot be opened"),
    (["replay", "{tmp}"], "cannot be opened"),
    (["replay", "{text}"], "is not ITCH 5.0"),
    (["replay", "{day}", "--out", "{text}/out"], "cannot write to"),
    (["run", "none.py", "--file", "{day}", "--tape", "{tmp}/t"], "no such file: none.py"),
    (["run", "{text}", "--file", "{day}", "--tape", "{tmp}/t"], "text.py:1"),
    (["verify", "standard", "{tmp}/none"], "no such tape"),
    (["explain", "{empty}"], "defines no `pipeline`"),
    (["explain", "{day}"], "is not Python; expected a file that defines `pipeline`"),
    (["explain", "{tmp}"], "is a folder; give a Python file"),
    (["run", "standard", "--file", "{day}", "--tape", "{text}"], "is a file; give a new folder"),
    (["run", "standard", "--file", "{day}", "--tape", "{tmp}"], "is not empty"),
    (["run", "standard", "--file", "{day}", "--tape", "{tmp}/t", "--seconds", "3"], "--seconds is"),
    (
        ["run", "standard", "--file", "{day}", "--tape", "{tmp}/t", "--send", "trade=127.0.0.1:9"],
        "rows go to --out DIR",
    ),
    (
        ["run", "standard", "--udp", "127.0.0.1:1", "--tape", "{tmp}/t", "--speed", "2"],
        "--speed is",
    ),
    (
        ["run", "standard", "--udp", "127.0.0.1:1", "--tape", "{tmp}/t", *SEND_TWICE],
        "--send was given twice for trade",
    ),
    (
        ["run", "standard", "--tape", "{tmp}/t", *["--udp", "127.0.0.1:0"] * 7],
        "the lines of the feed were 7; expected at most 6",
    ),
    (["run", "standard", "--tape", "{tmp}/t"], "there is nothing to run on"),
    (["run", "standard"], "there is nothing to run on: give a file (--file FILE)"),
    (["run", "standard"], "there is no folder for the tape: give a new one (--tape DIR)"),
    (["run", "none.py"], "no such file: none.py"),
    (
        [*LIVE, "--send", "alert=http://desk/hook"],
        "alert=stream >> ot.webhook('http://desk/hook')",
    ),
    (["run", "{broken}", "--file", "{day}", "--tape", "{tmp}/t"], "broken.py:2: ZeroDivisionError"),
    (["demo", "--instruments", "0", "--json"], "instruments"),
    (["demo", "--speed", "-1"], "--speed was -1.0"),
]


@pytest.mark.parametrize(("argv", "words"), REFUSALS, ids=[" ".join(a) for a, _ in REFUSALS])
def test_errors_of_a_person_are_one_line_and_leave_nothing(day, tmp_path, capsys, argv, words):
    (tmp_path / "text.py").write_text("this is (not Python, nor ITCH\n")
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("x = 1\ny = x / 0\n")
    before = sorted(tmp_path.rglob("*"))
    names = {
        "tmp": tmp_path,
        "day": day,
        "text": tmp_path / "text.py",
        "empty": tmp_path / "empty.py",
        "broken": tmp_path / "broken.py",
    }

    status = cli.main([a.format(**names) for a in argv])

    said = capsys.readouterr().err.strip().splitlines()
    assert status != 0
    assert said[-1].startswith("onetape: ")
    assert words in said[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_option_or_command_is_refused(capsys):
    for argv in (["demo", "--bad"], ["nothing"]):
        with pytest.raises(SystemExit) as left:
            cli.main(argv)
        assert left.value.code == 2
        assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--speed=-1", "--speed=nan", "--checkpoint=-3", "--seconds=x", "--date=1969-12-31"]
)
def test_an_option_that_means_nothing_is_refused_before_anything_is_done(tmp_path, capsys, option):
    argv = ["run", "standard", "--file", "none.itch", "--tape", str(tmp_path / "tape"), option]
    with pytest.raises(SystemExit) as left:
        cli.main(argv)
    assert left.value.code == 2
    assert f"argument {option.partition('=')[0]}: " in capsys.readouterr().err


def test_a_replay_that_is_interrupted_leaves_no_file(day, tmp_path, capsys, monkeypatch):
    from onetape.runtimes import batch

    seen = []

    def interrupted(engine, runs, take):
        for name, rows, origins in batch.rows_of(engine, runs):
            take(name, rows, origins)
            seen.append(len(rows))
            raise KeyboardInterrupt

    monkeypatch.setattr(batch, "run", interrupted)
    assert cli.main(["replay", str(day), "--out", str(tmp_path / "out")]) == 130

    assert np.sum(seen) > 0
    assert list((tmp_path / "out").iterdir()) == []
    assert "interrupted" in capsys.readouterr().err


def test_a_tape_goes_on_only_with_the_input_it_was_made_from(day, tmp_path, capsys):
    tape, other = tmp_path / "tape", tmp_path / "other.itch"
    write_file(other, seed=10, instruments=30, seconds=1.0, episodes=0)
    run = ["run", "standard", "--tape", str(tape), "--json", "--file"]
    made = run_json(capsys, *run, day)
    before = {path: path.read_bytes() for path in tape.rglob("*") if path.is_file()}

    for argv, words in (
        ([*run, str(other), "--resume"], "is not that"),
        ([*run, str(day), "--resume", "--date", "2020-01-02"], "another date"),
        (
            [*run, str(day), "--resume", "--set", "BurstCancel.more_than=8"],
            "made by this pipeline with other settings: BurstCancel.more_than was ",
        ),
    ):
        assert cli.main(argv) == 1
        assert words in capsys.readouterr().err

    assert cli.main([*run, str(day), "--resume"]) == 0
    said = capsys.readouterr()
    assert "is complete; nothing was changed" in said.err
    assert json.loads(said.out)["digests"] == made["digests"]
    assert {path: path.read_bytes() for path in tape.rglob("*") if path.is_file()} == before


def test_top_shows_a_run_from_a_file(day, tmp_path, capsys):
    tape = tmp_path / "tape"
    made = run_json(capsys, "run", "standard", "--file", day, "--tape", tape, "--json")

    shown = run_json(capsys, "top", tape, "--json")
    assert (shown["events"], shown["rows"]) == (made["messages"], made["rows"])
    assert cli.main(["top", str(tape), "--once"]) == 0
    assert f"{made['messages']:,} events" in capsys.readouterr().out
    assert cli.main(["top", str(tmp_path)]) == 1
    assert "no node has run on" in capsys.readouterr().err


def test_a_run_goes_on_with_the_date_of_its_tape(tmp_path, capsys):
    file, tape = tmp_path / "day.itch", tmp_path / "tape"
    write_file(file, seed=9, instruments=5, seconds=1.0, episodes=0)
    run = ["run", "standard", "--tape", tape, "--json", "--file", file]
    made = run_json(capsys, *run, "--date", "2026-01-05")
    (tape / "result.json").unlink()  # as after a crash

    assert run_json(capsys, *run, "--resume")["state_digest"] == made["state_digest"]


NAMED_FILE = """
import onetape as ot
pipeline = ot.Pipeline(trade=ot.source("itch:{file}").trades())
"""


def test_a_run_takes_the_file_its_pipeline_names_and_says_what_it_could_not_take(tmp_path, capsys):
    whole, cut = tmp_path / "whole.itch", tmp_path / "cut.itch"
    write_file(whole, seed=9, instruments=5, seconds=1.0, episodes=0)
    cut.write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "p.py").write_text(NAMED_FILE.format(file=cut))
    run = ["run", str(tmp_path / "p.py"), "--tape", str(tmp_path / "tape")]

    assert cli.main([*run, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    facts = run_json(capsys, *run[:2], "--tape", tmp_path / "again", "--json")

    assert "refused: 1 truncated" in said.out
    assert str(tmp_path / "out" / "trade.parquet") in said.out
    assert "times begin on 1970-01-01; give --date" in said.err
    assert facts["refused"] == {"truncated": 1}
    assert facts["gaps"] == facts["duplicates"] == facts["ahead"] == facts["bad_events"] == 0
    assert facts["book"] == {}


def test_a_damaged_file_says_what_is_left(tmp_path, capsys):
    whole, cut = tmp_path / "whole.itch", tmp_path / "cut.itch.gz"
    write_file(whole, seed=9, instruments=5, seconds=1.0, episodes=0)
    cut.write_bytes(gzip.compress(whole.read_bytes())[:-200])

    run = ["run", "standard", "--file", str(cut), "--tape", str(tmp_path / "tape")]
    assert cli.main(run) == 1

    said = capsys.readouterr().err
    assert "is damaged" in said
    assert f"what came before is on {tmp_path / 'tape'}" in said


def test_what_nobody_expected_is_one_line_and_all_of_it_with_traceback(monkeypatch, capsys):
    from onetape.runtimes import explain

    def broken(_path):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(explain, "load_with_settings", broken)
    assert cli.main(["explain", "standard"]) == 1
    assert capsys.readouterr().err == ("onetape: RuntimeError: two (use --traceback to see all)\n")
    for argv in (["--traceback", "explain", "standard"], ["explain", "standard", "--traceback"]):
        with pytest.raises(RuntimeError):
            cli.main(argv)


@pytest.mark.parametrize(
    ("argv", "is_begun", "words"),
    [
        (["explain", "standard"], False, "no half-written file"),
        (["publish", "standard", "--kafka", "h:1", "--topic", "t"], False, "the blocks that are"),
        (RUN, False, "nothing was begun"),
        (RUN, True, "--resume"),
    ],
)
def test_an_interrupt_says_what_is_left(tmp_path, monkeypatch, capsys, argv, is_begun, words):
    from onetape.runtimes import explain, publish
    from onetape.runtimes.run import command as run

    monkeypatch.chdir(tmp_path)
    if is_begun:
        (tmp_path / "tape").mkdir()
        (tmp_path / "tape" / "manifest").touch()

    def interrupted(_path):
        raise KeyboardInterrupt

    for command in (explain, run):
        monkeypatch.setattr(command, "load_with_settings", interrupted)
    monkeypatch.setattr(publish, "load_pipeline", interrupted)
    assert cli.main(argv) == 130
    assert words in capsys.readouterr().err


def test_an_interrupt_while_compiling_is_never_lost():
    """The compiler forgets exceptions in its callbacks, and makes others of them."""

    def press():
        signal.raise_signal(signal.SIGINT)

    def lost():
        with contextlib.suppress(KeyboardInterrupt):
            press()

    def turned():
        try:
            press()
        except KeyboardInterrupt:
            raise ValueError("of the compiler") from None

    before = signal.getsignal(signal.SIGINT)
    for way in (press, lost, turned):
        with pytest.raises(KeyboardInterrupt), heeding_interrupts():
            way()
    with pytest.raises(ValueError, match="not pressed"), heeding_interrupts():
        raise ValueError("not pressed")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_unknown_mode_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "onetape.cli", "--version"],
        env=os.environ | {"ONETAPE_MODE": "bogus"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == (
        "onetape: ONETAPE_MODE was 'bogus'; expected one of compiled, boundscheck, interpreted\n"
    )


@pytest.mark.parametrize("command", ["demo", "replay", "run", "explain", "bench", "sim"])
def test_help_has_a_paragraph_and_an_example(capsys, command):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0
    assert f"  onetape {command} " in said
    assert len(said.split("positional arguments")[0].split("options:")[0].split()) > 25


def test_a_tape_is_listed_shortly_and_read_only_where_it_is(day, tmp_path, capsys):
    tape = tmp_path / "tape"
    run_json(capsys, "run", "standard", "--file", day, "--tape", tape, "--json")

    assert cli.main(["tape", "ls", str(tape)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 100
    assert cli.main(["tape", "cat", str(tape), "--from", "99999999"]) == 2
    assert "--from was 99999999; the tape holds the frames 0 to" in capsys.readouterr().err
