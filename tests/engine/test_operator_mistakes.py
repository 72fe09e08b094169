"""What a person gets wrong inside an operator, and what they are told: where, what, what to write.

The texts are in tests/golden/operator_mistakes.txt, to be read as a person would. After a change:

    ONETAPE_REWRITE=1 pytest tests/engine/test_operator_mistakes.py

and read the difference aloud before it is committed.
"""

import os
import textwrap
from pathlib import Path

import pytest

from onetape.compiled import mode
from onetape.engine.compiler_words import in_words
from onetape.records import DeclarationError
from onetape.runtimes import batch
from onetape.runtimes.load import load_pipeline

GOLDEN = Path(__file__).parents[1] / "golden" / "operator_mistakes.txt"

FILE = """\
import datetime
import json
import math
import random
import struct
import time
from time import time as now

import numpy as np

import onetape as ot
from onetape import market as mk

LIMITS = [100, 200]
BY_SIDE = {66: 1}


@ot.record
class Big:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    price_ticks: ot.i64
    share: ot.f64 = 0.0


@ot.record
class Other:
    ts_event_ns: ot.i64
    instrument_id: ot.u32


@ot.record
class Ladder:
    ts_event_ns: ot.i64
    cells: ot.Array[ot.i64, 4]


def helper(x):
    return x + 1


@ot.operator
def named(t: mk.Trade) -> Big | None:
    return None


@ot.operator(key="instrument_id")
class Jumps:
    last_ticks: ot.i64 = ot.UNSET
    count: ot.u32 = 0
    mean: ot.f64 = 0.0
    recent: ot.Array[ot.i64, 8]
    LEAST = 5

    def raise_by(self, x): ...

    {head}
{body}

pipeline = ot.Pipeline(big=Jumps(ot.source("itch").{stream}()))
"""

RETURNS = "def on_event(self, t: mk.Trade, *, at_least: ot.Lots = 100) -> Big | None:"
EMITS = "def on_event(self, t: mk.Trade, out: ot.UpTo[2, Big]) -> None:"
LADDER = "def on_event(self, d: mk.Depth) -> Big | None:"

MISTAKES = {
    "too few values for a record": "return Big(t.ts_event_ns, t.instrument_id)",
    "too many values for a record": "return Big(t.ts_event_ns, t.instrument_id, 1, 2.0, 3)",
    "a field with a default left out": "return Big(t.ts_event_ns, t.instrument_id, 1)",
    "a record's field by a wrong name": "return Big(t.ts_event_ns, 1, price=3)",
    "a record's field twice": "return Big(t.ts_event_ns, 1, 2, ts_event_ns=3)",
    "a record with an array by value": "x = Ladder(t.ts_event_ns, self.recent)",
    "another record than annotated": "return Other(t.ts_event_ns, t.instrument_id)",
    "the event itself is returned": "return t",
    "a tuple is returned": "return (t.ts_event_ns, t.instrument_id, t.price_ticks)",
    "a float is returned": "return t.price_ticks / 100",
    "a field is returned": "return t.price_ticks",
    "a number is returned in one branch": "return Big(1, 2, 3, 0.5) if t.qty_lots > 5 else 0",
    "a field of the event that is not there": "if t.prise_ticks > 5:\n    return None",
    "a field of the event, nothing near": "x = t.volatility",
    "state that is not there, nearly": "self.last_tick = t.price_ticks",
    "state that is not there": "self.previous = t.price_ticks",
    "state without a type": "if t.qty_lots > self.LEAST:\n    return None",
    "a method of its own": "self.last_ticks = self.raise_by(1)",
    "a name that is nowhere": "self.last_ticks = prise",
    "state without self": "self.last_ticks = last_ticks",
    "a name of a module that is not there": "self.last_ticks = ot.UNSETT",
    "an f-string": 'x = f"{t.price_ticks}"',
    "str()": "x = str(t.price_ticks)",
    "a dict": "x = {1: 2}",
    "a set": "if t.side in {66, 83}:\n    return None",
    "a list comprehension": "x = [i for i in range(3)]",
    "a generator": "x = sum(i for i in range(3))",
    "yield": "yield Big(1, 2, 3, 0.5)",
    "list()": "x = list(self.recent)",
    "sorted()": "x = sorted(self.recent)",
    "open()": 'x = open("prices.csv")',
    "with": 'with open("prices.csv") as f:\n    pass',
    "an import inside": "import math",
    "global": "global LIMITS\nLIMITS = 3",
    "a walrus": "if (x := t.price_ticks) > 3:\n    return None",
    "time.time()": "self.mean = time.time()",
    "time by another name": "self.mean = now()",
    "datetime": "x = datetime.datetime.now()",
    "random": "if random.random() < 0.1:\n    return None",
    "random of NumPy": "if np.random.random() < 0.1:\n    return None",
    "another library, in C": "x = struct.calcsize(3)",
    "another library": "x = json.dumps(3)",
    "a plain function": "self.last_ticks = helper(t.price_ticks)",
    "another operator": "return named(t)",
    "an array of NumPy": "x = np.zeros(3)",
    "a global list": "if t.qty_lots > LIMITS[0]:\n    return None",
    "a global dict": "self.count = BY_SIDE[t.side]",
    "a field of the event is set": "t.price_ticks = 0",
    "a float into an integer": "self.last_ticks = t.price_ticks * 1.01",
    "division into an integer": "self.last_ticks = (t.price_ticks + self.last_ticks) / 2",
    "a quotient in place": "self.last_ticks /= 2",
    "a float into a record": "return Big(t.ts_event_ns, t.instrument_id, t.price_ticks / 2, 0.5)",
    "a square root into an integer": "self.last_ticks = math.sqrt(t.price_ticks)",
    "64 bits into 32": "self.count = t.order_id",
    "64 bits into 32 of a record": "return Big(t.ts_event_ns, t.match_id, 3, 0.5)",
    "None into state": "self.last_ticks = None",
    "a text into state": 'self.last_ticks = "none"',
    "the event into state": "self.last_ticks = t",
    "state compared with None": "if self.last_ticks is None:\n    return None",
    "a side compared with a letter": 'if t.side == "B":\n    return None',
    "an array as a whole": "self.recent = self.recent",
    "a part of an array moved": "self.recent[1:] = self.recent[:-1]",
    "a cell by a float": "x = self.recent[t.qty_lots / 2]",
    "a record that is made is changed": "b = Big(1, 2, 3, 0.5)\nb.price_ticks = 4",
    "_replace": "b = Big(1, 2, 3, 0.5)\nreturn b._replace(price_ticks=4)",
    "an error with a value in it": 'raise ValueError(f"odd price {t.price_ticks}")',
    "several names at once": "a, *b = self.recent",
}
HEADS = {
    "no annotation of the event": ("def on_event(self, t) -> Big | None:", "return None"),
    "an annotation that is no record": ("def on_event(self, t: int) -> Big | None:", "return None"),
    "no return annotation": ("def on_event(self, t: mk.Trade):", "return Big(1, 2, 3, 0.5)"),
    "None is annotated": ("def on_event(self, t: mk.Trade) -> None:", "return Big(1, 2, 3, 0.5)"),
    "a tuple is annotated": ("def on_event(self, t: mk.Trade) -> tuple:", "return None"),
    "a setting before the star": (
        "def on_event(self, t: mk.Trade, at_least: int = 3) -> Big | None:",
        "return None",
    ),
    "an emitter and a return": (EMITS, "return Big(1, 2, 3, 0.5)"),
    "an emitter is given another record": (EMITS, "out.append(Other(1, 2))"),
    "an emitter is given values": (EMITS, "out.append(1, 2, 3)"),
    "a method that an emitter lacks": (EMITS, "out.add(Big(1, 2, 3, 0.5))"),
    "a field that a row lacks": (EMITS, "row = out.row()\nrow.price = 3"),
    "a float into a row": (EMITS, "row = out.row()\nrow.price_ticks = t.price_ticks / 2"),
    "a cell of an event": (LADDER, "d.bid_price_ticks[0] = 3"),
}
CASES = {name: (RETURNS, body) for name, body in MISTAKES.items()} | HEADS


def told(tmp_path, head, body):
    """What is said of a pipeline file with this method."""
    file = tmp_path / "pipeline.py"
    stream = "depth" if head is LADDER else "trades"
    text = FILE.replace("{head}", head).replace("{stream}", stream)
    file.write_text(text.replace("{body}", textwrap.indent(body, " " * 8)))
    with pytest.raises(DeclarationError) as refused:
        load_pipeline(str(file))
    return str(refused.value).replace(f"{tmp_path}/", "")


def golden():
    """The known texts, by the name of the mistake."""
    parts = GOLDEN.read_text().split("\n\n") if GOLDEN.exists() else []
    return dict(part.strip("\n").split("\n----\n") for part in parts if part.strip())


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_told_at_its_line_with_its_remedy(tmp_path, name):
    said = told(tmp_path, *CASES[name])

    if os.environ.get("ONETAPE_REWRITE") == "1":
        known = golden() | {name: said}
        texts = (f"{n}\n----\n{known[n]}" for n in CASES if n in known)
        GOLDEN.write_text("\n\n".join(texts) + "\n")
    assert said == golden()[name]


def test_every_known_text_is_of_a_case():
    assert list(golden()) == list(CASES)


FINE = """\
was, self.last_ticks = self.last_ticks, t.price_ticks
self.recent[self.count % 8] = t.price_ticks
self.count += 1
for cell in self.recent[1:]:
    self.mean = max(self.mean, cell / 2 + math.floor(np.abs(self.mean)))
if was == ot.UNSET or t.side == ord("B") or t.kind in (80, 81):
    return None
assert self.count >= 0, "a fixed text"
return Big(t.ts_event_ns, instrument_id=below(t.instrument_id), price_ticks=1, share=was / 2)


@ot.kernel
def below(x):
    return x
"""


def test_what_may_be_in_an_operator_is_let_through(tmp_path):
    method = textwrap.indent(FINE.partition("\n\n\n")[0], " " * 8)
    text = FILE.replace("{head}", RETURNS).replace("{stream}", "trades")
    text = text.replace("{body}", method + "\n\n\n" + FINE.partition("\n\n\n")[2])
    (tmp_path / "pipeline.py").write_text(text)

    batch.make_engine(load_pipeline(str(tmp_path / "pipeline.py")))


IN_A_HELPER = """\
import onetape as ot
from onetape import market as mk


@ot.kernel
def spread(t):
    return {body}


@ot.operator
def big(t: mk.Trade) -> mk.Trade | None:
    return t if spread(t) > 3 else None


pipeline = ot.Pipeline(big=big(ot.source("itch").trades()))
"""


@pytest.mark.skipif(mode.is_interpreted(), reason="the compiler speaks here")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("t.prise_ticks", "no field 'prise_ticks' (did you mean 'price_ticks'?)"),
        ("[1, 2, 3][t.prise] + len([x for x in range(t.side)])", "no field 'prise'"),
        ("len([x for x in range(t.side)])", "memory would be allocated here"),
        ("undefined", "the name 'undefined' is not defined"),
    ],
)
def test_what_only_the_compiler_finds_is_told_in_words_too(tmp_path, body, words):
    file = tmp_path / "pipeline.py"
    file.write_text(IN_A_HELPER.replace("{body}", body))

    with pytest.raises(DeclarationError) as refused:
        batch.make_engine(load_pipeline(str(file)))

    assert words in str(refused.value)
    assert "pipeline.py:" in str(refused.value)


def test_the_compiler_s_own_bugs_are_one_line_with_the_operators_name():
    def on_trade(self, t): ...

    said = in_words(AttributeError("'Float' object has no attribute 'fields'"), {"n1": on_trade})

    assert said.startswith("in test_the_compiler")
    assert "on_trade (" in said
    assert "'Float' object has no attribute 'fields'" in said
