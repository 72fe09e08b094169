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


@ot.record
class Order:
    ts_event_ns: ot.i64
    qty_lots: ot.i64
    instrument_id: ot.u32
    trader: ot.u16
    side: ot.u8


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_several_fields_are_one_key(running):
    orders = ot.source(Order, name="orders")
    by = (c.instrument_id, "trader", c.side)
    some = ot.Pipeline(
        second=orders.window(10, by=by).agg(lots=c.qty_lots.sum()),
        visit=orders.session(5, by=by).agg(lots=c.qty_lots.sum(), long_ns=c.ts_event_ns.last()
                                           - ot.start_ns()),
        pair=orders.batches(2, by=(c.trader, c.side)).agg(lots=c.qty_lots.sum()),
    )  # fmt: skip
    rows = [Order(t, 1 << t, i, trader, side) for t, i, trader, side in (
        (0, 2**32 - 1, 65_535, 255), (1, 7, 1, 66), (2, 7, 2, 66), (3, 2**32 - 1, 65_535, 255),
        (4, 7, 1, 65), (5, 7, 1, 66), (30, 7, 1, 66),
    )]  # fmt: skip

    ran = Reusable(some, running=running).run(frames([Rows(0, rows), End(0)]))

    far = (2**32 - 1, 65_535, 255)
    assert ran.rows["second"] == [
        (10, 7, 1, 65, 16, 0), (10, 7, 1, 66, 34, 0), (10, 7, 2, 66, 4, 0), (10, *far, 9, 0),
        (40, 7, 1, 66, 1 << 30, 0),
    ]  # fmt: skip
    assert ran.rows["visit"] == [
        (7, 7, 2, 66, 4, 0, 0), (8, *far, 9, 3, 0), (9, 7, 1, 65, 16, 0, 0),
        (10, 7, 1, 66, 34, 4, 0), (35, 7, 1, 66, 1 << 30, 0, 0),
    ]  # fmt: skip
    assert ran.rows["pair"] == [(3, 65_535, 255, 9, 0), (5, 1, 66, 34, 0)]


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (("trader", "trader"), "each once"),
        ((), "expected one field or several"),
        (("trader", "qty_lots"), "'qty_lots' is no u8, u16 or u32"),
        (("trader", "sides"), "sides"),
    ],
)
def test_keys_that_cannot_be_say_why(by, message):
    with pytest.raises(DeclarationError, match=message):
        ot.source(Order).window("1s", by=by).agg(n=ot.count())


def test_an_aggregate_class_takes_one_key():
    with pytest.raises(DeclarationError, match="an @aggregate class is told one key"):
        ot.source(Order).window("1s", by=("trader", "side")).agg(Chain)
