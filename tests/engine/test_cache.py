"""Machine code on disk is found again, and is never that of another source.

The module below is edited in one place at a time. Whatever could change an answer must change the
name under which the driver is kept; what cannot, should not.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onetape.compiled import cache, mode
from onetape.engine import closure, planner

SOURCE = """
import enum
import math

import numpy as np

import onetape as ot
from onetape.engine import aggregate, operator, window

import helping.deep

LIMIT = 3
WORD = np.int64(7)
STEPS = (1, 2, (3, 4))
TABLE = np.array([5, 6, 7])


class Side(enum.IntEnum):
    BID = 1
    ASK = 2


@ot.record
class Quote:
    ts_event_ns: ot.i64
    key: ot.i64
    bid: ot.i64
    ask: ot.i64


@ot.kernel
def inner(x, scale=2):
    return x * scale + WORD


@ot.kernel
def helper(x):
    return inner(x) + STEPS[2][1]


def made_with(factor):
    @ot.kernel
    def scaled(x):
        return x * factor

    return scaled


scaled = made_with(11)


class Seen:
    count: ot.i64 = 0


@operator(key="key")
def spread(q: Quote, s: Seen, *, least: int = 5) -> Quote | None:
    s.count += 1
    if s.count < LIMIT or q.key == Side.ASK:
        return None
    wide = q.ask - q.bid + helper(q.key) + TABLE[1] + scaled(least) + helping.deep.MOST
    return Quote(q.ts_event_ns, q.key, wide, s.count)


@aggregate
class Sum:
    total: ot.i64 = 0

    def add(self, q: Quote) -> None:
        self.total += q.bid

    def result(self, key: int, start_ns: int, end_ns: int) -> Quote | None:
        return Quote(end_ns, key, self.total, 0)


quotes = ot.source(Quote)
wide = spread(quotes, least=6)
pipeline = ot.Pipeline(wide=wide, sum=window(wide, Sum, width=100, key="key"))
"""
DEEP = "MOST = 1000\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(source, deep)`: the module with this text, and what it imports with that."""
    (tmp_path / "helping").mkdir()
    (tmp_path / "helping" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(source=SOURCE, deep=DEEP):
        (tmp_path / "helping" / "deep.py").write_text(deep)
        (tmp_path / "edited.py").write_text(source)
        for name in ("helping", "helping.deep", "edited"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        spec = importlib.util.spec_from_file_location("edited", tmp_path / "edited.py")
        made = importlib.util.module_from_spec(spec)
        sys.modules["edited"] = made
        spec.loader.exec_module(made)
        return made

    yield load
    for name in ("helping", "helping.deep", "edited"):
        sys.modules.pop(name, None)


def fingerprint(made):
    plan = planner.plan(made.pipeline)
    return closure.fingerprint(plan.text, plan.names)


def edited(before, after):
    assert SOURCE.count(before) == 1, before
    return SOURCE.replace(before, after)


CHANGES = {
    "a constant": ("LIMIT = 3", "LIMIT = 4"),
    "the type of a constant": ("LIMIT = 3", "LIMIT = 3.0"),
    "a NumPy scalar": ("np.int64(7)", "np.int64(8)"),
    "the type of a NumPy scalar": ("np.int64(7)", "np.int32(7)"),
    "a value within a tuple": ("(3, 4)", "(3, 5)"),
    "a table": ("[5, 6, 7]", "[5, 6, 8]"),
    "the type of a table": ("np.array([5, 6, 7])", "np.array([5, 6, 7], np.uint64)"),
    "an enumeration": ("ASK = 2", "ASK = 3"),
    "a helper of a helper": ("x * scale + WORD", "x * scale - WORD"),
    "a default of a helper": ("scale=2", "scale=3"),
    "a closure": ("made_with(11)", "made_with(12)"),
    "the order of two fields": ("q.ask - q.bid", "q.bid - q.ask"),
    "the field that is set": ("wide, s.count)", "s.count, wide)"),
    "a literal": ("< LIMIT or", "< LIMIT + 1 or"),
    "a comparison": ("s.count < LIMIT", "s.count <= LIMIT"),
    "a setting": ("least=6", "least=7"),
    "what a window adds": ("self.total += q.bid", "self.total += q.ask"),
    "what a window says": ("self.total, 0)", "0, self.total)"),
    "its width": ("width=100", "width=200"),
    "the fields of a record": ("bid: ot.i64\n", "bid: ot.i32\n"),
    "the order of outputs": (
        "wide=wide, sum=window(wide, Sum, width=100, key=\"key\")",
        "sum=window(wide, Sum, width=100, key=\"key\"), wide=wide",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_that_matters_changes_the_name(module, what):
    before = fingerprint(module())

    assert fingerprint(module(edited(*CHANGES[what]))) != before


def test_a_constant_two_modules_away_changes_the_name(module):
    before = fingerprint(module())

    assert fingerprint(module(deep="MOST = 1001\n")) != before


@pytest.mark.parametrize(
    "before, after",
    [
        ("import enum", "# a remark\nimport enum"),
        ("LIMIT = 3", "LIMIT = 1 + 2\nUNUSED = 9"),
        ("    s.count += 1", "    s.count  +=  1  # counted"),
    ],
)
def test_a_change_that_does_not_matter_keeps_the_name(module, before, after):
    assert fingerprint(module(edited(before, after))) == fingerprint(module())


def test_the_name_is_the_same_in_every_process(module, tmp_path):
    """No address, no order of a set: else nothing would ever be found again."""
    here = fingerprint(module())
    there = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert there.stdout.split()[-1] == here


ASK = """
import sys
sys.path.insert(0, sys.argv[1])
import edited
from onetape.engine import closure, planner
plan = planner.plan(edited.pipeline)
print(closure.fingerprint(plan.text, plan.names))
"""

RUN = """
import struct, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import edited
from onetape.engine import planner
from onetape.engine.engine import Engine
engine = Engine(planner.plan(edited.pipeline))
rows = b"".join(struct.pack("<qqqq", 10 + n, 5, 100, 103) for n in range(4))
frame = struct.pack("<IIqqHHI", len(rows), 0, 0, 0, 0, 1, 0) + rows
for name, block, _ in engine.feed(np.frombuffer(bytearray(frame), np.uint8), 0, len(frame)):
    print(name, block.tolist())
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing_and_an_edit_is_seen(module, tmp_path):
    folder = tmp_path / "machine code"

    def run():
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(tmp_path)],
            env={**os.environ, "ONETAPE_CACHE": str(folder), "ONETAPE_MODE": "compiled"},
            capture_output=True,
            text=True,
            check=True,
        )
        files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb[ic]")}
        return done.stdout, files

    module()
    first, compiled = run()
    second, found = run()
    module(edited("q.ask - q.bid", "q.bid - q.ask"))
    third, added = run()

    assert first == second != third
    assert first.startswith("wide [(12, 5, ")
    assert found == compiled
    assert len(compiled) > 1
    assert set(added) > set(compiled)


def test_each_mode_has_its_own_cache():
    folders = set()
    for name in mode.MODES:
        with mode.running(name):
            folders |= {cache.package_folder(), str(cache.drivers_folder())}

    assert len(folders) == 2 * len(mode.MODES)
    assert all(Path(folder).is_relative_to(cache.root()) for folder in folders)
