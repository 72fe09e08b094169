"""A version takes over from another: where nothing has changed in it, nothing shows.

Random graphs, cut at random: what the two engines give, one after the other, is what one gives.
"""

import random

import pytest
from tests.engine import graphs
from tests.engine.graphs import cut, random_pipeline, random_steps
from tests.engine.parts import Tick
from tests.engine.running import frames, make, run_engine

import onetape as ot
from onetape.compiled import mode
from onetape.engine import planner
from onetape.engine.digest import state_digest
from onetape.engine.matching import matched
from onetape.engine.succession import succeed
from onetape.records import OperatorError

COMPILED = (0, 13)
INTERPRETED = range(300, 308)
INTERPRETED_SLOW = range(308, 600)


def check(seed, events, after, is_same=True):
    """`after()` makes the second version, which does what the first does."""
    rng = random.Random(seed)
    pipeline = random_pipeline(seed)
    pieces = frames(cut(rng, random_steps(seed, pipeline, events), 0.5)[0])
    whole = run_engine(make(pipeline), pieces)
    if not is_same and run_engine(make(after()), pieces).rows != whole.rows:
        return None  # what happens at one time happens in the order of the steps
    at = rng.randrange(len(pieces) + 1)
    old = make(pipeline)
    first = run_engine(old, pieces[:at])
    succession = succeed(old, planner.plan(after()))
    succession.take_over()
    second = run_engine(succession.engine, pieces[at:])

    for name, rows in whole.rows.items():
        assert first.rows[name] + second.rows[name] == rows
    assert second.counts.events == whole.counts.events
    assert second.counts.rows == whole.counts.rows
    if is_same:
        for name, origins in whole.origins.items():
            assert first.origins[name] + second.origins[name] == origins
        assert second.counts == whole.counts
        assert state_digest(succession.engine) == whole.state
    return succession


def check_all(seed, events, monkeypatch):
    kept = check(seed, events, lambda: random_pipeline(seed))
    assert set(kept.steps.values()) <= {"is kept"}

    pipeline = random_pipeline(seed)
    outputs = dict(reversed(pipeline.outputs.items()))
    turned = ot.Pipeline(**outputs)
    if [s.name for s in turned.sources] == [s.name for s in pipeline.sources]:
        check(seed, events, lambda: turned, is_same=False)
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "KEYS", {"keys": 1 << 11})
        larger = random_pipeline(seed)
    grown = check(seed, events, lambda: larger)
    copied = [what for what in grown.steps.values() if what.startswith("is copied")]
    assert set(grown.steps.values()) <= {"is kept", *copied}


@pytest.mark.parametrize("seed", COMPILED)
def test_compiled(seed, monkeypatch):
    check_all(seed, 300, monkeypatch)


@pytest.mark.parametrize("seed", INTERPRETED)
def test_interpreted(seed, monkeypatch):
    with mode.running("interpreted"):
        check_all(seed, 60, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", INTERPRETED_SLOW)
def test_interpreted_more(seed, monkeypatch):
    with mode.running("interpreted"):
        check_all(seed, 60, monkeypatch)


@ot.operator(key="key")
class Counts:
    count: ot.i64 = 0

    def on_tick(self, t: Tick) -> Tick | None:
        self.count += 1
        return None


def test_steps_are_matched_by_their_parameters_then_their_place_then_their_name():
    def pipeline(*, is_filtered, widths):
        ticks = ot.source(Tick, name="ticks")
        given = ticks.filter(ot.c.key > 1) if is_filtered else ticks
        windows = {f"w{w}": given.window(w, by=ot.c.key).agg(n=ot.count()) for w in widths}
        return ot.Pipeline(**windows, tick=Counts(given))

    before = pipeline(is_filtered=False, widths=(10, 20))
    after = pipeline(is_filtered=True, widths=(20, 5, 10))
    names = [
        (before.nodes[old].manifest().get("width_ns"), after.nodes[new].manifest().get("width_ns"))
        for new, old in matched(before, after).items()
    ]
    assert (10, 10) in names
    assert (20, 20) in names


def test_an_output_keeps_its_record_and_a_tape_its_sources():
    ticks = ot.source(Tick, name="ticks")
    old = make(ot.Pipeline(out=ticks))
    with pytest.raises(OperatorError, match=r"output 'out' was Tick.*give it another name"):
        succeed(old, planner.plan(ot.Pipeline(out=ticks.select(ot.c.key))))
    other = ot.source(Tick, name="tocks")
    with pytest.raises(OperatorError, match="a tape keeps its sources"):
        succeed(old, planner.plan(ot.Pipeline(out=other)))
