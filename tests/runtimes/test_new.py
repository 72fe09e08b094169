"""A new project runs as it stands, and nothing that is there is written over."""

import os
import subprocess
import sys

import pytest

from onetape import cli

TIMEOUT_S = 120


def run_in(folder, *words):
    """Without the compiler: tests/test_wheel.py runs a new project with it."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"ONETAPE_MODE": "interpreted"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_new_project_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert cli.main(["new", "desk_alerts"]) == 0

    folder = tmp_path / "desk_alerts"
    assert sorted(one.name for one in folder.iterdir()) == [
        "README.md",
        "pipeline.py",
        "test_pipeline.py",
    ]
    tested = run_in(folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout
    readme = (folder / "README.md").read_text()
    sim, run, test = (
        line.strip() for line in capsys.readouterr().out.splitlines() if line[:2] == "  "
    )
    assert test == "pytest"
    for command, smaller in ((sim, " --seconds 1 --instruments 5"), (run, "")):
        assert command in readme
        done = run_in(folder, "onetape.cli", *f"{command}{smaller}".split()[1:])
        assert done.returncode == 0, done.stderr
    assert (folder / "out" / "jump.parquet").is_file()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("desk-alerts", "onetape new desk_alerts"),
        ("9lives", "onetape new my_9lives"),
        ("class", "onetape new my_class"),
        ("../up", "onetape new up"),
        ("", "onetape new my_pipeline"),
    ],
)
def test_a_name_that_is_none_is_refused_with_one_that_is(tmp_path, monkeypatch, capsys, name, hint):
    monkeypatch.chdir(tmp_path)

    assert cli.main(["new", name]) == 1
    assert capsys.readouterr().err.strip().endswith(hint)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pipeline.py").write_text("# my work")

    assert cli.main(["new", "mine"]) == 1

    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "mine" / "pipeline.py").read_text() == "# my work"
    assert len(list((tmp_path / "mine").iterdir())) == 1
