"""The architecture, as a test: which room may import which, and what the pure rooms may not touch.

Read the message of a failure as documentation: it says where, what, and what to do instead.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"
PACKAGE = "onetape"

# From the ground up. A room imports only rooms above it in this list.
ORDER = [
    "records",
    "compiled",
    "native",  # so early because the tape writes through it
    "codecs",
    "tape",
    "engine",
    "market",
    "surveillance",
    "risk",
    "fraud",
    "audit",
    "mesh",
    "connect",
    "sim",  # before the runtimes: it stands in for sockets, disks and clocks, not for them
    "runtimes",
    "serve",
]
# Modules (or a folder of them) directly in the package: they put the rooms together and may import
# any; no room imports them back.
TOP = ["__init__", "__main__", "cli", "testing"]

# Pure rooms take bytes, blocks and "now" as arguments.
PURE = [
    "records",
    "compiled",
    "codecs",
    "engine",
    "market",
    "surveillance",
    "risk",
    "fraud",
    "audit",
]
INSTEAD = {
    "time": "take now_ns as an argument",
    "random": "take a seed, and draw with the counter-based generator of compiled/",
    "os": "take the path's bytes, or the setting's value, as an argument",
    "mmap": "take a buffer as an argument; tape/ and native/ map files",
    "threading": "let a runtime own the thread and call you",
    "asyncio": "let a shell own the loop and call you",
    "select": "let a shell wait and call you",
    "subprocess": "let a shell start it",
}
INSTEAD |= dict.fromkeys(
    ["socket", "ssl", "urllib", "http"], "take and return bytes; connect/ and native/ own sockets"
)

# (room, module): why. Think twice before adding a line.
EXCEPTIONS = {
    ("compiled", "time"): "the twin of the processor's counter, which only tells what code costs",
    ("compiled", "os"): "decides the folder of the kernel cache and the mode, and writes there",
    ("compiled", "threading"): "one lock around the compiler's one global, the cache folder",
}

# Numba takes most of a second to load. Only these rooms may load it by being imported.
NUMBA_ROOMS = ["compiled", "native"]


def imports_of(tree: ast.Module, package: list[str]) -> Iterator[tuple[ast.stmt, str]]:
    """Every import in a module, also inside functions: (statement, absolute dotted name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node, ".".join([*base, alias.name])


def at_import_time(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: not those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            children = child.orelse
        else:
            children = [child]
        for statement in children:
            if isinstance(statement, ast.stmt):
                yield statement
            yield from at_import_time(statement)


def violations(src: Path) -> list[str]:
    """Each import under `src` that breaks a rule, as `file:line: what is wrong; what to do`."""
    found = []
    for path in sorted((src / PACKAGE).rglob("*.py")):
        inside = path.relative_to(src / PACKAGE).parts
        room = inside[0].removesuffix(".py")
        shown = f"{src.name}/{path.relative_to(src)}"
        if room in TOP:
            continue
        if room not in ORDER:
            found.append(
                f"{shown}:1: {room} is not a room; move it into one of {', '.join(ORDER)}, "
                f"or give it its place in ORDER in tests/test_rooms.py"
            )
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        package = [PACKAGE, *inside[:-1]]
        early = {id(statement) for statement in at_import_time(tree)}
        lines = set()
        for node, name in imports_of(tree, package):
            problem = judge(room, name, early=id(node) in early)
            if problem:
                lines.add((node.lineno, problem))
        found += [f"{shown}:{line}: {problem}" for line, problem in sorted(lines)]
    return found


def judge(room: str, name: str, *, early: bool) -> str | None:
    """What is wrong with `room` importing the dotted `name`, if anything."""
    head, _, rest = name.partition(".")
    if head == PACKAGE:
        return judge_room(room, rest.partition(".")[0])
    if room in PURE and head in INSTEAD and (room, head) not in EXCEPTIONS:
        return f"{room}/ is pure and may not import {head}; {INSTEAD[head]}"
    if head == "numba" and early and room not in NUMBA_ROOMS:
        return (
            f"{room}/ may not import numba when it is itself imported (it costs most of a second); "
            f"decorate with onetape.compiled, or import it inside the function that needs it"
        )
    return None


def judge_room(room: str, other: str) -> str | None:
    if other == "__version__" or other == room:
        return None
    if other not in ORDER:
        return (
            f"{room}/ may not import {PACKAGE} itself or {other or 'all of it'}; "
            f"import from the room that defines the name"
        )
    if ORDER.index(other) > ORDER.index(room):
        return (
            f"{room}/ may not import {other}/, which stands below it; "
            f"move the shared part up into {room}/ or higher, or have {other}/ pass it in"
        )
    if room in PURE and other not in PURE:
        return (
            f"{room}/ is pure and may not import {other}/, which is not; "
            f"take what it provides as an argument, or move the pure part of it up"
        )
    return None


def test_each_room_imports_only_what_it_may():
    found = violations(SRC)
    assert not found, "\n" + "\n".join(found)


def test_every_exception_is_still_needed():
    used = set()
    for room, module in EXCEPTIONS:
        for path in (SRC / PACKAGE / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names = [name.partition(".")[0] for _, name in imports_of(tree, [PACKAGE, room])]
            if module in names:
                used.add((room, module))
    unused = set(EXCEPTIONS) - used
    assert not unused, f"remove from EXCEPTIONS in tests/test_rooms.py: {sorted(unused)}"


PLANTED = [
    ("records/a.py", "from onetape.market import books", "records/ may not import market/"),
    ("market/a.py", "def f():\n    from ..risk.ledger import post", "may not import risk/"),
    ("market/deep/a.py", "from ...serve import api", "market/ may not import serve/"),
    ("tape/a.py", "import onetape.runtimes.edge as edge", "tape/ may not import runtimes/"),
    ("mesh/a.py", "from onetape import serve", "mesh/ may not import serve/"),
    ("mesh/a.py", "import onetape", "may not import onetape itself"),
    ("connect/a.py", "from onetape import Pipeline", "from the room that defines the name"),
    ("serve/a.py", "from onetape.cli import main", "may not import onetape itself or cli"),
    ("codecs/a.py", "import socket", "codecs/ is pure and may not import socket; take and return"),
    ("engine/a.py", "def f():\n    import time", "engine/a.py:2: engine/ is pure"),
    ("audit/a.py", "from os import path", "audit/ is pure and may not import os"),
    ("risk/a.py", "import urllib.request", "risk/ is pure and may not import urllib"),
    ("engine/a.py", "from onetape.tape import frames", "engine/ is pure and may not import tape/"),
    ("tape/a.py", "try:\n    import numba.core\nexcept ImportError: ...", "may not import numba"),
    ("serve/a.py", "class A:\n    from numba import njit", "may not import numba"),
    ("helpers/a.py", "", "helpers is not a room"),
    ("utils.py", "", "utils is not a room"),
]


@pytest.mark.parametrize(("file", "text", "message"), PLANTED)
def test_a_planted_bad_import_is_found(tmp_path, file, text, message):
    plant(tmp_path, file, text)

    found = violations(tmp_path)

    assert len(found) == 1
    assert message in found[0]


ALLOWED = [
    ("__init__.py", "from onetape.serve import api\nimport time, numba"),
    ("cli.py", "import os, socket\nfrom . import serve, records"),
    ("compiled/cache.py", "import os\nimport numba"),
    ("market/a.py", "from . import b\nfrom .b import c\nfrom ..compiled import kernel"),
    ("market/a.py", "import math, timeit\nfrom onetape.records import time"),
    ("market/a.py", "def f():\n    import numba"),
    ("market/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numba"),
    ("runtimes/edge/a.py", "import os, time\nfrom ...sim import disk\nfrom ..batch import run"),
    ("serve/a.py", "from onetape import __version__"),
]


@pytest.mark.parametrize(("file", "text"), ALLOWED)
def test_a_good_import_is_let_through(tmp_path, file, text):
    plant(tmp_path, file, text)

    assert violations(tmp_path) == []


def plant(src: Path, file: str, text: str) -> None:
    path = src / PACKAGE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_importing_onetape_loads_no_library_but_numpy():
    slow = {"numba", "llvmlite", "pyarrow", "msgspec", "rich", "polars", "pandas"}
    show = f"import sys, onetape; print(*{slow} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", show], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", (
        f"`import onetape` loads {done.stdout.strip()}, which costs up to a second; "
        f"find who with `python -X importtime -c 'import onetape'` and import it inside a function"
    )


def test_rows_are_copied_with_their_padding():
    """Digests and tapes hold it, and NumPy leaves it as the memory was before."""
    forgetful = re.compile(r"\brows\w*(\[[^]]*\])?\.copy\(\)")
    found = [
        f"{path.relative_to(SRC)}:{number}"
        for path in sorted(SRC.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forgetful.search(line)
    ]
    assert not found, f"{', '.join(found)}: use `copied(rows)` of records/declare.py"
