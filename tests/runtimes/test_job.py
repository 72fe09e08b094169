"""`onetape job`: once for a key, with retries and a record, whoever is killed when."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from onetape.cli import main
from onetape.records import OperatorError
from onetape.runtimes.job.job import Job, key_of, read_job
from onetape.runtimes.job.store import Store

WITHIN_S = 60


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONETAPE_JOBS", str(tmp_path / "jobs"))
    return tmp_path


def run(*words, sh="true"):
    return main(["job", "run", "nightly", "--key", "d1", *words, "--", "sh", "-c", sh])


def last(name="nightly", key="d1"):
    with Store(Path(os.environ["ONETAPE_JOBS"])) as store:
        return store.last(name, key)


def start(sh, *words):
    """The job in a process of its own."""
    command = [sys.executable, "-m", "onetape.cli", "job", "run", "nightly", "--key", "d1", *words]
    return subprocess.Popen([*command, "--", "sh", "-c", sh], stderr=subprocess.DEVNULL)


def wait_for(condition, what):
    end_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


def test_a_key_is_done_once(here, capsys):
    assert run(sh="echo one >> ran; echo said") == 0
    assert run(sh="echo one >> ran; echo said") == 0
    said = capsys.readouterr().err

    assert (here / "ran").read_text() == "one\n"
    assert "nightly d1: done in" in said and "nightly d1: already done: " in said
    assert "\nsaid\n" in said  # what the command writes is shown
    assert run("--again", sh="echo one >> ran; echo said") == 0
    assert (here / "ran").read_text() == "one\none\n"
    assert last()["run"] == 2


def test_a_key_done_with_another_command_is_refused(here, capsys):
    assert run(sh="touch a") == 0
    assert run(sh="touch b") == 1

    assert "with another command: sh -c 'touch a'; --again runs this" in capsys.readouterr().err
    assert not (here / "b").exists()


def test_it_tries_again_and_counts(here):
    fails_twice = 'echo $ONETAPE_JOB_ATTEMPT >> tried; test "$(wc -l < tried)" -eq 3'

    assert run("--retries", "4", "--backoff", "1ms", sh=fails_twice) == 0

    assert (here / "tried").read_text() == "1\n2\n3\n"
    assert (last()["state"], last()["attempts"]) == ("done", 3)


def test_the_wait_doubles_up_to_an_hour():
    job = Job("a", ("true",), Path(), backoff="30s")

    assert [job.backoff_s(n) for n in (1, 2, 3, 20)] == [30, 60, 120, 3600]


def test_a_signal_without_a_name_is_told_by_its_number():
    assert run(sh="kill -40 $$") == 128 + 40
    assert last()["said"] == "killed by signal 40"


def test_it_exits_as_the_command_did_and_is_not_done(capsys):
    assert run("--retries", "1", "--backoff", "1ms", sh="exit 3") == 3
    assert (last()["state"], last()["exit_code"], last()["attempts"]) == ("failed", 3, 2)
    assert run(sh="kill -KILL $$") == 128 + 9
    assert last()["said"] == "killed by SIGKILL"
    assert run() == 0
    capsys.readouterr()

    assert main(["job", "ls", "--json", "--state", "failed"]) == 0
    assert [one["run"] for one in json.loads(capsys.readouterr().out)["executions"]] == [2, 1]


def test_out_of_time_it_ends_all_that_it_started(here):
    assert run("--timeout", "300ms", sh="sleep 600 & echo $! > pid; wait") == 124

    assert last()["state"] == "timeout"
    pid = int((here / "pid").read_text())
    wait_for(lambda: not is_alive(pid), "its child still runs")


def is_alive(pid):
    state = Path(f"/proc/{pid}/stat")
    if state.parent.parent.joinpath("self").exists():
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_cannot_be_run_is_not_tried_again():
    words = ["--retries", "5", "--", "./no-such-program"]

    assert main(["job", "run", "nightly", "--key", "d1", *words]) == 127
    assert last()["attempts"] == 1


def test_inputs_and_outputs_must_be_there_and_stay(here, capsys):
    words = ["--input", "in", "--output", "out"]
    assert run(*words, sh="touch out") == 66  # no input
    (here / "in").write_text("1")
    assert run(*words) == 73  # no output
    assert run(*words, sh="mkdir -p out; cp in out/a; echo 2 >> in") == 65  # not what it was
    assert run(*words, sh="cp in out/a") == 0

    record = last()
    assert set(record["inputs"]["in"]) == {"bytes", "mtime_ns", "sha256"}
    assert record["outputs"]["out"]["bytes"] == (here / "in").stat().st_size
    (here / "in").touch()  # another time, the same bytes
    assert run(*words, sh="cp in out/a") == 0
    (here / "in").write_text("late")
    assert run(*words, sh="cp in out/a") == 1
    assert "but input in has changed since; --again" in capsys.readouterr().err


def test_two_at_once_are_one_and_the_list_says_so(here, capsys):
    first = start("touch began; while [ ! -e go ]; do sleep 0.05; done")
    wait_for((here / "began").exists, "it does not begin")

    assert run() == 75
    assert main(["job", "ls", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["executions"]
    assert (one["state"], one["pid"]) == ("running", first.pid)

    (here / "go").touch()
    assert first.wait(WITHIN_S) == 0
    assert last()["state"] == "done"


def test_a_killed_job_is_seen_and_taken_over(here, capsys):
    first = start("echo $$ > pid; touch began; sleep 600; touch never")
    wait_for((here / "began").exists, "it does not begin")
    first.kill()
    first.wait(WITHIN_S)
    if sys.platform != "linux":  # elsewhere the command lives on, and holds the lease
        os.kill(int((here / "pid").read_text()), signal.SIGKILL)
    wait_for(lambda: last()["state"] == "crashed", "the crash is not seen")

    assert run(sh="touch done") == 0
    assert "did not end; taking over" in capsys.readouterr().err
    assert main(["job", "ls"]) == 0
    states = [line.split()[3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert states == ["done", "crashed"]
    assert not (here / "never").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs setsid(1)")
def test_what_a_killed_job_leaves_behind_is_ended_before_the_next(here):
    first = start("setsid sh -c 'echo $$ > pid; touch began; sleep 600' & wait")
    wait_for((here / "began").exists, "it does not begin")
    first.kill()
    first.wait(WITHIN_S)
    assert is_alive(int((here / "pid").read_text()))
    assert last()["state"] == "crashed"

    assert run() == 0
    assert not is_alive(int((here / "pid").read_text()))


def test_a_signal_is_passed_on_and_ends_the_attempts(here):
    sh = "trap 'touch told; exit 0' TERM; touch began; while :; do sleep 0.05; done"
    first = start(sh, "--retries", "5")
    wait_for((here / "began").exists, "it does not begin")
    first.terminate()

    assert first.wait(WITHIN_S) == 128 + signal.SIGTERM
    assert (here / "told").exists()
    record = last()
    assert (record["state"], record["said"]) == ("stopped", "stopped by SIGTERM")
    assert record["attempts"] == 1


def test_show_and_log_tell_of_a_run(capsys):
    assert run(sh="echo hello from $ONETAPE_JOB_NAME $ONETAPE_JOB_KEY") == 0
    capsys.readouterr()

    assert main(["job", "log", "nightly"]) == 0
    assert "\nhello from nightly d1\n" in capsys.readouterr().out
    assert main(["job", "show", "nightly", "d1"]) == 0
    assert "nightly d1, run 1: done in" in capsys.readouterr().out
    assert main(["job", "show", "nightly", "d2"]) == 1
    assert "no execution of nightly d2" in capsys.readouterr().err


FILE = """\
name = "copy"
key = "2026-01-05"
command = ["cp", "{key}.in", "{key}.out"]
inputs = ["{key}.in"]
outputs = ["{key}.out"]
retries = 2
backoff = "1ms"
timeout = "1m"
"""


def test_a_job_file_runs_in_its_own_folder(here, monkeypatch, capsys):
    (here / "of").mkdir()
    (here / "of" / "copy.toml").write_text(FILE)
    (here / "of" / "2026-01-05.in").write_text("x")

    assert main(["job", "run", "of/copy.toml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (here / "of" / "2026-01-05.out").read_text() == "x"
    assert told["command"] == ["cp", "2026-01-05.in", "2026-01-05.out"]
    assert main(["job", "run", "of/copy.toml", "--key", "2026-01-06"]) == 66


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("retries", "retry"), "has no option 'retry'; did you mean 'retries'?"),
        (('"1m"', '"soon"'), "timeout: duration 'soon'"),
        (("retries = 2", "retries = -1"), "retries was -1"),
        (('["cp", "{key}.in", "{key}.out"]', '"cp a b"'), "command was 'cp a b'; expected a list"),
        (("name =", "title ="), "has no name"),
        (('"copy"', '"a/b"'), "name was 'a/b'"),
        (("name =", "name"), "not TOML"),
    ],
)
def test_a_job_file_that_cannot_be_is_named(here, change, said):
    (here / "copy.toml").write_text(FILE.replace(*change))

    with pytest.raises(OperatorError) as error:
        read_job(here / "copy.toml")
    assert ".py:" not in str(error.value)  # the place is in the job file, not in a program
    assert "copy.toml" in str(error.value) and said in str(error.value)


def test_days_by_name():
    assert key_of("yesterday", date(2026, 3, 1)) == "2026-02-28"
    assert key_of("today", date(2026, 3, 1)) == "2026-03-01"
    assert key_of("2026-01-05") == "2026-01-05"
