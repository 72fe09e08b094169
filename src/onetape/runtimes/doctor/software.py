"""`onetape doctor`, software: Python, the packages, and the machine code kept on disk."""

import os
import platform
import re
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onetape.compiled import cache
from onetape.runtimes.doctor.finding import BETTER, MISSING, OK, Finding

# As pyproject.toml has them; a test compares.
NEEDED = {"numpy": "2.3", "numba": "0.68", "pyarrow": "20", "msgspec": "0.20", "rich": "13.9"}
EXTRAS = ("pytest", "hypothesis", "polars", "pandas")  # to test and to look at results
CACHE_BYTES_MANY = 1 << 30


def _python() -> Finding:
    found = f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    if fits and sys.implementation.name == "cpython":
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):
            return Finding("Python", OK, found)
        found += ", free-threaded: Numba has no build for it"
    return Finding("Python", MISSING, f"{found}; 3.11 to 3.13 are supported", "uv venv -p 3.13")


def _package(name: str, at_least: str) -> Finding:
    """Whether it is there, new enough, and can be imported: a broken install has a version too."""
    fix = f'pip install "{name}>={at_least}"'
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, MISSING, "not installed", fix)
    if _numbers(found) < _numbers(at_least):
        return Finding(name, MISSING, f"{found}; {at_least} or later is needed", fix)
    try:
        import_module(name)
    except Exception as error:
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        fix = f'pip install --force-reinstall "{name}>={at_least}"'
        return Finding(name, MISSING, f"{found} is installed but cannot be imported: {why}", fix)
    return Finding(name, OK, found)


def _extras() -> Finding:
    have, lack = [], []
    for name in EXTRAS:
        try:
            have.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lack.append(name)
    found = ", ".join(have)
    if not lack:
        return Finding("extras", OK, found)
    found += f"{'; ' if have else ''}not installed: {', '.join(lack)} (tests, frames)"
    return Finding("extras", BETTER, found, f"pip install {' '.join(lack)}")


def _kernel_cache() -> Finding:
    """Where machine code is kept: without it every start compiles for some ten seconds."""
    root, drivers = cache.root(), cache.drivers_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as why:
        found = f"{root}: {why.strerror}; every start compiles anew"
        return Finding("kernel cache", BETTER, found, 'export ONETAPE_CACHE="$HOME/.onetape-cache"')
    size = folder_bytes(root)
    count = sum(1 for one in drivers.glob("*") if one.is_dir()) if drivers.is_dir() else 0
    found = f"{root}, {size / 1e6:.0f} MB; of this version: pipelines {count}"
    if size > CACHE_BYTES_MANY:
        return Finding("kernel cache", BETTER, found, "onetape doctor --clear-cache")
    return Finding("kernel cache", OK, found)


SOFTWARE_CHECKS: list[Callable[[], Finding]] = [
    _python,
    *(partial(_package, name, at_least) for name, at_least in NEEDED.items()),
    _extras,
    _kernel_cache,
]


def folder_bytes(folder: Path) -> int:
    """The size of all files below a folder that others may be writing to."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(path, name)).st_size
    return size


def _numbers(text: str) -> list[int]:
    """A version's leading numbers: 2.3.1rc1 is [2, 3, 1]."""
    return [int(part) for part in re.findall(r"\d+", (re.match(r"[\d.]+", text) or "0")[0])]
