"""What the doctor finds, says and refuses to touch."""

import io
import json
import os
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from onetape import cli
from onetape.runtimes.doctor import command as doctor
from onetape.runtimes.doctor import disk as doctor_disk
from onetape.runtimes.doctor import machine as doctor_machine
from onetape.runtimes.doctor import software as doctor_software
from onetape.runtimes.doctor.finding import BETTER, MISSING, OK, Finding

ROOT = Path(__file__).resolve().parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_this_machine_can_run_the_tests_so_nothing_is_missing(tmp_path, capsys):
    assert cli.main(["doctor", "--json", "--tape", str(tmp_path)]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    found = [one for group in told["findings"].values() for one in group]
    assert {"Python", "numba", "kernel cache", "cores", "source", "multicast", "commit"} <= {
        one["what"] for one in found
    }
    assert all(one["fix"] for one in found if one["verdict"] == BETTER)
    assert not any("could not look" in one["found"] for one in found)


def test_lines_fit_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert cli.main(["doctor"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > doctor.WIDTH] == []
    assert lines[-1].endswith("onetape runs here.")


def test_something_missing_is_exit_status_1_and_has_a_command(monkeypatch, capsys):
    gone = Finding("gizmo", MISSING, "not installed", "pip install gizmo")
    monkeypatch.setattr(doctor, "_topics", lambda tape: {"software": [lambda: gone]})

    assert cli.main(["doctor"]) == 1

    said = capsys.readouterr().out
    assert "  missing          gizmo              not installed\n" in said
    assert "fix: pip install gizmo\n" in said


def test_a_check_that_fails_is_a_finding():
    def _odd_thing():
        raise PermissionError(13, "Permission denied")

    found = doctor.examine(partial(_odd_thing))

    assert found.what == "odd thing"
    assert found.verdict == BETTER
    assert "PermissionError" in found.found


@pytest.mark.parametrize(
    ("name", "at_least", "verdict", "found"),
    [
        ("numpy", "2.3", OK, "2."),
        ("numpy", "99.10", MISSING, "99.10 or later is needed"),
        ("no_such_package", "1.0", MISSING, "not installed"),
    ],
)
def test_packages_are_there_or_not_or_too_old(name, at_least, verdict, found):
    finding = doctor_software._package(name, at_least)

    assert finding.verdict == verdict
    assert found in finding.found
    assert finding.fix == ("" if verdict == OK else f'pip install "{name}>={at_least}"')


def test_the_packages_it_looks_for_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert [f"{k}>={v}" for k, v in doctor_software.NEEDED.items()] == project["dependencies"]


def test_on_macos_it_says_what_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    for name in ("sched_getaffinity", "sched_setaffinity", "sched_setscheduler"):
        monkeypatch.delattr(os, name, raising=False)

    checks = doctor_machine.PROCESSOR_CHECKS + doctor_machine.CLOCK_CHECKS
    found = {one.what: one for one in map(doctor.examine, checks)}

    assert "for development" in found["platform"].found
    for what in ("pinning", "real-time", "synchronised"):
        assert "not on this platform" in found[what].found or "not told" in found[what].found
    assert MISSING not in {one.verdict for one in found.values()}


@linux
def test_a_file_system_is_that_of_the_innermost_mount():
    assert doctor_disk.file_system_of(Path("/proc/self")) == "proc"


@linux
def test_a_folder_that_cannot_be_written_is_missing():
    assert doctor_disk._commit(Path("/proc/self")).verdict == MISSING


def test_a_tape_folder_that_is_not_there_is_refused(tmp_path, capsys):
    assert cli.main(["doctor", "--tape", str(tmp_path / "none")]) == 1
    assert "not a folder" in capsys.readouterr().err


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ONETAPE_CACHE", str(tmp_path))
    for name in ("0123456789abcdef-compiled", "fedcba9876543210-boundscheck", "somebody-elses"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(1000))
    return tmp_path


def test_clearing_the_cache_removes_machine_code_alone(cache, capsys):
    assert cli.main(["doctor", "--clear-cache", "--yes"]) == 0
    assert [one.name for one in cache.iterdir()] == ["somebody-elses"]

    assert cli.main(["doctor", "--clear-cache", "--yes"]) == 0
    assert f"no machine code in {cache}" in capsys.readouterr().out


@pytest.mark.parametrize(("typed", "left", "status"), [("y\n", 1, 0), ("\n", 3, 1), ("", 3, 1)])
def test_clearing_the_cache_asks(cache, monkeypatch, typed, left, status):
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))

    assert cli.main(["doctor", "--clear-cache"]) == status
    assert len(list(cache.iterdir())) == left
