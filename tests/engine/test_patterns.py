"""Patterns: what the kernel finds is what the naive twins find, and what SQL would give."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.pattern_parts import Ping, made, random_pattern, random_pings
from tests.engine.running import End, Rows, frames, run, run_engine
from tests.naive.patterns import Watch, in_sql

import onetape as ot
from onetape.compiled import mode
from onetape.engine import explain, planner
from onetape.engine.engine import Engine, StepError
from onetape.records import OperatorError

SEEDS = st.integers(0, 2**32)


def run_pattern(pattern, pings, **options):
    found = ot.source(Ping, name="ping") >> pattern
    steps = [*(Rows(0, [ping]) for ping in pings), End(0)]
    return run(ot.Pipeline(found=found), frames(steps), digests=False, **options)


def watched(pattern, pings):
    """(rows, dropped) of the twin, all keys, in the order they are told; time is the last event."""
    keys, rows, now_ns = {}, [], 0

    def fire(until_ns):
        while True:
            dues = [(w.due(), k) for k, w in keys.items() if w.due() is not None]
            if not dues or min(dues)[0] > until_ns:
                return
            due, key = min(dues)
            rows.extend(keys[key].time(due))

    for ping in pings:
        now_ns = max(now_ns, ping.ts_event_ns)
        fire(now_ns)
        watch = keys.setdefault(ping.key, Watch(pattern))
        rows += watch.event(ping, now_ns)
    fire(2**62)
    return [tuple(row) for row in rows], sum(w.dropped for w in keys.values())


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_as_the_twin(seed):
    rng = random.Random(seed)
    pattern, text = random_pattern(rng)
    pings = random_pings(rng, 60, keys=3)
    with mode.running("interpreted"):
        ran = run_pattern(pattern, pings)

    rows, dropped = watched(pattern, pings)
    assert ran.rows["found"] == rows, text
    assert ran.counts.dropped_matches == dropped
    assert ran.counts.late_at_windows == ran.counts.ahead == 0


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_as_sql_by_backtracking(seed):
    rng = random.Random(seed)
    pattern, text = random_pattern(rng)
    roomy = text.replace(f"'at_most': {pattern.at_most}", "'at_most': 1000")
    pattern = made(roomy)
    pings = random_pings(rng, 10)
    with mode.running("interpreted"):
        ran = run_pattern(pattern, pings, output_rows=1 << 13)
        rows = ran.rows["found"]

    assert ran.counts.dropped_matches == 0, text
    assert sorted(taken_of(row) for row in rows) == sorted(
        counted(pattern, way, pings) for way in in_sql(pattern, pings)
    ), text


def taken_of(row):
    """(count, last number) of each step."""
    return row[3:5], (row[5], row[6]), (row[8], row[9]), (row[10], row[11])


def counted(pattern, way, pings):
    found = []
    for k in range(4):
        numbers = [pings[i].number for step, i in way if step == k]
        nothing = -(2**63) if k < len(pattern.steps) else 0
        found.append((len(numbers), numbers[-1] if numbers else nothing))
    return tuple(found)


# --- in every mode --------------------------------------------------------------------------------

MANY_FLOATS = """(Pattern(by='key', within=40, at_most=3, when_full='drop_oldest', skip='to_next')
.begin('a', lambda e: e.price > 2.5)
.then_any('b', lambda e, m: e.price < m.a.price, times=(1, 3), greedy=True)
.without('x', lambda e, m: e.price > m.b.max.price + m.a.price)
.then('c', lambda e, m: e.price * m.b.count > m.b.sum.price, times=(0, 1), greedy=True)
.emit(lambda m: Sums(m.end_ns, m.a.key, m.b.sum.price, m.b.min.price, m.c.price, m.b.sum.number)))
"""


@ot.record
class Price:
    ts_event_ns: ot.i64
    number: ot.i64
    price: ot.f64
    key: ot.u32


@ot.record
class Sums:
    ts_event_ns: ot.i64
    key: ot.u32
    total: ot.f64
    least: ot.f64
    last: ot.f64
    numbers: ot.i64


def check_modes(pipeline, steps):
    """Compiled, with bounds checks and interpreted; in one piece and in many."""
    whole = [run(pipeline, frames(steps), running=m) for m in ("interpreted", mode.current())]
    cut = run(pipeline, frames(steps), feeds=range(1, len(steps), 3), output_rows=1 << 10)
    for other in (whole[1], cut):
        assert repr(other.rows) == repr(whole[0].rows)  # NaN is not equal to itself
        assert (other.origins, other.counts, other.digests, other.state) == (
            whole[0].origins, whole[0].counts, whole[0].digests, whole[0].state
        )  # fmt: skip
    return whole[0]


def test_floats_sums_and_what_is_not_there_in_every_mode():
    rng = random.Random(5)
    pattern = made(MANY_FLOATS, Sums=Sums)
    pings = random_pings(rng, 300, keys=3, disorder=True)
    prices = [Price(p.ts_event_ns, p.number, p.value / 4 + 1, p.key) for p in pings]
    steps = [*(Rows(0, prices[i : i + 7]) for i in range(0, 300, 7)), End(0)]
    stream = ot.source(Price, name="price", lateness=5)

    ran = check_modes(ot.Pipeline(sums=stream >> pattern), steps)

    assert len(ran.rows["sums"]) > 20
    assert any(row[4] != row[4] for row in ran.rows["sums"])  # no c: not a number
    assert ran.counts.dropped_matches > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_patterns_in_every_mode(seed):
    rng = random.Random(seed)
    pattern, _ = random_pattern(rng)
    pings = random_pings(rng, 200, keys=3, disorder=True)
    stream = ot.source(Ping, name="ping", lateness=rng.choice([0, 5]))
    steps = [*(Rows(0, pings[i : i + 5]) for i in range(0, 200, 5)), End(0)]

    check_modes(ot.Pipeline(found=stream >> pattern), steps)


@pytest.mark.slow
@pytest.mark.skipif(mode.is_interpreted(), reason="nothing is compiled")
def test_compiled_apart_from_the_driver_too():
    pings = random_pings(random.Random(3), 100, keys=3)
    pipeline = ot.Pipeline(
        found=ot.source(Ping, name="ping") >> random_pattern(random.Random(11))[0]
    )
    steps = frames([Rows(0, pings), End(0)])
    apart = run_engine(Engine(planner.plan(pipeline, apart=True), 1 << 10), steps)

    assert apart.rows == run(pipeline, steps, running="interpreted").rows
    assert len(apart.rows["found"]) > 0


# --- one thing at a time --------------------------------------------------------------------------


def found(lines, values, *, every_ns=1, **head):
    """(end, last number of a, last number of b) of each match in events of these values."""
    head = {"by": "key", "capacity": 8} | head
    text = f"(Pattern(**{head!r})" + lines + ".emit(lambda m: Found(m.end_ns, m.start_ns, 0, "
    text += "m.a.count, 0, m.b.count, 0, 0, 0, 0, 0, 0)))"
    pings = [Ping(10 + n * every_ns, n, value, 1) for n, value in enumerate(values)]
    with mode.running("interpreted"):
        ran = run_pattern(made(text), pings)
    return [(row[0] - 10, row[1] - 10, row[3], row[5]) for row in ran.rows["found"]], ran


UP = ".begin('a', lambda e: e.value == 1).{how}('b', lambda e: e.value == 2{options})"


@pytest.mark.parametrize(
    ("how", "options", "values", "ends"),
    [
        ("next", "", [1, 2, 1, 0, 2], [1]),
        ("then", "", [1, 2, 1, 0, 2, 2], [1, 4]),
        ("then_any", "", [1, 2, 0, 2], [1, 3]),
        ("then", ", times=2", [1, 2, 0, 2, 2], [3]),
        ("then", ", times=2, in_a_row=True", [1, 0, 2, 0, 2, 2], []),
        ("then", ", times=2, in_a_row=True", [1, 0, 2, 2], [3]),
        ("next", ", times=(1, 3), greedy=True", [1, 2, 2, 0], [3]),  # known when it is over
        ("next", ", times=(1, 3), greedy=True", [1, 2, 2, 2, 2], [3]),
        ("next", ", times=(1, None), greedy=True", [1, 2, 2, 2, 0], [4]),
        ("next", ", times=(1, 3)", [1, 2, 2, 0], [1]),
        ("then", ", times=(0, 1), greedy=True", [1, 0, 0], [8]),  # by the timer
    ],
)
def test_contiguity_and_repetition(how, options, values, ends):
    rows, _ = found(UP.format(how=how, options=options), values, within=8)

    assert [row[0] for row in rows] == ends


def test_shorter_than_within():
    rows, _ = found(UP.format(how="then", options=""), [1, 2, 0, 1, 0, 2], within=2, every_ns=1)

    assert [row[:2] for row in rows] == [(1, 0)]


def test_what_does_not_come_is_told_by_time():
    lines = ".begin('a', lambda e: e.value == 1).then('b', lambda e: e.value == 2)"
    lines += ".without('x', lambda e: e.value == 3)"

    assert found(lines, [1, 2, 0, 0], within=9)[0] == [(9, 0, 1, 1)]
    assert found(lines, [1, 2, 0, 3], within=9)[0] == []
    assert found(lines, [1, 3, 2, 0], within=9)[0] == [(9, 0, 1, 1)]  # not after b


@pytest.mark.parametrize(
    ("skip", "starts"),
    [("none", [0, 1, 2]), ("past_last", [0]), ("to_next", [0, 1, 2]), ("to_last a", [0, 2])],
)
def test_where_to_go_on(skip, starts):
    lines = ".begin('a', lambda e: e.value == 1, times=(1, 3), greedy=True, in_a_row=True)"
    lines += ".next('b', lambda e: e.value == 2)"

    assert [row[1] for row in found(lines, [1, 1, 1, 2], skip=skip)[0]] == starts


@pytest.mark.parametrize(
    ("when_full", "starts"), [("drop_oldest", [2, 3]), ("drop_newest", [0, 1])]
)
def test_more_than_at_most(when_full, starts):
    lines = UP.format(how="then", options="")
    rows, ran = found(lines, [1, 1, 1, 1, 2], at_most=2, when_full=when_full)

    assert [row[1] for row in rows] == starts
    assert ran.counts.dropped_matches == 2


def test_more_than_at_most_halts():
    with pytest.raises(StepError, match=r"pattern_found.*at_most; raise it.*the pipeline halts"):
        found(UP.format(how="then", options=""), [1, 1, 1, 1, 2], at_most=2)


GOES = """Pattern(by='number', {}capacity=4).begin('a', lambda e: e.value > 3)
.then('b', lambda e: e.value > 8)
.emit(lambda m: Ping(m.end_ns, m.a.number, m.b.value, 1)))"""


def test_more_keys_than_capacity_halts():
    pattern = made("(" + GOES.format(""), Ping=Ping)
    with mode.running("interpreted"):
        quiet = run_pattern(pattern, [Ping(n, n, 3, 1) for n in range(100)])
        with pytest.raises(OperatorError, match="pattern_ping is at capacity"):
            run_pattern(pattern, [Ping(n, n, 4, 1) for n in range(100)])

        pattern = made("(" + GOES.format("within=2, "), Ping=Ping)
        gone = run_pattern(pattern, [Ping(n, n, 4, 1) for n in range(100)])

    assert gone.rows["found"] == quiet.rows["found"] == []  # what has nothing open takes no room


def test_a_def_a_kernel_and_a_constant_of_the_file_may_be_a_condition():
    def is_large(e):
        return e.value >= LARGE

    @ot.kernel
    def follows(e, m):
        return e.number == m.large.number + 1

    pattern = ot.Pattern(by="key").begin("large", is_large).then("after", follows)
    pattern = pattern.emit(lambda m: Ping(m.end_ns, m.after.number, LARGE, m.after.key))
    pings = [Ping(n, n, value, 1) for n, value in enumerate([1, 7, 2, 8])]

    with mode.running("interpreted"):
        assert run_pattern(pattern, pings).rows["found"] == [(2, 2, LARGE, 1)]


LARGE = 7


def test_explain_tells_steps_capacity_and_policy():
    pattern = made(MANY_FLOATS, Sums=Sums)
    plan = planner.plan(ot.Pipeline(sums=ot.source(Price, name="price") >> pattern))
    said = explain.text(plan, driver=True)

    assert "begin a: e.price > 2.5" in said
    assert "then_any b (1 to 3 times, greedy): e.price < m.a.price" in said
    assert "without x: e.price > m.b.max.price + m.a.price" in said
    assert "within 40 ns, by key; skip to_next" in said
    assert "at most 3 partial matches a key, then the oldest is dropped, counted" in said
    assert "def on_event(key, e, is_first" in said
