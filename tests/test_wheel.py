"""What a user gets: the wheel in an environment of its own, used from a folder that is empty.

The dependencies come from the package index, as they do for a user: this needs the network.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 500


def done(*words, cwd, **environment):
    """What a program printed; it must succeed. No setting of this checkout reaches it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ONETAPE"))}
    ran = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, f"{words}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def build(source, out, *targets):
    flags = [word for target in targets for word in ("-t", target)]
    done(sys.executable, "-m", "hatchling", "build", *flags, "-d", out, cwd=source)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    build(ROOT, out, "wheel", "sdist")
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def names_in(wheel):
    with zipfile.ZipFile(wheel) as files:
        return sorted(files.namelist())


def test_the_wheel_has_the_package_its_types_and_its_licence_and_nothing_else(built):
    names = names_in(built[0])

    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    inside = {name for name in names if name.startswith("onetape/")}
    pins = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.txt")}
    made = {"onetape/py.typed", "onetape/runtimes/flink/onetape-flink.jar"}
    assert inside == sources | pins | made
    others = [name for name in names if name not in inside]
    assert all(".dist-info/" in name for name in others)
    assert any(name.endswith("/licenses/LICENSE") for name in others)


def test_the_source_archive_builds_the_same_wheel(built, tmp_path):
    wheel, sdist = built
    with tarfile.open(sdist) as files:
        files.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert {"LICENSE", "README.md", "pyproject.toml", "src", "tests"} <= set(os.listdir(unpacked))

    build(unpacked, tmp_path / "again", "wheel")

    assert names_in(tmp_path / "again" / wheel.name) == names_in(wheel)


def test_it_works_in_a_bare_environment(built, tmp_path):
    place, folder = tmp_path / "env", tmp_path / "empty"
    folder.mkdir()
    done(sys.executable, "-m", "venv", place, cwd=tmp_path)
    python, onetape = place / "bin" / "python", place / "bin" / "onetape"
    done(python, "-m", "pip", "install", "--quiet", "--no-input", built[0], cwd=tmp_path)

    def run(*words):
        return done(*words, cwd=folder, ONETAPE_CACHE=str(tmp_path / "cache"))

    where = run(python, "-c", "import onetape; print(onetape.__file__)")
    assert where.startswith(str(place))
    assert "commands:" in run(onetape, "--help")
    assert json.loads(run(onetape, "doctor", "--json"))["ok"]
    run(onetape, "sim", "--seconds", "2", "--episodes", "1", "--out", "day.itch")
    facts = json.loads(run(onetape, "replay", "day.itch", "--out", "out", "--json"))
    assert facts["rows"]["alert"] > 0
    assert (folder / "out" / "alert.parquet").is_file()
    run(onetape, "new", "mine")
    run(onetape, "run", "mine/pipeline.py", "--file", "day.itch", "--tape", "tape", "--json")
