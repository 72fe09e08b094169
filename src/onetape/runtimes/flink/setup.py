"""`onetape flink setup`: make the environment that the Flink runtime runs in, or mend it."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from onetape.records import IntegrityError, OperatorError
from onetape.runtimes.flink.environment import (
    CONNECTOR,
    CONNECTOR_SHA256,
    CONNECTOR_URL,
    Environment,
    java,
    python_for,
)

JAVA_FROM, JAVA_TO = 11, 21
INSTALL_S, DOWNLOAD_S = 1800, 300
Say = Callable[[str], None]

CHECK = """\
import importlib.metadata as m, sys
import numba, pemja, pyflink.version
from onetape.runtimes.flink import operator
print(pyflink.version.__version__, numba.__version__, m.version("numpy"), sys.version.split()[0])
"""


def setup(folder: Path, python: str, say: Say) -> Environment:
    """Make what is missing, check what is there; says what it does. Some minutes, 1.2 GB."""
    say(f"java {java_version()}: {shutil.which(java())}")
    made = Environment(folder)
    _venv(made, python, say)
    _packages(made, say)
    _connector(made, say)
    say(f"checked: {check(made)}")
    return made


def java_version() -> str:
    """Of the Java that Flink will use. OperatorError: there is none, or it is too old or new."""
    wanted = f"Java {JAVA_FROM} to {JAVA_TO} (tested: 17); install one, or set JAVA_HOME"
    try:
        done = subprocess.run([java(), "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise OperatorError(f"there is no Java ({java()}); Flink needs {wanted}") from None
    said = done.stderr or done.stdout
    found = re.search(r'version "(\d+)[^"]*"', said)
    if not found or not JAVA_FROM <= int(found[1]) <= JAVA_TO:
        raise OperatorError(f"{java()} says {said.splitlines()[:1]}; Flink needs {wanted}")
    return found[0].split('"')[1]


def check(environment: Environment) -> str:
    """Does what a task imports load there? Its versions. OperatorError: what is wrong."""
    with tempfile.TemporaryDirectory() as link:
        done = subprocess.run(
            [environment.python, "-c", CHECK],
            env=environment.variables(Path(link)),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise OperatorError(
            f"{environment.folder} is not in order: {said}; remove it, and run onetape flink setup"
        )
    flink, numba, numpy, python = done.stdout.split()[-4:]
    return f"Flink {flink}, Numba {numba}, NumPy {numpy}, Python {python}"


def requirements() -> Path:
    """The exact versions: beside this file in a wheel, else those of the repository."""
    packed = Path(__file__).with_name("requirements.txt")
    return packed if packed.exists() else Path(__file__).parents[4] / "requirements" / "flink.txt"


def _venv(made: Environment, python: str, say: Say) -> None:
    if made.python.exists():
        return
    program = python_for(python)
    if shutil.which(program) is None:
        raise OperatorError(
            f"there is no {program}: Flink's packages are built for Python {python}; install it, "
            "or name another: --python 3.10"
        )
    say(f"making {made.folder} with {program}")
    made.folder.parent.mkdir(parents=True, exist_ok=True)
    _run([program, "-m", "venv", str(made.folder)], 120)


def _packages(made: Environment, say: Say) -> None:
    wanted = requirements()
    stamp = made.folder / "installed"
    of = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == of:
        say("its packages are those that are wanted")
        return
    say("installing Flink, Numba and what they need: about a minute, 1.1 GB")
    pip = [str(made.python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    # Some of Beam's dependencies exist as source only, and are built with the setuptools of 2022.
    _run([*pip, "install", "setuptools<81", "wheel"], INSTALL_S)
    _run([*pip, "install", "--no-build-isolation", "-r", str(wanted)], INSTALL_S)
    stamp.write_text(of)


def _connector(made: Environment, say: Say) -> None:
    if made.connector.exists() and _sha256(made.connector) == CONNECTOR_SHA256:
        say(f"{CONNECTOR} is there")
        return
    say(f"fetching {CONNECTOR} from Maven Central")
    made.connector.parent.mkdir(exist_ok=True)
    half = made.connector.with_suffix(".part")
    with (
        urllib.request.urlopen(CONNECTOR_URL, timeout=DOWNLOAD_S) as given,
        open(half, "wb") as out,
    ):
        shutil.copyfileobj(given, out)
    if (was := _sha256(half)) != CONNECTOR_SHA256:
        half.unlink()
        raise IntegrityError(
            f"{CONNECTOR_URL} has sha256 {was}; expected {CONNECTOR_SHA256}: it was not kept"
        )
    half.rename(made.connector)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: list[str], timeout_s: float) -> None:
    began_s = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise OperatorError(f"{' '.join(command)}: not done within {timeout_s:.0f} s") from None
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        passed_s = time.monotonic() - began_s
        raise OperatorError(
            f"{' '.join(command)} failed after {passed_s:.0f} s, see above; run it again to go on"
        )
