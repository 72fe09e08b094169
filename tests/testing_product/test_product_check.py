"""`testing.check`: what must hold, and what it says when it does not."""

import random

import pytest
from tests.engine.graphs import random_pipeline, random_steps
from tests.engine.running import Clock, Rows

import onetape as ot
from onetape import market as mk
from onetape import testing
from onetape.compiled import mode
from onetape.compiled.kernel import kernel
from onetape.engine.engine import StepError
from onetape.records import OperatorError
from onetape.runtimes.standard import market_watch
from onetape.testing import checking, engines


@ot.record
class Price:
    ts_event_ns: ot.i64
    key: ot.i64
    ticks: ot.i64


@ot.operator(key="key")
class Change:
    wake_ns: ot.i64 = ot.UNSET
    last_ticks: ot.i64 = 0

    def on_price(self, p: Price) -> Price | None:
        was, self.last_ticks = self.last_ticks, p.ticks
        self.wake_ns = p.ts_event_ns + 10
        return Price(p.ts_event_ns, p.key, p.ticks - was)

    def on_timer(self, now_ns: int) -> Price | None:
        return Price(now_ns, 0, self.last_ticks)


@ot.kernel
def chance():
    return random.random()


@ot.operator
def by_chance(p: Price) -> Price | None:
    return Price(p.ts_event_ns, p.key, int(chance() * 2**40))


@kernel(twin=lambda ticks: ticks + 1)
def one_more_in_python(ticks):
    return ticks


@ot.operator
def of_two_minds(p: Price) -> Price | None:
    return Price(p.ts_event_ns, p.key, one_more_in_python(p.ticks) if p.key == 1 else p.ticks)


@ot.operator
def impatient(p: Price) -> Price | None:
    if p.ticks > 100:
        raise ValueError("more than a hundred")
    return Price(p.ts_event_ns, p.key, p.ticks)


needs_compiler = pytest.mark.skipif(mode.is_interpreted(), reason="compares with compiled code")
PRICES = ot.source(Price)
OTHERS = ot.source(Price, name="other")
CHANGE = ot.Pipeline(change=Change(ot.merge(PRICES, OTHERS)))
ROWS = [Price(n * 7, n % 3, n * n % 101) for n in range(40)]


def test_a_sound_pipeline_passes_and_its_rows_come_back():
    t = testing.check(CHANGE, price=ROWS[::2], other=ROWS[1::2])

    assert t.rows("change")[:3] == [Price(0, 0, 0), Price(7, 1, 1), Price(14, 2, 4)]
    assert t.counts.events == 40  # of both, by time: none is late
    assert t.late == 0


def test_a_run_is_checked_with_its_clock():
    t = testing.Run(CHANGE).feed(price=ROWS[:5]).advance("5s").feed(other=ROWS[5:9])

    assert testing.check(t) is t


@pytest.mark.parametrize("seed", [194])
def test_random_graphs_pass(seed):
    pipeline = random_pipeline(seed)
    t = testing.Run(pipeline)
    for step in random_steps(seed, pipeline, 150):
        if isinstance(step, Rows):
            t.feed(**{pipeline.sources[step.source].name: step.rows})
        elif isinstance(step, Clock):
            t.step(engines.Clock(step.source, step.now_ns))
    t.end()

    testing.check(t, splits=5)
    assert sum(t.counts.rows.values()) > 20


def test_the_standard_pipeline_passes_over_a_day():
    t = testing.check(market_watch(), itch=testing.day(seconds=2), splits=3, plain_events=200)

    assert t.counts.rows["top_of_book"] > 100


def test_what_is_drawn_anew_is_found():
    with pytest.raises(testing.CheckFailed) as caught:
        testing.check(ot.Pipeline(out=by_chance(PRICES)), price=ROWS, plain_events=0)

    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "output 'out' is another when it runs again. The first difference is at row 0, which comes "
        "from event 1 of source price:"
    )
    assert lines[1].startswith("  once   Price(ts_event_ns=0, key=0, ticks=")
    assert lines[3].startswith("they differ in ticks: ")


@needs_compiler
def test_where_plain_python_differs_is_found():
    with pytest.raises(testing.CheckFailed) as caught:
        testing.check(ot.Pipeline(out=of_two_minds(PRICES)), price=ROWS)

    assert str(caught.value).splitlines() == [
        "output 'out' is another in plain Python. The first difference is at row 1, which comes "
        "from event 2 of source price:",
        "  compiled      Price(ts_event_ns=7, key=1, ticks=1)",
        "  plain Python  Price(ts_event_ns=7, key=1, ticks=2)",
        "they differ in ticks: 1 and 2",
    ]


@needs_compiler
def test_only_the_first_events_run_in_plain_python():
    pipeline = ot.Pipeline(out=of_two_minds(PRICES))

    testing.check(pipeline, price=ROWS, plain_events=1)
    with pytest.raises(testing.CheckFailed):
        testing.check(pipeline, price=ROWS, plain_events=2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda rows: rows[:-1],
            "output 'change' depends on how the input is cut; repeat it with seed=3, splits=1. The "
            "first difference is at row 5, which comes from what was due for key 2 at 24 ns:",
        ),
        (
            lambda rows: rows.__setitem__(slice(2, 3), rows[:1]) or rows,
            "output 'change' depends on how the input is cut; repeat it with seed=3, splits=1. The "
            "first difference is at row 2, which comes from event 3 of source price:",
        ),
    ],
)
def test_where_a_split_differs_is_found(monkeypatch, change, says):
    """The engine has no such fault that we know of, so one is planted."""
    honest = checking._run_split

    def planted(given, steps, seed):
        found = honest(given, steps, seed)
        if seed == 3:
            found.rows["change"] = change(found.rows["change"].copy())
        return found

    monkeypatch.setattr(checking, "_run_split", planted)
    t = testing.Run(CHANGE).feed(price=ROWS[:3]).end()
    with pytest.raises(testing.CheckFailed) as caught:
        testing.check(t)

    assert says in str(caught.value)


def test_state_and_counts_are_compared(monkeypatch):
    honest = checking._run_split

    def planted(given, steps, seed):
        found = honest(given, steps, seed)
        if what == "state":
            object.__setattr__(found, "state_digest", "0" * 32)
        else:
            found.counts["late"] += 1
        return found

    monkeypatch.setattr(checking, "_run_split", planted)
    t = testing.Run(CHANGE).feed(price=ROWS[:2])
    what = "state"
    with pytest.raises(testing.CheckFailed, match="all rows are the same, but the state of the op"):
        testing.check(t)
    what = "late"
    with pytest.raises(testing.CheckFailed, match=r"count of late depends on .* split 0 1$"):
        testing.check(t)


def test_what_an_operator_raises_itself_comes_through():
    with pytest.raises(StepError, match=r"operator impatient \(.*\) raised ValueError: more than"):
        testing.check(ot.Pipeline(out=impatient(PRICES)), price=[Price(0, 0, 101)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: testing.check(42), "check was given 42; expected a Pipeline or a testing.Run"),
        (
            lambda: testing.check(CHANGE, price=[]),
            r"no events of source other; write other=\[...\]",
        ),
        (
            lambda: testing.check(CHANGE, prices=[]),
            r"no source 'prices' \(did you mean 'price'\?\)",
        ),
        (
            lambda: testing.check(testing.Run(CHANGE), price=[]),
            "a run and rows; feed the rows to the run",
        ),
    ],
)
def test_a_mistake_in_the_call_is_told(call, message):
    with pytest.raises(OperatorError, match=message):
        call()


def test_a_failed_check_fails_a_test_as_an_assertion():
    assert issubclass(testing.CheckFailed, AssertionError)


def test_trades_of_the_market_room_pass():
    trades = ot.source(mk.Trade, name="trades")
    rows = [testing.row(mk.Trade, ts_event_ns=n, price_ticks=n, qty_lots=1) for n in range(9)]

    testing.check(ot.Pipeline(vwap=mk.vwap(trades)), trades=rows)


def test_the_events_of_the_only_source_need_no_name():
    pipeline = ot.Pipeline(change=Change(ot.source(Price, name="prices")))
    rows = [Price(n, 1, n) for n in range(5)]

    t = testing.check(pipeline, rows, splits=1)

    assert t.rows("change") == testing.check(pipeline, prices=rows, splits=1).rows("change")
    with pytest.raises(OperatorError, match="of which source are these events"):
        testing.check(pipeline, rows, prices=rows)
