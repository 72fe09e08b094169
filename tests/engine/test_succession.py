"""A version takes over from another: where nothing has changed in it, nothing shows.

Random graphs, cut at random: what the two engines give, one after the other, is what one gives.
"""

import random

import pytest
from tests.engine import graphs
from tests.engine.graphs import cut, random_pipeline, random_steps
from tests.engine.parts import Tick
from tests.engine.running import End, Rows, frames, make, run_engine

import onetape as ot
from onetape.compiled import mode
from onetape.engine import planner
from onetape.engine.digest import state_digest
from onetape.engine.engine import StepError
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


@ot.record
class Hit:
    ts_event_ns: ot.i64
    start_ns: ot.i64


LEAST = 2


def looks_for(*values, when_full="halt", within="1us", at_most=4, skip="none", gives=0):
    """One value after the other, of one key."""
    conditions = [
        lambda e: e.value == 1,
        lambda e: e.value == 2,
        lambda e: e.value == 3,
        lambda e: e.value >= LEAST,
    ]
    p = ot.Pattern(by="key", within=within, at_most=at_most, when_full=when_full, skip=skip)
    for n, value in enumerate(values):
        p = (p.then if n else p.begin)("abcd"[n], conditions[value - 1])
    hits = p.emit([lambda m: Hit(m.end_ns, m.start_ns), lambda m: Hit(m.end_ns, 7)][gives])
    return ot.Pipeline(hit=ot.source(Tick, name="ticks") >> hits)


def swapped(before, after, values, at, **rules):
    """(what became of the state, the rows before, those after) of a swap in front of value `at`."""
    ticks = [Rows(0, [Tick(10 * (n + 1), 1, value)]) for n, value in enumerate(values)]
    pieces = frames([*ticks, End(0)])
    old = make(before)
    first = run_engine(old, pieces[:at])
    succession = succeed(old, planner.plan(after), **rules)
    succession.take_over()
    return succession.steps, first.rows, run_engine(succession.engine, pieces[at:]).rows


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (looks_for(1, 2, 3), r"steps .*then b: e.value == 2; then c: e.value == 3"),
        (looks_for(1, 3), r"steps .*then b: e.value == 3"),
        (looks_for(2, 2), "steps"),
        (looks_for(1, 2, within="2us"), "within_ns"),
        (looks_for(1, 2, skip="to_next"), "skip"),
        (looks_for(1, 2, at_most=5), "at_most"),
    ],
)
def test_partial_matches_are_of_one_pattern(other, said):
    values = [1, 2, 3, 1, 2, 3]
    with mode.running("interpreted"):
        with pytest.raises(OperatorError, match=f"pattern_hit: it cannot go on.*{said}.*begins em"):
            swapped(looks_for(1, 2), other, values, 1)
        steps, _, _ = swapped(looks_for(1, 2), other, values, 1, drop_state=True)
        assert steps["pattern_hit"].startswith("is dropped: it cannot go on")

        same = looks_for(1, 2, when_full="drop_newest", gives=1)
        steps, first, second = swapped(looks_for(1, 2), same, values, 1)
    assert (steps, first["hit"]) == ({"pattern_hit": "is kept"}, [])
    assert [(h[0], h[1]) for h in second["hit"]] == [(20, 7), (50, 7)]


def test_what_a_condition_names_is_part_of_it(monkeypatch):
    before = looks_for(1, 4)
    monkeypatch.setattr(f"{__name__}.LEAST", 3)
    with pytest.raises(OperatorError, match="kept with conditions"):
        swapped(before, looks_for(1, 4), [1, 2], 1)


@pytest.mark.parametrize("when_full", ["halt", "drop_oldest", "drop_newest"])
def test_a_step_that_the_pattern_does_not_have_halts_and_writes_nothing(when_full):
    pieces = frames([*[Rows(0, [Tick(10 * n, 1, 1)]) for n in (1, 2, 3)], End(0)])
    engine = make(looks_for(1, 2, when_full=when_full, at_most=1))
    with mode.running("interpreted"):
        run_engine(engine, pieces[:1])
        runs = next(a for n, a in engine.arrays.items() if n.endswith("_runs"))
        runs["step"][runs["start_ns"] != 0] = 9
        before = runs[1:].copy()
        with pytest.raises(StepError, match="not of this pattern"):
            run_engine(engine, pieces[1:])
    assert (runs[1:] == before).all()


@ot.operator(key="key")
class Same:
    def on_tick(self, t: Tick) -> Tick:
        return Tick(t.ts_event_ns, t.key, t.value)


def test_state_is_read_by_what_it_was_kept_by():
    a, b = (ot.source(Tick, name=name) for name in "ab")
    c = ot.c
    fa, fb = (Same(s) for s in (a, b))

    def refused(said, before, after):
        outputs = [{"a": a, "b": b, "out": out} for out in (before, after)]
        with pytest.raises(OperatorError, match=said):
            succeed(make(ot.Pipeline(**outputs[0])), planner.plan(ot.Pipeline(**outputs[1])))

    def window(**options):
        return a.window("10s", by=c.key, **options).agg(n=c.value.sum())

    def joined(left, right, **options):
        asked = {"within": ("0ns", "10ns"), "by": c.key} | options
        return left.interval_join(right, **asked)

    refused("what its columns keep", window(), a.window("10s", by=c.key).agg(n=c.value.max()))
    refused("every_ns", window(), window(every="5s"))
    refused("lateness_ns", window(), window(lateness="5s"))
    refused("input left .a. and would be read with .b.", joined(fa, fb), joined(fb, fa))
    refused("most_ns", joined(a, b), joined(a, b, within=("0ns", "20ns")))
    refused("input left", joined(fa, fb, order="event_time"), joined(fb, fa, order="event_time"))
    refused("how", joined(a, b), joined(a, b, how="left"))
