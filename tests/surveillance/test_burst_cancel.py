"""Burst cancel against its definition over the whole list of cancel messages."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.running import Clock, End, Reusable, Rows, frames
from tests.market.flows import event
from tests.naive import surveillance as naive

import onetape as ot
from onetape.records import DeclarationError
from onetape.records.market import ADD, CANCEL, CLOSED, FILL, MODIFY, OPEN, MarketEvent
from onetape.surveillance import burst_cancel

WITHIN_NS = 10


def made_of(more_than, lateness=0):
    events = ot.source(MarketEvent, lateness=lateness)
    return Reusable(ot.Pipeline(alert=burst_cancel(events, more_than=more_than, within=WITHIN_NS)))


@pytest.fixture(scope="module", params=[1, 3, 15])
def rule(request):
    return request.param, made_of(request.param)


@st.composite
def message_flows(draw, spread_ns=3):
    """Bursts and lulls of three instruments; event times never go back."""
    ts_ns, made = 0, []
    steps = st.one_of(st.just(0), st.integers(0, spread_ns), st.sampled_from([9, 10, 11, 25]))
    for n in range(draw(st.integers(0, 80))):
        ts_ns += draw(steps)
        action = draw(st.sampled_from([CANCEL] * 6 + [MODIFY, ADD, FILL]))
        instrument = draw(st.sampled_from([1, 1, 1, 2, 2**32 - 1]))
        made.append(
            event(ts_ns, action, draw(st.integers(0, 9)), sequence=n + 1, instrument_id=instrument)
        )
    return made


def alerts(engine, steps):
    return engine.run(frames(steps), digests=False).rows["alert"]


@given(message_flows())
def test_equal_to_the_definition(rule, flow):
    more_than, engine = rule
    steps = [Rows(0, flow)] if flow else []

    made = alerts(engine, [*steps, End(0)])

    assert made == naive.burst_cancel(flow, more_than, WITHIN_NS)


def test_equal_to_the_definition_in_a_busy_market(rule):
    more_than, engine = rule
    rng, ts_ns, flow = random.Random(more_than), 0, []
    for n in range(3000):
        ts_ns += round(rng.expovariate((more_than + 1) / 4)) if rng.random() < 0.98 else 40
        action, instrument = rng.choice([CANCEL, MODIFY, ADD]), rng.randrange(2)
        flow.append(event(ts_ns, action, n, sequence=n + 1, instrument_id=instrument))

    made = alerts(engine, [Rows(0, flow), End(0)])

    assert made == naive.burst_cancel(flow, more_than, WITHIN_NS)
    assert len(made) > 20
    assert max(row[3] for row in made) > naive.EVIDENCE


@given(message_flows(), st.sampled_from([1, 12, 40]))
def test_a_source_that_lags_finds_the_same_episodes(flow, lateness):
    """With time held back an episode's end is noticed later; it is the same end."""
    engine = lagging(lateness)
    steps = [Rows(0, flow)] if flow else []

    made = alerts(engine, [*steps, End(0)])

    assert sorted(made) == sorted(naive.burst_cancel(flow, 3, WITHIN_NS))


_LAGGING = {}


def lagging(lateness):
    if lateness not in _LAGGING:
        _LAGGING[lateness] = made_of(3, lateness)
    return _LAGGING[lateness]


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from([1, 2])), max_size=60))
def test_cancels_out_of_time_order_never_make_a_burst(some):
    """Each alert's evidence is, by itself, more than enough within the time."""
    flow = [event(t, CANCEL, 5, sequence=n, instrument_id=i) for n, (t, i) in enumerate(some)]
    times = {e.sequence: (e.ts_event_ns, e.instrument_id) for e in flow}
    steps = [Rows(0, flow)] if flow else []

    for row in alerts(lagging(40), [*steps, End(0)]):
        if row[8] == OPEN:
            evidence = [times[sequence] for sequence in row[5][: row[10]]]
            assert len(evidence) == 4
            assert {instrument for _, instrument in evidence} == {row[6]}
            assert all(row[0] - WITHIN_NS <= t <= row[0] for t, _ in evidence)


def cancels(*times_ns):
    return [event(t, CANCEL, 100 + n, sequence=n + 1) for n, t in enumerate(times_ns)]


def test_the_window_holds_both_its_ends():
    """Four cancels: over if the first is exactly `within` old, not if it is one ns older."""
    engine = lagging(1)

    assert alerts(engine, [Rows(0, cancels(0, 5, 5, 11)), End(0)]) == []
    opened, closed = alerts(engine, [Rows(0, cancels(0, 5, 5, 10)), End(0)])
    assert (opened[0], opened[8], opened[3]) == (10, OPEN, 4)
    assert (closed[0], closed[8], closed[3]) == (20, CLOSED, 4)
    assert opened[1] == closed[1]
    assert opened[4][:5] == [100, 101, 102, 103, 0]


def test_a_late_burst_is_one_episode():
    """Time is far beyond it when it comes: it is told as one that comes on time."""
    engine = lagging(0)
    early, flow = Rows(0, [event(0, ADD, 1)]), cancels(*range(20, 40))
    on_time = alerts(engine, [early, Rows(0, flow), End(0)])

    late = alerts(engine, [early, Clock(0, 10**10), Rows(0, flow), End(0)])

    assert len(on_time) == 2
    assert late == on_time
    later = alerts(engine, [early, Clock(0, 10**10), Rows(0, flow), Rows(0, cancels(10**11))])
    assert later == on_time


def test_an_episode_ends_without_another_event(rule):
    """A tick moves time on: the alert is closed while the venue is silent."""
    more_than, engine = rule
    flow = cancels(*[5] * (more_than + 1))

    made = alerts(engine, [Rows(0, flow), Clock(0, 10**9 + 5 + WITHIN_NS)])

    assert [row[8] for row in made] == [OPEN, CLOSED]


def test_refuses_what_it_cannot_remember():
    events = ot.source(MarketEvent)

    with pytest.raises(DeclarationError, match=r"more_than was 16; expected 1 to 15"):
        burst_cancel(events, more_than=16)
    with pytest.raises(DeclarationError, match=r"within was '0ms'; expected a positive duration"):
        burst_cancel(events, within="0ms")
