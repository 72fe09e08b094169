"""Every public name has a docstring with an example that runs, and a place in the reference."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onetape as ot
from onetape import c, surveillance, testing
from onetape import market as mk
from onetape.market.trades import VwapSum
from onetape.records import UNSET
from onetape.surveillance import burst_cancel

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MODULES = {"onetape": ot, "onetape.market": mk, "onetape.surveillance": surveillance}
MODULES |= {"onetape.testing": testing}
NAMES = [(module, name) for module, of in MODULES.items() for name in of.__all__]


@ot.record
class Jump:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ticks: ot.i64


def around(tmp_path):
    """What the examples may use without saying where it is from."""
    feed, trade = ot.source("itch"), testing.row(mk.Trade, ts_event_ns=1, price_ticks=1000)
    trades = ot.source(mk.Trade)
    table = pa.table({"ts_event_ns": [1], "price_ticks": ["10.00"], "qty_lots": [5]})
    their = pa.table({"time": [1], "px": ["10.00"], "size": [5]})
    out = tmp_path / "out"  # what a run leaves
    out.mkdir(exist_ok=True)
    pq.write_table(pa.table({"instrument_id": [7, 7], "qty_lots": [1, 2]}), out / "trade.parquet")
    return {
        **{"ot": ot, "mk": mk, "c": c, "testing": testing, "burst_cancel": burst_cancel},
        **{"out": out, "Jump": Jump, "VwapSum": VwapSum, "feed": feed, "tops": feed.top_of_book()},
        **{"trades": trades, "trade": trade, "table": table, "their": their},
        **{"pipeline": ot.Pipeline(trade=trades), "orders": ot.source(mk.OwnOrder)},
        **{"mine": ot.source(mk.OwnOrderInBook), "spoofs": ot.source(Jump)},
    }


def said_of(module, name):
    """The docstring of a public name; of a value, the string behind its assignment."""
    thing = getattr(MODULES[module], name)
    if inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing):
        return inspect.getdoc(thing) or ""
    return written_of(MODULES[module], name)


def written_of(module: ModuleType, name: str) -> str:
    body = ast.parse(inspect.getsource(module)).body
    for step, after in zip(body, [*body[1:], None]):
        if isinstance(step, ast.ImportFrom):
            for alias in step.names:
                if (alias.asname or alias.name) == name:
                    return written_of(__import__(step.module, fromlist=["_"]), alias.name)
        is_value = isinstance(step, ast.Assign) and getattr(step.targets[0], "id", "") == name
        if is_value and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return inspect.cleandoc(after.value.value)
    return ""


def examples_in(said):
    return [
        textwrap.dedent(code)
        for code in re.findall(r"^ *```python\n(.*?)^ *```", said, re.M | re.S)
    ]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_says_what_it_is_and_shows_it(module, name, tmp_path):
    said = said_of(module, name)
    assert said, f"{module}.{name} has no docstring"
    examples = examples_in(said)
    assert examples, f"{module}.{name}: its docstring has no ```python block"

    path = tmp_path / "example.py"  # operators read their source
    for code in examples:
        path.write_text(code, encoding="utf-8")
        found = around(tmp_path) | {"__name__": "example", "__file__": str(path)}
        exec(compile(code, str(path), "exec"), found)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_is_in_the_reference(module, name):
    pages = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    line = rf"^::: {re.escape(f'{module}.{name}')}$"
    assert re.search(line, pages, re.M), f"write `::: {module}.{name}` into a page of {REFERENCE}"


def test_the_reference_names_nothing_that_is_not_there():
    for page in REFERENCE.glob("*.md"):
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M):
            module, _, name = path.rpartition(".")
            assert hasattr(__import__(module, fromlist=["_"]), name), f"{page.name}: {path}"


def test_unset_is_what_its_page_says():
    assert written_of(ot, "UNSET").startswith("An i64 that is not known") and UNSET == -(2**63)
