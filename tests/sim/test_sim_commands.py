"""`onetape sim` as a person types it."""

import argparse
import hashlib
import json

import pytest

from onetape.sim.commands import add_parser

SHORT = ["--seconds", "0.5", "--instruments", "2", "--episodes", "1"]


def onetape(*words):
    parser = argparse.ArgumentParser("onetape")
    add_parser(parser.add_subparsers())
    args = parser.parse_args(["sim", *map(str, words)])
    return args.run(args)


def test_it_writes_the_day_and_the_answers(tmp_path, capsys):
    out, labels = tmp_path / "day.itch", tmp_path / "day.json"

    status = onetape(*SHORT, "--out", out, "--labels", labels, "--json")

    result, answers = json.loads(capsys.readouterr().out), json.loads(labels.read_text())
    assert status == 0
    assert result["sha256"] == answers["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert result["size_bytes"] == out.stat().st_size
    assert result["messages"] == sum(result["counts"].values())
    assert len(answers["episodes"]) == result["episodes"] == 1
    episode = answers["episodes"][0]
    assert episode["first_ts_event_ns"] - episode["first_ts_ns"] == episode["midnight_ns"]


def test_its_report_is_for_a_person(tmp_path, capsys):
    assert onetape(*SHORT, "--out", tmp_path / "day.itch") == 0

    text = capsys.readouterr()
    assert "1 of quote stuffing" in text.out and "sha256" in text.out
    assert text.err == ""


WRONG = [
    (["--out", "no/day.itch"], "no is not a folder; make it first"),
    (["--out", "."], "it is a folder; add the name of a file"),
    (["--out", "day", "--labels", "day"], "give the labels a file of their own"),
    (["--out", "day", "--labels", "no/day"], "no is not a folder; make it first"),
    (["--out", "day", "--seconds", "0.1"], "ask for at least 0.22 s"),
    (["--out", "day", "--instruments", "9000"], "instruments was 9000"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_what_is_wrong_is_said_on_stderr(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)

    status = onetape(*words)

    text = capsys.readouterr()
    assert status == 2
    assert text.err.startswith("onetape sim: ") and message in text.err
    assert text.out == ""
    assert list(tmp_path.iterdir()) == []
