"""`onetape verify`: what it compares, and what it says when two ways part."""

import numpy as np
import pytest

import onetape as ot
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.verify.command import PLAIN_PYTHON_BYTES, verify


@ot.record
class Pair:
    ts_event_ns: ot.i64
    a: ot.i64
    b: ot.i64


@ot.record
class Share:
    ts_event_ns: ot.i64
    share: ot.f64


@ot.operator
class Shares:
    """Not the same in both modes: the compiler divides floats, Python divides integers."""

    def on_pair(self, p: Pair) -> Share | None:
        return Share(p.ts_event_ns, p.a / p.b)


def make_pipeline():
    pairs = ot.source(Pair, name="pairs")
    return ot.Pipeline(share=Shares(pairs), large=pairs.filter(ot.c.a > 5))


def recorded(folder, rows, broken_at=None):
    block = np.zeros(rows, Pair.dtype)
    block["ts_event_ns"] = range(rows)
    block["a"], block["b"] = 8, 4
    if broken_at is not None:
        block["a"][broken_at], block["b"][broken_at] = 2**53 + 1, 3
    with EdgeNode(make_pipeline(), folder) as node:
        assert node.push(block.tobytes())
        assert node.push_end()
        list(node.stop())
        node.tape.sync()
    return folder


@pytest.mark.parametrize("rows", [100, 3 * PLAIN_PYTHON_BYTES // 24])
def test_the_first_row_that_differs_is_named(tmp_path, rows):
    """Also in a frame that is too large to be run in plain Python as a whole."""
    equal, facts, lines = verify(make_pipeline(), recorded(tmp_path / "tape", rows, broken_at=50))

    assert not equal
    (said,) = [line for line in lines if "differs" in line]
    assert said.startswith(
        "share differs between compiled, first events and plain python, first events at row 50, "
        "caused by tape offset 1, sequence 51"
    )
    assert "compiled, first events: (50, 3002399751580330.5)" in said
    counts = {answer["way"]: answer["events"] for answer in facts["answers"]}
    plain = counts["plain python, first events"]
    assert plain == counts["compiled, first events"]
    assert plain == rows or PLAIN_PYTHON_BYTES // 24 >= plain > 2000


def test_equal_ways_are_said_to_be_equal(tmp_path):
    equal, facts, lines = verify(make_pipeline(), recorded(tmp_path / "tape", 100))

    assert equal
    assert facts["same_code"]
    assert lines[-1] == "all equal"
    assert len({answer["state_digest"] for answer in facts["answers"]}) == 1


def test_a_tape_of_another_pipeline_is_said_to_be_one(tmp_path):
    folder = recorded(tmp_path / "tape", 100)
    pairs = ot.source(Pair, name="pairs")
    other = ot.Pipeline(share=Shares(pairs), large=pairs.filter(ot.c.a > 6))

    equal, facts, lines = verify(other, folder)

    assert equal
    assert not facts["same_code"]
    assert lines[0] == "the tape was made by another pipeline; what that came to is not compared"
