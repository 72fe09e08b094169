"""Flink's own environment: where Flink is in it, and the jars that a cluster needs besides.

Flink's Python package pins NumPy, pandas and pyarrow to old releases, so it never shares an
environment with onetape (`runtimes/environments`).
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onetape.records import OperatorError
from onetape.runtimes import environments

ENGINE = "flink"
FLINK, PYTHON = "2.2.1", "3.11"
CONNECTOR = "flink-sql-connector-kafka-5.0.0-2.2.jar"
CONNECTOR_SHA256 = "5605c691d11a501382c383fecba37a7a552467da5ab7ba904ef5d6f3d62c5616"
CONNECTOR_URL = (
    "https://repo1.maven.org/maven2/org/apache/flink/flink-sql-connector-kafka/5.0.0-2.2/"
    + CONNECTOR
)
OWN_JAR = Path(__file__).with_name("onetape-flink.jar")  # built of deploy/flink/java


@dataclass(frozen=True)
class Environment:
    """A virtual environment with Flink, Numba and the Kafka connector."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def connector(self) -> Path:
        return self.folder / "jars" / CONNECTOR

    @cached_property
    def site(self) -> Path:
        """Its site-packages. OperatorError: there is no Flink in it."""
        found = sorted(self.folder.glob("lib/python3.*/site-packages/pyflink"))
        if not found:
            raise OperatorError(f"{self.folder} has no Flink in it; run: onetape flink setup")
        return found[0].parent

    @property
    def home(self) -> Path:
        """What Flink calls FLINK_HOME: its jars and settings, inside the Python package."""
        return self.site / "pyflink"

    def jars(self) -> list[Path]:
        """What a cluster's lib folder holds.

        The Python bridge is among them: loaded again for each job, it could not start a second
        time in the same process (its native library is loaded once).
        """
        bridge = sorted((self.home / "opt").glob("flink-python-*.jar"))
        found = [*sorted((self.home / "lib").glob("*.jar")), *bridge, OWN_JAR]
        return found + ([self.connector] if self.connector.exists() else [])

    def lib(self, folder: Path) -> Path:
        """A folder of links to those jars, made anew."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for jar in self.jars():
            (folder / jar.name).symlink_to(jar)
        return folder

    def variables(self) -> dict[str, str]:
        """Environment variables of a process that uses it."""
        kept = environments.variables(
            self.python, VIRTUAL_ENV=str(self.folder), FLINK_HOME=str(self.home)
        )
        # Thread mode finds the environment's own packages by this alone.
        path = f"{self.site}{os.pathsep}{kept['PYTHONPATH']}"
        return {n: v for n, v in kept.items() if n != "FLINK_CONF_DIR"} | {"PYTHONPATH": path}


def find() -> Environment:
    """The one that ONETAPE_FLINK names, else the one that setup makes. OperatorError: none."""
    if not OWN_JAR.exists():
        raise OperatorError(f"{OWN_JAR} is not there; install onetape again")
    return Environment(environments.find(ENGINE).parent.parent)


def java() -> str:
    """The java program that Flink will use."""
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else "java"
