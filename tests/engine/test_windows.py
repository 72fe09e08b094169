"""Windows against the naive engine, and what they promise one by one.

Two sources, one with lateness; time is the least of both. The windows are tumbling, sliding, and
over a merge of both sources.
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.engine.parts import Chain, Largest, Note, Tick, noted
from tests.engine.running import (
    DATA,
    HEADER,
    Clock,
    End,
    Reusable,
    Rows,
    frame,
    frames,
    refused,
    run,
)
from tests.naive import engine as naive

import onetape as ot
from onetape.engine import aggregate, window
from onetape.records import DeclarationError

A, B = 0, 1
LATENESS_NS, IDLE_NS = 5, 20
FAR = 2**62


def make_pipeline():
    a = ot.source(Tick, name="a", lateness=LATENESS_NS, idle=IDLE_NS)
    b = ot.source(Tick, name="b", idle=IDLE_NS)
    tumbling = window(a, Chain, width=10, key="key")
    sliding = window(a, Chain, width=40, every=10, key="key")
    both = window(ot.merge(b, a), Chain, width=30, every=5, key="key")
    return ot.Pipeline(
        tumbling=tumbling, late=tumbling.late, sliding=sliding, both=both, both_late=both.late
    )


PIPELINE = make_pipeline()


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def engine(request):
    return Reusable(PIPELINE, running=request.param)


@pytest.fixture(scope="module")
def compiled():
    return Reusable(PIPELINE)


@ot.record
class Lowest:
    ts_event_ns: ot.i64
    value: ot.i64


@aggregate
class Low:
    """Without a value that means nothing: `merge` relies on two panes that are not empty."""

    value: ot.i64 = 0
    count: ot.i64 = 0

    def add(self, t: Tick) -> None:
        self.value = t.value if self.count == 0 else min(self.value, t.value)
        self.count += 1

    def merge(self, later: "Low") -> None:
        self.value = min(self.value, later.value)
        self.count += later.count

    def result(self, key: int, start_ns: int, end_ns: int) -> Lowest | None:
        return Lowest(end_ns, self.value)


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_neither_side_of_a_merge_is_empty(running):
    low = window(ot.source(Tick), Low, width=20, every=5, key="key")
    rows = [Tick(1, 1, 50), Tick(3, 1, 40), Tick(12, 1, 60)]

    ran = run(ot.Pipeline(low=low), frames([Rows(0, rows), End(0)]), running=running)

    assert [row[1] for row in ran.rows["low"]] == [40, 40, 40, 40, 60, 60]


ticks = st.builds(
    Tick, st.integers(0, 120), st.sampled_from([-1, 0, 1, 70_000, 2**63 - 1]), st.integers(-9, 9)
)
steps = st.lists(
    st.one_of(
        st.builds(Rows, st.sampled_from([A, B]), st.lists(ticks, min_size=1, max_size=12)),
        st.builds(Clock, st.sampled_from([A, B]), st.integers(0, 250)),
    ),
    max_size=12,
)
ends = st.permutations([End(A), End(B)]).flatmap(lambda e: st.sampled_from([e, e[:1], []]))


def check(engine, script):
    twin = naive.run(PIPELINE, script)

    ran = engine.run(frames(script), digests=False)

    assert ran.rows == twin.rows
    assert ran.origins == twin.origins
    assert refused(ran) == refused(twin)
    return ran


@given(steps, ends)
@example([Rows(A, [Tick(0, 0, 1)]), Rows(A, [Tick(119, 0, 2)])], [End(A), End(B)])
def test_equal_to_the_naive_engine(engine, script, end):
    check(engine, [*script, *end])


def rising(start_ns, stop_ns, step_ns=1, key=1):
    return [Tick(t, key, t % 7) for t in range(start_ns, stop_ns, step_ns)]


def ends_of(ran, output):
    return [row[0] for row in ran.rows[output]]


# --- where a window begins and ends ---------------------------------------------------------------


def test_windows_are_aligned_to_the_epoch_and_hold_their_start_not_their_end(compiled):
    ran = check(compiled, [Rows(A, rising(19, 41)), End(A), End(B)])

    assert [(r[1], r[0], r[4]) for r in ran.rows["tumbling"]] == [
        (10, 20, 1), (20, 30, 10), (30, 40, 10), (40, 50, 1)
    ]  # fmt: skip


def test_the_first_windows_after_the_epoch_are_all_there(compiled):
    """Windows that begin before 0 and panes that were never used: no confusion of the two."""
    ran = check(compiled, [Rows(A, [Tick(0, 5, 3)]), End(A), End(B)])

    assert [(r[1], r[0]) for r in ran.rows["sliding"]] == [(-30, 10), (-20, 20), (-10, 30), (0, 40)]


def test_windows_that_end_together_come_in_key_order(compiled):
    some = [Tick(3, key, 1) for key in (9, -4, 2**62, 0)]

    ran = check(compiled, [Rows(A, some), End(A), End(B)])

    assert [r[2] for r in ran.rows["tumbling"]] == [-4, 0, 9, 2**62]


def test_a_result_may_be_none():
    notes = ot.source(Note)
    pipeline = ot.Pipeline(largest=window(notes, Largest, width=20, every=10, key="key"))
    script = [Rows(0, [Note(5, -3, 1, 0), Note(15, 4, 1, 9), Note(40, -1, 1, 0)]), End(0)]

    ran = run(pipeline, frames(script), running="interpreted")

    assert ran.rows["largest"] == [(20, 4, 1, 9), (30, 4, 1, 9)]
    assert ran.rows == naive.run(pipeline, script).rows


# --- time -----------------------------------------------------------------------------------------


def test_no_window_ends_while_one_source_has_said_nothing(compiled):
    ran = check(compiled, [Rows(A, rising(0, 1000, 10))])

    assert ran.rows["tumbling"] == []


def test_time_is_that_of_the_source_that_is_behind(compiled):
    ran = check(compiled, [Rows(A, rising(0, 100)), Rows(B, [Tick(37, 0, 0)])])

    assert ends_of(ran, "tumbling") == [10, 20, 30]


def test_a_tick_closes_the_windows_of_a_silent_source(compiled):
    """At time t a source that is silent has promised nothing older than t less its idle limit."""
    script = [Rows(A, rising(0, 55)), Rows(B, [Tick(0, 0, 0)])]

    before = check(compiled, script)
    held = check(compiled, [*script, Clock(B, 59)])
    closed = check(compiled, [*script, Clock(B, 60), Clock(B, 30)])

    assert ends_of(before, "tumbling") == []
    assert ends_of(held, "tumbling") == [10, 20, 30]
    assert ends_of(closed, "tumbling") == [10, 20, 30, 40]
    assert (held.counts.ticks, closed.counts.ticks) == (1, 2)


def test_the_end_of_all_sources_closes_everything(compiled):
    ran = check(compiled, [Rows(A, rising(0, 25)), End(A), End(B)])

    assert ends_of(ran, "tumbling") == [10, 20, 30]
    assert ends_of(ran, "sliding") == [10, 20, 30, 40, 50, 60]


def test_the_lateness_of_a_source_holds_time_back(compiled):
    ran = check(compiled, [End(B), Rows(A, [Tick(1, 1, 1), Tick(14, 1, 1), Tick(15, 1, 1)])])

    assert ends_of(ran, "tumbling") == [10]
    assert ran.origins["tumbling"][0][:2] == (10, 1)  # its identity: when it was due, and its key
    assert ends_of(check(compiled, [End(B), Rows(A, [Tick(1, 1, 1), Tick(14, 1, 1)])]),
                   "tumbling") == []  # fmt: skip


# --- late and ahead -------------------------------------------------------------------------------


def test_a_late_event_is_counted_goes_to_late_and_changes_no_window(compiled):
    on_time = [Tick(20, 1, 1), Tick(15, 1, 2), Tick(30, 1, 3)]
    late = Tick(24, 1, 9)

    ran = check(compiled, [End(B), Rows(A, [*on_time, late]), End(A)])
    without = check(compiled, [End(B), Rows(A, on_time), End(A)])

    assert ran.rows["late"] == ran.rows["both_late"] == [tuple(late)]
    assert ran.rows["tumbling"] == without.rows["tumbling"]
    assert (ran.counts.late, without.counts.late) == (1, 0)


def test_after_the_end_of_its_source_an_event_is_late(compiled):
    ran = check(compiled, [Rows(A, [Tick(20, 1, 1)]), End(A), Rows(A, [Tick(90, 1, 1)]), End(B)])

    assert ran.rows["late"] == [(90, 1, 1)]


@pytest.mark.parametrize("running", ["compiled", "interpreted"])
def test_what_an_operator_dates_back_is_counted_even_if_nobody_reads_late(running):
    notes = noted(ot.source(Tick), shift=-5)
    pipeline = ot.Pipeline(largest=window(notes, Largest, width=10, key="key"))

    ran = run(pipeline, frames([Rows(0, rising(20, 24)), End(0)]), running=running)

    assert ran.rows["largest"] == []
    assert refused(ran) == (0, 4, 0, 0)


def test_late_is_decided_at_the_source_even_where_time_is_held_back(compiled):
    """Source B has said nothing, so every window is open; the event is late all the same."""
    ran = check(compiled, [Rows(A, [Tick(90, 1, 1), Tick(3, 1, 1)]), End(A), End(B)])

    assert ran.rows["late"] == [(3, 1, 1)]
    assert ran.counts.late == 1


def test_an_event_far_ahead_of_time_never_overwrites_a_pane_still_needed(compiled):
    """Source B holds time back; A runs on until its ring of panes has come round."""
    ran = check(compiled, [Rows(A, rising(0, 1000, 10)), End(A), End(B)])

    kept = len(ran.rows["tumbling"])
    assert 0 < kept < 100
    assert ran.counts.ahead >= 100 - kept
    assert len(ran.rows["late"]) == 100 - kept
    assert ran.counts.late == 0


# --- what is no event -----------------------------------------------------------------------------


def test_records_without_a_sensible_time_are_counted_and_change_nothing(engine):
    some = rising(0, 30)
    odd = [Tick(t, 1, 1) for t in (-1, ot.UNSET, FAR, 2**63 - 1)]

    ran = engine.run(frames([End(B), Rows(A, some[:15] + odd + some[15:])]))
    without = engine.run(frames([End(B), Rows(A, some)]))

    assert ran.rows == without.rows
    assert ran.counts.bad_events == 4
    assert ran.counts.events == without.counts.events == 30


def test_the_last_moment_that_is_a_time(compiled):
    ran = compiled.run(frames([End(B), Rows(A, [Tick(FAR - 1, 1, 1)])]))

    assert ran.counts.bad_events == 0
    assert ran.rows["tumbling"] == []


def test_frames_that_are_not_for_this_pipeline_are_counted(compiled):
    good = frames([Rows(A, rising(0, 30)), End(A), End(B)])
    strangers = [frame(DATA, 2, bytes(24)), frame(DATA, A, bytes(25)), frame(99, A, bytes(8))]

    ran = compiled.run([*strangers, *good])

    assert ran.rows == compiled.run(good).rows
    assert ran.counts.bad_frames == 2
    assert ran.counts.frames == 6
    assert HEADER.size == 32


# --- declarations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 30, "every": 20}, r"window width 30 ns must be a multiple of every 20 ns"),
        ({"width": "0s"}, r"window width 0 ns"),
        ({"width": "2s", "every": "1ms"}, r"a window of 2000 panes; at most 1024"),
        ({"width": 10, "key": "nobody"}, r"keyed by 'nobody', which Tick does not have"),
        ({"width": "10 parsecs"}, r"duration '10 parsecs' is not a whole number and a unit"),
    ],
)
def test_a_window_that_cannot_be_says_why(options, message):
    with pytest.raises(DeclarationError, match=message):
        window(ot.source(Tick), Chain, **{"key": "key"} | options)


def test_a_window_of_another_record_says_which():
    with pytest.raises(DeclarationError, match="Largest adds Note, was given a stream of Tick"):
        window(ot.source(Tick), Largest, width=10, key="key")


def test_a_window_that_would_need_too_much_memory_says_what_to_lower():
    ticks = ot.source(Tick, lateness="1h")
    pipeline = ot.Pipeline(x=window(ticks, Chain, width="1ms", key="key"))

    with pytest.raises(DeclarationError, match="lower capacity, the lateness or the idle limit"):
        run(pipeline, [], running="interpreted")


def test_sliding_needs_a_merge_and_an_aggregate_its_parts():
    class Bare:
        count: ot.i64 = 0

        def add(self, t: Tick) -> None: ...

        def result(self, key: int, start_ns: int, end_ns: int) -> Tick | None: ...

    with pytest.raises(DeclarationError, match=r"Bare needs merge\(self, later\) for a sliding"):
        window(ot.source(Tick), aggregate(Bare), width=20, every=10, key="key")
    for name, message in [
        ("add", "aggregate Part has no method add"),
        ("result", "aggregate Part has no method result"),
    ]:
        body = {"count": 0, "__annotations__": {"count": ot.i64}}
        body |= {n: vars(Bare)[n] for n in ("add", "result") if n != name}
        with pytest.raises(DeclarationError, match=message):
            aggregate(type("Part", (), body))
    with pytest.raises(DeclarationError, match="aggregate Part declares no fields"):
        aggregate(type("Part", (), {"add": Bare.add, "result": Bare.result}))
