"""`onetape flink setup`: make the environment that the Flink runtime runs in, or mend it."""

import hashlib
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from onetape.records import IntegrityError, OperatorError
from onetape.runtimes import environments
from onetape.runtimes.environments import Say
from onetape.runtimes.flink.environment import (
    CONNECTOR,
    CONNECTOR_SHA256,
    CONNECTOR_URL,
    ENGINE,
    Environment,
    java,
)

JAVA_FROM, JAVA_TO = 11, 21
DOWNLOAD_S = 300

CHECK = """\
import importlib.metadata as m, sys
import numba, pemja, pyflink.version
from onetape.runtimes.flink import operator
print(pyflink.version.__version__, numba.__version__, m.version("numpy"), sys.version.split()[0])
"""


def setup(python: str, say: Say, folder: Path | None = None) -> Environment:
    """Make what is missing, check what is there; says what it does. Some minutes, 1.2 GB.

    python  its version: 3.11
    folder  in place of the one in the user's data folder; ONETAPE_FLINK has to name it then
    """
    say(f"java {java_version()}: {shutil.which(java())}")
    program = python_of(python)
    made = environments.make(ENGINE, say, python=program, folder=folder)
    found = Environment(made.parent.parent)
    _connector(found, say)
    say(f"checked: {check(found)}")
    return found


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
        first = (said.splitlines() or [""])[0]
        raise OperatorError(f"{java()} says {first!r}; Flink needs {wanted}")
    return found[0].split('"')[1]


def python_of(version: str) -> str:
    """A Python of that version on this machine. OperatorError: there is none."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    program = shutil.which(f"python{version}")
    if program is None:
        raise OperatorError(
            f"there is no python{version}, and Flink's packages are built for it; install it, or "
            "name another that they are built for: --python 3.12"
        )
    return program


def check(environment: Environment) -> str:
    """Does what a task imports load there? Its versions. OperatorError: what is wrong."""
    done = subprocess.run(
        [environment.python, "-c", CHECK],
        env=environment.variables(),
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


def _connector(made: Environment, say: Say) -> None:
    if made.connector.exists() and _sha256(made.connector) == CONNECTOR_SHA256:
        say(f"{CONNECTOR} is there already")
        return
    say(f"fetching {CONNECTOR} from Maven Central")
    made.connector.parent.mkdir(exist_ok=True)
    half = made.connector.with_suffix(".part")
    with urllib.request.urlopen(CONNECTOR_URL, timeout=DOWNLOAD_S) as given, open(half, "wb") as to:
        shutil.copyfileobj(given, to)
    if (was := _sha256(half)) != CONNECTOR_SHA256:
        half.unlink()
        raise IntegrityError(
            f"{CONNECTOR_URL} has sha256 {was}; expected {CONNECTOR_SHA256}: it was not kept"
        )
    half.rename(made.connector)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
