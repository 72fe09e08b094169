"""Environments of engines: Flink, Spark and Sail need packages of other versions than onetape does.

`onetape flink setup` and `onetape spark setup` make a virtual environment of the exact versions in
requirements/ENGINE.txt of this package, apart from the one that onetape runs in. What runs there
imports the same onetape: a link to it is put before everything else on the path, and nothing more.

ONETAPE_FLINK, ONETAPE_SAIL and ONETAPE_SPARK name an environment made otherwise.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from onetape.compiled import cache
from onetape.records import OperatorError

SETUP = {
    "flink": "onetape flink setup",
    "sail": "onetape spark setup --engine sail",
    "spark": "onetape spark setup --engine spark",
}
PACKAGE = Path(__file__).resolve().parents[1]
STAMP = "onetape-requirements"  # in a complete environment: the hash of what it was made from
Say = Callable[[str], None]


def find(engine: str) -> Path:
    """The Python of an engine's environment. OperatorError says how to get one."""
    check_java(engine)
    chosen = os.environ.get(f"ONETAPE_{engine.upper()}")
    python = (Path(chosen) if chosen else folder_of(engine)) / "bin" / "python"
    if chosen and not python.exists():
        raise OperatorError(
            f"ONETAPE_{engine.upper()} was {chosen}, which has no bin/python; expected the folder "
            f"of a virtual environment (or leave it out, and run: {SETUP[engine]})"
        )
    if not chosen and not (python.exists() and _is_made(engine, folder_of(engine))):
        also = ", made from other versions than this onetape needs" if python.exists() else ""
        raise OperatorError(
            f"{engine} has no environment at {folder_of(engine)}{also}; get one: {SETUP[engine]}"
        )
    return python


def check_java(engine: str) -> None:
    """OperatorError: the engine wants Java, and there is none."""
    if engine == "spark" and not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise OperatorError(
            "spark wants Java 17 or later, and there is no `java` on the path; install one "
            "(apt-get install openjdk-17-jre-headless), or take Sail, which wants none"
        )


def folder_of(engine: str) -> Path:
    """Where `make` puts it: in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return Path(base) / "onetape" / "environments" / engine


def make(
    engine: str, say: Say, *, python: str = sys.executable, folder: Path | None = None
) -> Path:
    """A virtual environment of exactly the pinned packages; returns its Python.

    folder  in place of the user's own; a variable has to name it then

    Some minutes and some 1 GB the first time; nothing when it is there. What was interrupted is
    made anew.
    """
    folder = folder or folder_of(engine)
    inside = folder / "bin" / "python"
    if inside.exists() and _is_made(engine, folder):
        say(f"{engine}: {folder} is there already")
        return inside
    say(f"{engine}: making {folder} with {python}")
    _done([python, "-m", "venv", "--clear", str(folder)])
    say(f"{engine}: installing {_packages_count(engine)} packages (minutes, once)")
    pip = [str(inside), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    _done([*pip, "install", "--quiet", "--require-hashes", "-r", str(requirements_of(engine))])
    (folder / STAMP).write_text(_wanted(engine), "utf-8")
    return inside


def requirements_of(engine: str) -> Path:
    """The file of pinned packages; `make requirements` compiles it."""
    return PACKAGE / "requirements" / f"{engine}.txt"


def variables(python: Path, **more: str) -> dict[str, str]:
    """The environment of a process there: this onetape, and nothing else of this Python."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    path = f"{python.parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PYTHONPATH": str(link()), "PATH": path} | more


def link() -> Path:
    """A folder in which there is only this package, under its name."""
    name = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:16]
    folder = cache.root() / "packages" / name
    folder.mkdir(parents=True, exist_ok=True)
    here = folder / "onetape"
    if not here.is_symlink():
        with suppress(FileExistsError):  # another process was as fast
            here.symlink_to(PACKAGE)
    return folder


def _is_made(engine: str, folder: Path) -> bool:
    stamp = folder / STAMP
    return stamp.exists() and stamp.read_text("utf-8") == _wanted(engine)


def _wanted(engine: str) -> str:
    return hashlib.sha256(requirements_of(engine).read_bytes()).hexdigest()


def _packages_count(engine: str) -> int:
    return sum("==" in line for line in requirements_of(engine).read_text("utf-8").splitlines())


def _done(command: list[str]) -> None:
    """Run it; its own words go to stderr when it fails, and its last line into the error."""
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if ran.returncode:
        said = ran.stdout.decode(errors="replace")
        print(said, file=sys.stderr)
        last = (said.strip().splitlines() or ["no word"])[-1]
        raise OperatorError(f"{' '.join(command[:4])} ... failed: {last}")
