"""Columns against the same thing said in plain Python, and the same thing as an operator class."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import End, Reusable, Rows, frames, run

import onetape as ot
from onetape import c
from onetape.records.market import OPEN, Alert


@ot.record
class Deal:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    qty_lots: ot.i64
    sequence: ot.i64
    share: ot.f64
    order_id: ot.u64
    key: ot.u32
    side: ot.u8
    levels: ot.Array[ot.i64, 2]


@ot.record
class Mark:
    ts_event_ns: ot.i64
    mark_ticks: ot.i64
    share: ot.f64
    key: ot.u32


def make_pipeline():
    deals = ot.source(Deal, name="deals")
    windows = deals.window(10, every=5, by=c.key).agg(
        lots=c.qty_lots.sum(),
        rows=ot.count(),
        vwap=(c.price_ticks * c.qty_lots).sum() // c.qty_lots.abs().max(1).sum(),
        least=c.price_ticks.min(),
        greatest=(c.price_ticks - c.qty_lots).max(),
        first=c.order_id.first(),
        last=c.side.last(),
        mean=c.price_ticks.mean(),
    )
    return ot.Pipeline(
        some=deals.filter((c.qty_lots > 2) | (c.side == "B"), c.price_ticks != 0),
        columns=deals.select(
            c.key,
            c.levels,
            c.order_id.alias("id"),
            up=c.price_ticks.is_set() & ~(c.price_ticks < 3),
            size=ot.when(c.side == "B").then(c.qty_lots).otherwise(-c.qty_lots),
            clipped=c.price_ticks.clip(-5, 5),
            floored=c.price_ticks // 3,
            rest=c.price_ticks % -4,
            ratio=c.price_ticks / 4,
            smaller=c.price_ticks.min(c.qty_lots),
            part=c.share * 2.0,
        ).filter(c.size != 1),
        more=deals.with_columns(notional=c.price_ticks * c.qty_lots, key=c.key + 1),
        windows=windows,
    )


def make_joined():
    deals, marks = ot.source(Deal, name="deals"), ot.source(Mark, name="marks")
    joined = deals.asof_join(marks, by="key", max_age=7)
    over = joined.filter(c.price_ticks > c.mark_ticks)
    return ot.Pipeline(joined=joined, alert=over.alert("over", once_per=20, by=c.key))


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def engine(request):
    return Reusable(make_pipeline(), running=request.param)


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def joining(request):
    return Reusable(make_joined(), running=request.param)


small = st.integers(-20, 20)
deals = st.builds(
    Deal,
    st.just(0),
    small,
    small,
    st.integers(0, 99),
    st.sampled_from([0.0, 0.5, -1.25]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2),
    st.sampled_from([ord("A"), ord("B")]),
    st.tuples(small, small),
)
marks = st.builds(Mark, st.just(0), small, st.sampled_from([0.25, 4.0]), st.integers(0, 2))


@st.composite
def days(draw, kinds):
    now, steps = 0, []
    for row in draw(st.lists(kinds, max_size=30)):
        now += draw(st.integers(0, 6))
        steps.append(Rows(int(isinstance(row, Mark)), [row._replace(ts_event_ns=now)]))
    return steps


@given(days(deals))
def test_columns_say_what_plain_python_says(engine, steps):
    rows = [row for step in steps for row in step.rows]
    ran = engine.run(frames([*steps, End(0)]))

    assert ran.rows["some"] == [
        told(d)
        for d in of(Deal, rows)
        if (d.qty_lots > 2 or d.side == ord("B")) and d.price_ticks != 0
    ]
    assert ran.rows["columns"] == [row for row in map(selected, of(Deal, rows)) if row[5] != 1]
    assert ran.rows["more"] == [
        (*told(d._replace(key=d.key + 1)), d.price_ticks * d.qty_lots) for d in of(Deal, rows)
    ]
    assert sorted(ran.rows["windows"]) == sorted(windowed(of(Deal, rows)))


@given(days(st.one_of(deals, deals, marks)))
def test_a_row_is_joined_with_what_was_known_then(joining, steps):
    rows = [row for step in steps for row in step.rows]
    ran = joining.run(frames([*steps, End(0), End(1)]))

    joined = list(as_of(rows))
    assert ran.rows["joined"] == [(*told(d), m.mark_ticks, m.share) for d, m in joined]
    assert [
        (a.ts_event_ns, a.instrument_id, a.events_count, a.evidence_sequence[0], a.state)
        for a in (Alert(*row) for row in ran.rows["alert"])
    ] == alerts(joined)


def of(kind, rows):
    return [row for row in rows if isinstance(row, kind)]


def told(deal):
    """A deal as the tests read rows: arrays as lists."""
    return (*deal[:-1], list(deal.levels))


def selected(d):
    size = d.qty_lots if d.side == ord("B") else -d.qty_lots
    return (
        d.ts_event_ns,
        d.key,
        list(d.levels),
        d.order_id,
        int(d.price_ticks >= 3),
        size,
        max(-5, min(5, d.price_ticks)),
        d.price_ticks // 3,
        d.price_ticks % -4,
        d.price_ticks / 4,
        min(d.price_ticks, d.qty_lots),
        d.share * 2,
    )


def windowed(rows):
    for key in {d.key for d in rows}:
        for end in range(5, 400, 5):
            own = [d for d in rows if d.key == key and end - 10 <= d.ts_event_ns < end]
            if own:
                yield (
                    end,
                    key,
                    sum(d.qty_lots for d in own),
                    len(own),
                    sum(d.price_ticks * d.qty_lots for d in own)
                    // sum(max(abs(d.qty_lots), 1) for d in own),
                    min(d.price_ticks for d in own),
                    max(d.price_ticks - d.qty_lots for d in own),
                    own[0].order_id,
                    own[-1].side,
                    float(Fraction(sum(d.price_ticks for d in own), len(own))),
                    0,
                )


def as_of(rows):
    last = {}
    for row in rows:
        if isinstance(row, Mark):
            last[row.key] = row
        elif row.key in last and row.ts_event_ns - last[row.key].ts_event_ns <= 7:
            yield row, last[row.key]


def alerts(joined):
    found, last, untold = [], {}, {}
    for d, m in joined:
        if d.price_ticks <= m.mark_ticks:
            continue
        if d.key in last and d.ts_event_ns - last[d.key] < 20:
            untold[d.key] += 1
            continue
        found.append((d.ts_event_ns, d.key, untold.get(d.key, 0) + 1, d.sequence, OPEN))
        last[d.key], untold[d.key] = d.ts_event_ns, 0
    return found


@ot.record
class Big:
    ts_event_ns: ot.i64
    key: ot.u32
    notional: ot.i64


@ot.operator
class Bigger:
    def on_deal(self, d: Deal, *, than: int = 100) -> Big | None:
        if d.price_ticks * d.qty_lots <= than:
            return None
        return Big(d.ts_event_ns, d.key, d.price_ticks * d.qty_lots)


def test_columns_and_a_class_give_the_same_rows():
    deals = ot.source(Deal, name="deals")
    by_columns = deals.filter(c.price_ticks * c.qty_lots > 100).select(
        c.key, notional=c.price_ticks * c.qty_lots
    )
    pipeline = ot.Pipeline(by_class=Bigger(deals, than=100), by_columns=by_columns)
    rows = [Deal(i, i, i % 13, i, 0.0, 0, i % 3, ord("A"), (0, 0)) for i in range(200)]

    ran = run(pipeline, frames([Rows(0, rows), End(0)]))

    assert ran.rows["by_class"] == ran.rows["by_columns"] != []


@ot.record
class Print:
    ts_event_ns: ot.i64
    sequence: ot.i64
    key: ot.u32
    price_ticks: ot.i64


@ot.record
class Quote:
    ts_event_ns: ot.i64
    sequence: ot.i64
    key: ot.u32
    mid_ticks: ot.i64


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_strictly_joins_with_what_an_earlier_message_said(running):
    prints, quotes = ot.source(Print, name="prints"), ot.source(Quote, name="quotes")
    met = prints.asof_join(quotes, by=c.key, strictly=True, max_age=5)
    left = prints.asof_join(quotes, by=c.key)
    steps = [
        Rows(0, [Print(1, 1, 7, 50)]),  # nothing is known yet
        Rows(1, [Quote(2, 2, 7, 100)]),
        Rows(0, [Print(2, 2, 7, 51)]),  # its own quote is the first there is
        Rows(1, [Quote(3, 3, 7, 101), Quote(3, 3, 7, 102)]),  # of one message: the last counts
        Rows(0, [Print(3, 3, 7, 52), Print(4, 4, 7, 53)]),
        Rows(1, [Quote(20, 5, 7, 103)]),
        Rows(0, [Print(20, 5, 7, 54)]),  # the one before its own is too old
    ]

    ran = run(ot.Pipeline(met=met, left=left), frames([*steps, End(0), End(1)]), running=running)

    assert [(row[1], row[-1]) for row in ran.rows["met"]] == [(3, 100), (4, 102)]
    assert [(row[1], row[-1]) for row in ran.rows["left"]] == [(2, 100), (3, 102), (4, 102),
                                                             (5, 103)]  # fmt: skip


def test_strictly_needs_the_number_of_the_message():
    deals, marks = ot.source(Deal, name="deals"), ot.source(Mark, name="marks")
    with pytest.raises(ot.OnetapeError, match="the field `sequence` of both sides"):
        deals.asof_join(marks, by="key", strictly=True)
