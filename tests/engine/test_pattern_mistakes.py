"""What a person gets wrong in a pattern, and what they are told: where, what, what to write.

The texts are in tests/golden/pattern_mistakes.txt, to be read as a person would. After a change:

    ONETAPE_REWRITE=1 pytest tests/engine/test_pattern_mistakes.py

and read the difference aloud before it is committed.
"""

import os
from pathlib import Path

import pytest

from onetape.compiled import mode
from onetape.engine import planner
from onetape.records import DeclarationError
from onetape.runtimes import batch
from onetape.runtimes.load import load_pipeline

GOLDEN = Path(__file__).parents[1] / "golden" / "pattern_mistakes.txt"

FILE = """\
import time

import onetape as ot
from onetape import market as mk
from onetape.market import ADD, CANCEL, FILL


@ot.record
class Found:
    ts_event_ns: ot.i64
    order_id: ot.u64
    instrument_id: ot.u32


def helper(x):
    return x > 1


events = ot.source("itch").events()
found = (
    {pattern}
)
pipeline = ot.Pipeline(found=events >> found)
"""

HEAD = 'ot.Pattern(by="instrument_id", within="1s")'
BEGIN = '.begin("add", lambda e: e.action == ADD)'
MANY = '.begin("adds", lambda e: e.action == ADD, times=(2, 5))'
END = ".emit(lambda m: Found(m.end_ns, m.add.order_id, m.add.instrument_id))"
ENDS = ".emit(lambda m: Found(m.end_ns, m.adds.last.order_id, m.adds.first.instrument_id))"


def then(condition):
    return [HEAD, BEGIN, f'.then("gone", {condition})', END]


def emits(made):
    return [HEAD, BEGIN, f".emit({made})"]


MISTAKES = {
    "a field of the event that is not there": then("lambda e: e.acton == CANCEL"),
    "a step that is not there": then("lambda e, m: e.order_id == m.ad.order_id"),
    "a field of a step that is not there": then("lambda e, m: e.order_id == m.add.orderid"),
    "two conditions on one line": [HEAD, BEGIN + '.then("a", lambda e: e.q > 1)', END],
    "the step itself": then("lambda e, m: e.order_id == m.gone.order_id"),
    "a later step": [
        HEAD, '.begin("add", lambda e, m: e.order_id == m.gone.order_id)',
        '.then("gone", lambda e: e.action == CANCEL)', END,
    ],
    "the match in the first step": [HEAD, '.begin("add", lambda e, m: m.ad.order_id > 1)', END],
    "a whole step": then("lambda e, m: e.order_id == m.add"),
    "the whole match": then("lambda e, m: helper(m)"),
    "what does not happen": [
        HEAD, BEGIN, '.without("fill", lambda e: e.action == FILL)',
        '.then("gone", lambda e, m: e.order_id == m.fill.order_id)', END,
    ],
    "a field of several": [HEAD, MANY, '.then("x", lambda e, m: e.side == m.adds.side)', ENDS],
    "several without a field": [HEAD, MANY, '.then("x", lambda e, m: m.adds.sum > 5)', ENDS],
    "the end of a match in a condition": then("lambda e, m: m.end_ns > 5"),
    "a text": then('lambda e: e.side == "B"'),
    "None": then("lambda e: e.price_ticks == None"),
    "a clock": then("lambda e: time.time() > 5"),
    "plain Python": then("lambda e: helper(e.qty_lots)"),
    "a condition without a parameter": then("lambda: True"),
    "a condition with three parameters": then("lambda e, m, x: True"),
    "a tuple for a condition": then("lambda e: (e.side, 1)"),
    "no function": then("5"),
    "no record": emits("lambda m: m.add.order_id"),
    "too few values for a record": emits("lambda m: Found(m.end_ns, m.add.order_id)"),
    "a value that does not fit": emits("lambda m: Found(1, 2, m.add.order_id)"),
    "a field for nothing": emits("lambda m: Found(1, m.add.order_idd, 3)"),
    "emit with two parameters": emits("lambda e, m: Found(1, 2, 3)"),
    "no emit": [HEAD, BEGIN],
    "emit without a step": [HEAD, END],
    "no begin": [HEAD, '.then("add", lambda e: e.action == ADD)', END],
    "begin twice": [HEAD, BEGIN, BEGIN, END],
    "a name twice": [HEAD, BEGIN, '.then("add", lambda e: True)', END],
    "no name": [HEAD, '.begin("1st", lambda e: True)', END],
    "a name of the match": [HEAD, '.begin("end_ns", lambda e: True)', END],
    "after emit": [HEAD, BEGIN, END, '.then("gone", lambda e: True)'],
    "without before begin": [HEAD, '.without("x", lambda e: True)', END],
    "without before next": [
        HEAD, BEGIN, '.without("x", lambda e: True)', '.next("y", lambda e: True)', END,
    ],
    "without after what may be nothing": [
        HEAD, BEGIN, '.then("x", lambda e: True, times=(0, 1))', '.without("y", lambda e: True)',
        END,
    ],
    "without at the end of any time": [
        'ot.Pattern(by="instrument_id")', BEGIN, '.without("x", lambda e: True)', END,
    ],
    "a last step that takes nothing": [
        HEAD, BEGIN, '.then("x", lambda e: True, times=(0, 1))', END,
    ],
    "times the wrong way round": [HEAD, BEGIN, '.then("x", lambda e: True, times=(3, 2))', END],
    "begin with nothing": [HEAD, '.begin("add", lambda e: True, times=(0, 1))', END],
    "a key that is not there": ['ot.Pattern(by="account_id")', BEGIN, END],
    "an option that is not there": ['ot.Pattern(by="instrument_id", whitin="1s")', BEGIN, END],
    "no time": ['ot.Pattern(by="instrument_id", within="0s")', BEGIN, END],
    "when_full": ['ot.Pattern(by="instrument_id", when_full="drop")', BEGIN, END],
    "at_most": ['ot.Pattern(by="instrument_id", at_most=0)', BEGIN, END],
    "skip": ['ot.Pattern(by="instrument_id", skip="last")', BEGIN, END],
    "skip to what is not there": [
        'ot.Pattern(by="instrument_id", skip="to_last ad")', BEGIN, END,
    ],
}  # fmt: skip


def told(lines, tmp_path):
    file = tmp_path / "pipeline.py"
    tmp_path.mkdir()
    file.write_text(FILE.replace("{pattern}", "\n    ".join(lines)))
    with pytest.raises(DeclarationError) as refused:
        planner.plan(load_pipeline(str(file)))
    return str(refused.value).replace(f"{tmp_path}/", "")


def test_mistakes_are_told_at_their_line(tmp_path):
    made = [f"{name}\n----\n{told(lines, tmp_path / name)}\n" for name, lines in MISTAKES.items()]
    text = "\n".join(made)
    if os.environ.get("ONETAPE_REWRITE"):
        GOLDEN.write_text(text)

    assert text == GOLDEN.read_text()


@pytest.mark.skipif(mode.is_interpreted(), reason="the compiler speaks here")
def test_what_only_the_compiler_finds_is_told_at_the_condition(tmp_path):
    file = tmp_path / "pipeline.py"
    lines = then("lambda e: e.qty_lots > (e.side, 1)")
    file.write_text(FILE.replace("{pattern}", "\n    ".join(lines)))

    with pytest.raises(DeclarationError) as refused:
        batch.make_engine(load_pipeline(str(file)))

    assert "pipeline.py:23" in str(refused.value)
