"""Session windows and batches against the naive engine, and what they promise one by one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.engine.parts import Chain, Tick
from tests.engine.running import Clock, End, Reusable, Rows, frames, refused
from tests.naive import engine as naive

import onetape as ot
from onetape import c
from onetape.engine.batches import batches
from onetape.records import DeclarationError

A, B = 0, 1


def make_pipeline():
    a = ot.source(Tick, name="a", lateness=12, idle=20)
    b = ot.source(Tick, name="b", idle=20)
    short = ot.session(a, Chain, gap=3, key="key")
    both = ot.session(ot.merge(b, a), Chain, gap=25, key="key")
    return ot.Pipeline(
        short=short, late=short.late, both=both, both_late=both.late,
        batch=batches(a, Chain, rows=3, key="key"), one=batches(b, Chain, rows=1, key="key"),
    )  # fmt: skip


PIPELINE = make_pipeline()


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def engine(request):
    return Reusable(PIPELINE, running=request.param)


ticks = st.builds(
    Tick, st.integers(0, 120), st.sampled_from([-1, 0, 1, 70_000]), st.integers(-9, 9)
)
steps = st.lists(
    st.one_of(
        st.builds(Rows, st.sampled_from([A, B]), st.lists(ticks, min_size=1, max_size=12)),
        st.builds(Clock, st.sampled_from([A, B]), st.integers(0, 250)),
    ),
    max_size=12,
)
ends = st.permutations([End(A), End(B)]).flatmap(lambda e: st.sampled_from([e, e[:1], []]))


@st.composite
def near(draw):
    """Times that wander: within the lateness for the most part, so that sessions meet."""
    now, out = 0, []
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.integers(-6, 8))
        out.append(Tick(max(now, 0), draw(st.sampled_from([0, 1])), draw(st.integers(-9, 9))))
    return [Rows(A, [tick]) for tick in out]


@given(st.one_of(steps, near()), ends)
@example([Rows(A, [Tick(t, 0, 1) for t in (10, 14, 12)])], [End(A), End(B)])
def test_equal_to_the_naive_engine(engine, script, end):
    script = [*script, *end]
    twin = naive.run(PIPELINE, script)

    ran = engine.run(frames(script), digests=False)

    assert ran.rows == twin.rows
    assert ran.origins == twin.origins
    assert refused(ran) == refused(twin)


@pytest.fixture(scope="module")
def columns():
    ticks = ot.source(Tick, name="ticks", idle=50)
    return Reusable(ot.Pipeline(
        visits=ticks.session(10, by=c.key).agg(rows=ot.count(), most=c.value.max()),
        fives=ticks.batches(5, by="key").agg(sum=c.value.sum(), first=c.value.first()),
    ))  # fmt: skip


def test_a_pause_of_the_gap_ends_a_session_and_a_shorter_one_does_not(columns):
    rows = [Tick(t, 1, t) for t in (0, 9, 18, 28)]

    ran = columns.run(frames([Rows(0, rows), End(0)]))

    assert ran.rows["visits"] == [(28, 1, 3, 18, 0), (38, 1, 1, 28, 0)]


def test_the_session_of_a_silent_source_ends_at_its_idle_limit(columns):
    ran = columns.run(frames([Rows(0, [Tick(5, 1, 7)]), Clock(0, 64)]))
    assert ran.rows["visits"] == []

    ran = columns.run(frames([Rows(0, [Tick(5, 1, 7)]), Clock(0, 65)]))
    assert ran.rows["visits"] == [(15, 1, 1, 7, 0)]


def test_a_batch_is_told_with_its_last_row_and_an_unfull_one_never(columns):
    rows = [Tick(t, t % 2, t) for t in range(23)]

    ran = columns.run(frames([Rows(0, rows), End(0)]))

    assert ran.rows["fives"] == [(8, 0, 20, 0, 0), (9, 1, 25, 1, 0), (18, 0, 70, 10, 0),
                                 (19, 1, 75, 11, 0)]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": 0}, "session gap was 0 ns; expected a pause"),
        ({"gap": "5 parsecs"}, "5 parsecs"),
        ({"capacity": 0}, "session capacity was 0; expected 1 key or more"),
        ({"key": "kay"}, "keyed by 'kay', which Tick does not have"),
    ],
)
def test_a_session_that_cannot_be_says_why(options, message):
    with pytest.raises(DeclarationError, match=message):
        ot.session(ot.source(Tick), Chain, **{"gap": "1s", "key": "key"} | options)


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "5"])
def test_a_batch_of_no_rows_says_why(rows):
    with pytest.raises(DeclarationError, match="expected a whole number, 1 or more"):
        ot.source(Tick).batches(rows, by="key").agg(n=ot.count())
