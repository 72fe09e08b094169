"""The environment of Flink: in order, and the jar in this package is what its sources give."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests import flink_job

from onetape.records import OperatorError
from onetape.runtimes.flink import environment, setup
from onetape.runtimes.flink.cluster import java_options

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


SPREAD = """
from pyflink.java_gateway import get_gateway
jvm = get_gateway().jvm
spread = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment.assignKeyToParallelOperator

def row(key):
    made = jvm.org.apache.flink.types.Row(1)
    made.setField(0, key)
    return made

for shards in (1, 2, 3, 8, 100):
    keys = list(jvm.io.onetape.flink.Keyed.keys(shards, 128))
    assert len(set(keys)) == shards
    for slots in (n for n in range(1, 9) if shards % n == 0):
        to = [spread(row(key), 128, slots) for key in keys]
        shares = [to.count(slot) for slot in range(slots)]
        assert to == sorted(to) and max(shares) - min(shares) <= 2, (shards, slots, shares)
        assert shards > 8 or max(shares) == min(shares), (shards, slots, shares)
print("spread")
"""


@pytest.mark.slow
def test_shards_are_spread_evenly_over_slots(tmp_path):
    found = flink_job.environment()
    variables = found.variables() | {
        "FLINK_LIB_DIR": str(found.lib(tmp_path / "lib")),
        "FLINK_LOG_DIR": str(tmp_path),
        "FLINK_ENV_JAVA_OPTS": " ".join(java_options(found)),
    }
    done = subprocess.run(
        [found.python, "-c", SPREAD],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "spread", done.stderr


def test_every_source_is_in_the_jar():
    sources = {path.stem for path in (ROOT / "deploy" / "flink" / "java").rglob("*.java")}
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
