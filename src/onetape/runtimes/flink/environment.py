"""Flink's own environment: where it is, and what is in it.

Flink's Python package pins NumPy, pandas and pyarrow to old releases, so it never shares an
environment with onetape. What runs there finds onetape through a folder with one link to it.
"""

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onetape.records import OperatorError

FLINK, PYTHON = "2.2.1", "3.11"
VARIABLE = "ONETAPE_FLINK"  # names an environment
CONNECTOR = "flink-sql-connector-kafka-5.0.0-2.2.jar"
CONNECTOR_SHA256 = "5605c691d11a501382c383fecba37a7a552467da5ab7ba904ef5d6f3d62c5616"
CONNECTOR_URL = (
    "https://repo1.maven.org/maven2/org/apache/flink/flink-sql-connector-kafka/5.0.0-2.2/"
    + CONNECTOR
)
OWN_JAR = Path(__file__).with_name("onetape-flink.jar")  # built of java/ by `make flink-jar`
PACKAGE = Path(__file__).resolve().parents[2]


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

    def variables(self, link: Path) -> dict[str, str]:
        """Environment variables of a process that uses it; `link` will hold a link to onetape."""
        link.mkdir(parents=True, exist_ok=True)
        if not (link / "onetape").exists():
            (link / "onetape").symlink_to(PACKAGE, target_is_directory=True)
        left_out = ("PYTHONPATH", "PYTHONHOME", "FLINK_HOME", "FLINK_CONF_DIR")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        return kept | {
            # Thread mode finds its own packages by this alone.
            "PYTHONPATH": f"{self.site}{os.pathsep}{link}",
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "VIRTUAL_ENV": str(self.folder),
            "FLINK_HOME": str(self.home),
        }


def default_folder() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return Path(base) / "onetape" / f"flink-{FLINK}"


def find() -> Environment:
    """The one that ONETAPE_FLINK names, else the one that setup makes. OperatorError: none."""
    named = os.environ.get(VARIABLE)
    found = Environment(Path(named) if named else default_folder())
    if not found.python.exists():
        where = f"{VARIABLE} names {named}, where none is" if named else f"none in {found.folder}"
        raise OperatorError(
            f"there is no environment for Flink ({where}); make it: onetape flink setup"
        )
    if not OWN_JAR.exists():
        raise OperatorError(f"{OWN_JAR} is not there; install onetape again")
    return found


def java() -> str:
    """The java program that Flink will use."""
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else "java"


def python_for(version: str) -> str:
    """A Python of that version on this machine."""
    return sys.executable if sys.version.startswith(version + ".") else f"python{version}"
