"""When windows give rows besides at their end, what closes each kind, and windows of all keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.parts import Chain, Summary, Tick, Trail
from tests.engine.running import Clock, End, Reusable, Rows, feed, frames, refused
from tests.naive import engine as naive

import onetape as ot
from onetape import c
from onetape import market as mk
from onetape.compiled import mode
from onetape.engine import aggregate, layout, window
from onetape.engine.batches import batches
from onetape.engine.explain import text as explained
from onetape.engine.planner import plan
from onetape.records import DeclarationError

A, B = 0, 1
IDLE_NS = 20
ENDS = [End(A), End(B)]


@aggregate
class Most:
    """Of the windows of all keys that end together: the largest count, and whose it is."""

    count: ot.i64 = 0
    of: ot.i64 = 0

    def add(self, s: Summary) -> None:
        if s.count > self.count:
            self.count = s.count
            self.of = s.key

    def result(self, key: int, start_ns: int, end_ns: int) -> Summary | None:
        return Summary(end_ns, start_ns, self.of, 0, self.count, 0)


def make_pipeline():
    a = ot.source(Tick, name="a", lateness=4, idle=IDLE_NS)
    b = ot.source(Tick, name="b", idle=IDLE_NS)
    both = ot.merge(a, b)
    early = window(a, Chain, width=20, early=5, lateness=15, key="key")
    slides = window(both, Chain, width=20, every=5, lateness=10, key="key")
    return ot.Pipeline(
        early=early,
        early_late=early.late,
        each=window(both, Chain, width=10, emit="each", lateness=7),
        slides=slides,
        slides_late=slides.late,
        trail=window(both, Trail, width=15, every=5, key="key"),
        session=ot.session(a, Trail, gap=6, emit="each", key="key"),
        batch=batches(both, Chain, rows=3, emit="each"),
        most=window(window(a, Chain, width=15, every=5, key="key"), Most, width=1),
    )


PIPELINE = make_pipeline()


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def engine(request):
    return Reusable(PIPELINE, running=request.param)


ticks = st.builds(Tick, st.integers(0, 120), st.sampled_from([-1, 0, 70_000]), st.integers(-9, 9))
steps = st.lists(
    st.one_of(
        st.builds(Rows, st.sampled_from([A, B]), st.lists(ticks, min_size=1, max_size=12)),
        st.builds(Clock, st.sampled_from([A, B]), st.integers(0, 250)),
    ),
    max_size=12,
)


@st.composite
def near(draw):
    """Times that wander: many late by a little."""
    now, out = 0, []
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.integers(-7, 9))
        tick = Tick(max(now, 0), draw(st.sampled_from([0, 1])), draw(st.integers(-9, 9)))
        out.append(Rows(draw(st.sampled_from([A, A, B])), [tick]))
    return out


def check(engine, script):
    twin = naive.run(PIPELINE, script)

    ran = engine.run(frames(script), digests=False)

    assert ran.rows == twin.rows
    assert ran.origins == twin.origins
    assert refused(ran) == refused(twin)
    return ran


@given(st.one_of(steps, near()), st.sampled_from([ENDS, ENDS[:1], []]))
def test_equal_to_the_naive_engine(engine, script, ends):
    check(engine, [*script, *ends])


def told(ran, output):
    """(end, count, flags) of the rows of an output."""
    return [(row[0], row[4], row[5]) for row in ran.rows[output]]


def at(*times, key=0, source=A):
    return Rows(source, [Tick(t, key, 1) for t in times])


# --- early, each, late ----------------------------------------------------------------------------


def test_a_window_is_told_early_where_it_has_changed_and_once_at_its_end(engine):
    ran = check(engine, [End(B), at(1, 2, 12, 30, 31), End(A)])

    assert told(ran, "early") == [
        (20, 2, mk.EARLY), (20, 3, mk.EARLY), (20, 3, 0), (40, 2, mk.EARLY), (40, 2, 0),
    ]  # fmt: skip


def test_a_late_event_within_lateness_tells_its_window_again(engine):
    # Time is 36 after the second row; the window until 20 is kept until 35 passes.
    ran = check(engine, [End(B), at(1, 30), at(19), at(40), at(18), End(A)])

    assert told(ran, "early")[:3] == [(20, 1, mk.EARLY), (20, 1, 0), (20, 2, mk.LATE)]
    assert [row[0] for row in ran.rows["early_late"]] == [18]


def test_one_that_makes_a_window_late_makes_its_first_row(engine):
    ran = check(engine, [End(B), at(30), at(19), End(A)])

    assert told(ran, "early")[0] == (20, 1, mk.LATE)


def test_a_sliding_window_tells_all_again_that_hold_the_late_event(engine):
    ran = check(engine, [End(A), at(10, 32, source=B), at(29, source=B), End(B)])

    late = [row for row in told(ran, "slides") if row[2] == mk.LATE]
    assert late == [(30, 2, mk.LATE)]
    assert (35, 2, 0) in told(ran, "slides")


def test_each_row_of_an_open_window_and_then_the_last(engine):
    ran = check(engine, [End(B), at(1, 2, 3), End(A)])

    assert told(ran, "each") == [(10, n, mk.EARLY) for n in (1, 2, 3)] + [(10, 3, 0)]


def test_a_batch_and_a_session_tell_how_far_they_are(engine):
    ran = check(engine, [End(B), at(1, 2, 3, 4), End(A)])

    flags = [row[5] for row in ran.rows["batch"]]
    assert flags == [mk.EARLY, mk.EARLY, 0, mk.EARLY]
    assert [(row[0], row[5]) for row in ran.rows["session"]] == [
        (7, mk.EARLY), (8, mk.EARLY), (9, mk.EARLY), (10, mk.EARLY), (10, 0),
    ]  # fmt: skip


# --- windows over windows, all keys ---------------------------------------------------------------


def test_rows_of_windows_that_end_together_are_one_window_of_a_nanosecond(engine):
    rows = [Tick(t, key, 1) for t, key in ((1, 0), (2, 70_000), (3, 70_000), (7, 0))]

    ran = check(engine, [End(B), Rows(A, rows), End(A)])

    assert [(row[1], row[2], row[4]) for row in ran.rows["most"]] == [
        (5, 70_000, 2), (10, 0, 2), (15, 0, 2), (20, 0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_without_by_all_rows_have_one_window(running):
    ticks = ot.source(Tick, name="ticks")
    pipeline = ot.Pipeline(
        second=ticks.window(10).agg(n=ot.count(), key=c.key.last()),
        visit=ticks.session(5).agg(n=ot.count()),
        pair=ticks.batches(2).agg(n=c.value.sum()),
    )
    rows = [Tick(t, t, t) for t in (0, 3, 11)]

    ran = Reusable(pipeline, running=running).run(frames([Rows(0, rows), End(0)]))

    assert ran.rows["second"] == [(10, 2, 3, 0), (20, 1, 11, 0)]
    assert ran.rows["visit"] == [(8, 2, 0), (16, 1, 0)]
    assert ran.rows["pair"] == [(3, 3, 0)]


# --- silence --------------------------------------------------------------------------------------


def make_silent():
    ticks = ot.source(Tick, name="ticks", idle=IDLE_NS)
    slides = ticks.window(10, every=5, by=c.key).agg(n=ot.count())
    return ot.Pipeline(
        tumbling=ticks.window(10, by=c.key).agg(n=ot.count()),
        sliding=slides,
        all_keys=ticks.window(10).agg(n=ot.count()),
        early=ticks.window(10, by=c.key, early=5).agg(n=ot.count()),
        again=ticks.window(10, by=c.key, lateness=5).agg(n=ot.count()),
        each=ticks.window(10, by=c.key, emit="each").agg(n=ot.count()),
        trail=ticks.window(10, by=c.key).agg(mean=c.value.twap()),
        session=ticks.session(8, by=c.key).agg(n=ot.count()),
        of_windows=slides.window(1).agg(n=c.n.sum()),
        batch=ticks.batches(2, by=c.key).agg(n=ot.count()),
    )


# (output, when the window of an event at 2 ends)
CLOSES = [("tumbling", 10), ("sliding", 10), ("all_keys", 10), ("early", 10), ("again", 10),
          ("each", 10), ("trail", 10), ("session", 10), ("of_windows", 11)]  # fmt: skip


@pytest.fixture(scope="module")
def silent():
    return Reusable(make_silent())


@pytest.mark.parametrize(("output", "end_ns"), CLOSES)
def test_an_idle_source_holds_no_window_open_beyond_its_limit(silent, output, end_ns):
    """Its last word was at 2; from `end + idle` on by the receiver's clock the window is closed."""

    def ends(now_ns):
        script = [Rows(A, [Tick(2, 1, 5)]), Clock(A, now_ns)]
        ran = silent.run(frames(script), digests=False)
        return [row[0] for row in ran.rows[output] if row[-1] == 0]

    assert end_ns not in ends(end_ns + IDLE_NS - 1)
    assert end_ns in ends(end_ns + IDLE_NS)


def test_time_closes_no_batch(silent):
    ran = silent.run(frames([Rows(A, [Tick(2, 1, 5)]), Clock(A, 10_000), End(A)]), digests=False)

    assert ran.rows["batch"] == []


# --- many keys at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_thousands_of_keys_that_close_at_once_do_so_in_turns(running):
    keys = 3 * layout.TIMERS_MAX + 7
    ticks = ot.source(Tick, name="ticks")
    made = Reusable(
        ot.Pipeline(n=ticks.window(10, by=c.key).agg(n=ot.count())),
        running=running, output_rows=1 << 13,
    )  # fmt: skip
    rows = [Tick(1, key, 1) for key in range(keys)]
    engine = made.fresh()
    turns, turn = [], engine.turn
    engine._turn = lambda *given: turns.append(turn(*given)) or turns[-1]

    with mode.running(running):
        told = [len(block) for _, block, _ in feed(engine, frames([Rows(A, rows), at(10)]))]

    assert turns == [layout.PAUSED] * 3 + [layout.DONE]
    assert told == [layout.TIMERS_MAX] * 3 + [7]


# --- declarations ---------------------------------------------------------------------------------


@ot.record
class Bare:
    ts_event_ns: ot.i64


@aggregate
class Unflagged:
    count: ot.i64 = 0

    def add(self, t: Tick) -> None:
        self.count += 1

    def merge(self, later: "Unflagged") -> None:
        self.count += later.count

    def result(self, key: int, start_ns: int, end_ns: int) -> Bare | None:
        return Bare(end_ns)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (Chain, {"every": 5, "early": 5}, "early is for tumbling windows: .* lies in 2 of these"),
        (Chain, {"every": 5, "emit": "each"}, "emit is for tumbling windows"),
        (Chain, {"early": 5, "emit": "each"}, "early adds nothing"),
        (Chain, {"early": 3}, "early was 3 ns; expected a part of the width"),
        (Chain, {"early": 10}, "early was 10 ns; expected a part of the width"),
        (Chain, {"emit": "always"}, "emit was 'always'; expected 'end' or 'each'"),
        (Chain, {"lateness": -1}, "lateness was -1 ns"),
        (Trail, {"lateness": 5}, "give the source the lateness instead"),
        (Unflagged, {"lateness": 5}, "Bare needs a field flags"),
        (Unflagged, {"emit": "each"}, "Bare needs a field flags"),
    ],
)
def test_triggers_that_cannot_be_say_why(spec, options, message):
    with pytest.raises(DeclarationError, match=message):
        window(ot.source(Tick), spec, **{"width": 10, "key": "key"} | options)


def test_carry_and_before_go_together():
    body = dict(vars(Trail.source))
    del body["carry"]
    with pytest.raises(DeclarationError, match="what was carried: before"):
        aggregate(type("Trail", (), body))


def test_explain_says_when_a_window_gives_rows_and_what_it_holds():
    said = explained(plan(PIPELINE))

    assert "width 20 ns every 20 ns, early every 5 ns, again until 15 ns late by key" in said
    assert "width 10 ns every 10 ns, again until 7 ns late, of all rows" in said
    assert "a row for each event, too" in said
    assert "at most 65,536 keys, each with 8 times 24 bytes" in said
