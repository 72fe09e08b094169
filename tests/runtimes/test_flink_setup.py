"""The environment of Flink: in order, and the jar in this package is what its sources give."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests import flink_job

from onetape.records import OperatorError
from onetape.runtimes.flink import environment, setup

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_what_a_task_imports_loads_there():
    found = flink_job.environment()
    assert setup.check(found).startswith(f"Flink {environment.FLINK}, Numba ")


@pytest.mark.slow
def test_the_jar_is_made_of_its_sources(tmp_path):
    found = flink_job.environment(kafka=True)
    if not shutil.which("javac"):
        pytest.skip("no javac: the jar's sources are not compiled again")
    again = tmp_path / "again.jar"
    build = [ROOT / "deploy" / "flink" / "build-jar", found.folder, again]
    subprocess.run(build, check=True, timeout=120)
    assert _entries(again) == _entries(environment.OWN_JAR)


def test_every_source_is_in_the_jar():
    sources = {path.stem for path in (environment.OWN_JAR.parent / "java").rglob("*.java")}
    inside = {Path(name).stem for name in _entries(environment.OWN_JAR) if name.endswith(".class")}
    assert inside == sources


def test_without_an_environment_it_is_said_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ONETAPE_FLINK", str(tmp_path))
    with pytest.raises(OperatorError, match="run: onetape flink setup"):
        environment.find()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    with pytest.raises(OperatorError, match="has no Flink in it; run: onetape flink setup"):
        _ = environment.find().site


def test_a_java_that_flink_cannot_use_is_named(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(OperatorError, match="Flink needs Java 11 to 21"):
        setup.java_version()
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2\n")
    assert setup.java_version() == "17.0.15"


def _entries(path):
    with zipfile.ZipFile(path) as jar:
        return {name: jar.read(name) for name in jar.namelist()}
