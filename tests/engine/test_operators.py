"""What operators do when they run, compiled and as plain Python: state, timers, outputs, errors."""

import re

import numpy as np
import pytest
from tests.engine.parts import Chain, Note, Pair, Sleeper, Split, Tick, every_other, scaled
from tests.engine.running import Clock, End, Reusable, Rows, feed, frames, make, run, run_engine
from tests.naive import engine as naive

import onetape as ot
from onetape.compiled import mode
from onetape.engine import Table, UpTo, operator, window
from onetape.engine.engine import StepError
from onetape.engine.state import save
from onetape.records import DeclarationError, OperatorError


@pytest.fixture(params=["compiled", "interpreted"])
def running(request):
    with mode.running(request.param):
        yield request.param


def ticks(*values, key=1, start_ns=10, step_ns=1):
    return [Tick(start_ns + n * step_ns, key, v) for n, v in enumerate(values)]


def values(rows):
    return [row[2] for row in rows]


# --- state, settings, outputs ---------------------------------------------------------------------


def make_tour():
    """One pipeline for most questions, so that it is compiled once."""
    source = ot.source(Tick)
    notes = ot.source(Note)
    split = Split(source, at=5)
    return ot.Pipeline(
        scaled=scaled(source, by=10, plus=ot.UNSET % 7),
        kept=every_other(source, start=1),
        low=split.low,
        notes=split.notes,
        pairs=Pair(source, ot.merge(notes, split.notes), wait="1us"),
        sleeper=Sleeper(source, nap=10, again=7),
    )


TOUR = make_tour()


@pytest.fixture(scope="module", params=["compiled", "interpreted"])
def tour(request):
    made = Reusable(TOUR, running=request.param)

    def check(*steps):
        twin = naive.run(TOUR, steps)
        ran = made.run(frames(steps))
        assert ran.rows == twin.rows
        assert ran.origins == twin.origins
        return ran.rows

    return check


def test_settings_reach_the_operator(tour):
    made = tour(Rows(0, ticks(1, 2)))

    assert values(made["scaled"]) == [10 + ot.UNSET % 7, 20 + ot.UNSET % 7]


def test_state_is_one_keys_own_and_begins_with_the_defaults(tour):
    made = tour(Rows(0, [*ticks(1, 2, key=1), *ticks(5, key=-1), *ticks(7, key=1)]))

    assert values(made["kept"]) == [101, 105, 110]  # total of the key from 100 on


def test_rows_of_one_event_come_in_the_order_they_were_made(tour):
    made = tour(Rows(0, ticks(3, 4, 6, key=1)))

    assert made["low"] == [(10, 1, 3), (10, 2, -3), (11, 1, 4), (11, 2, -4)]
    assert made["notes"] == [(12, 6, 1, 0)]


def test_an_operator_with_two_inputs_has_one_state(tour):
    """Two ticks, a note that counts for two (of its key), and the fourth tick makes the pair."""
    made = tour(Rows(0, ticks(1, 2)), Rows(1, [Note(11, 1, 1, 0)]), Rows(0, ticks(4)))

    assert made["pairs"] == [(10, 1, 1 + 0), (10, 1, 2 + 4)]


def test_a_timer_fires_at_its_time_before_the_event_that_moves_time(tour):
    made = tour(Rows(0, [Tick(10, 1, 2)]), Rows(1, [Note(20, 0, 9, 0)]), Rows(0, [Tick(20, 2, 1)]))

    assert made["sleeper"] == [(20, 2, 1)]
    assert made["scaled"][-1][0] == 20


def test_timers_of_one_time_fire_in_key_order(tour):
    some = [Tick(10, key, key % 3 + 3) for key in (5, -2, 70_000, 0)]

    made = tour(Rows(0, some), End(1), Clock(0, 10**9 + 20))

    assert [value for value in made["sleeper"] if value[0] == 20] == [
        (20, 1, 1), (20, 0, 1), (20, 2, 1), (20, 1, 1)
    ]  # fmt: skip


def test_a_timer_may_be_moved_and_unset(tour):
    moved = tour(Rows(0, [Tick(10, 1, 1), Tick(15, 1, 1)]), End(1), Rows(0, [Tick(24, 2, 0)]))
    unset = tour(Rows(0, [Tick(10, 1, 1), Tick(15, 1, 0)]), End(0), End(1))

    assert moved["sleeper"] == []
    assert unset["sleeper"] == []


def test_a_timer_may_set_itself_again(tour):
    made = tour(End(1), Rows(0, [Tick(10, 1, 1), Tick(40, 9, 1)]), End(0))

    assert made["sleeper"][:3] == [(20, 1, 1), (27, 1, 2), (34, 1, 3)]


# --- forms and names ------------------------------------------------------------------------------


@ot.record
class Index:
    """Named like something every driver has."""

    ts_event_ns: ot.i64
    key: ot.i64


@operator(key="key")
class Clash:
    """Outputs with the names of the driver's own arrays and variables."""

    wake_ns: ot.i64 = ot.UNSET
    count: ot.i64 = 5

    def on_state(
        self,
        t: Tick,
        state: UpTo[1, Tick],
        keys: UpTo[2, Tick],
        timers: UpTo[1, Note],
        slot: UpTo[1, Tick],
        used: UpTo[1, Tick],
        *,
        with_slot: int = 0,
        with_used: int = 0,
    ) -> None:
        self.count += 1
        self.wake_ns = t.ts_event_ns + 5
        state.append(t)
        keys.append(Tick(t.ts_event_ns, t.key, self.count))
        keys.append(Tick(t.ts_event_ns, t.key, with_slot * 10 + with_used))
        n = timers.row()
        n.ts_event_ns = t.ts_event_ns
        n.mark = 7

    def on_timer(self, now_ns: int) -> Index | None:
        return Index(now_ns, self.count)


def test_outputs_may_have_any_name(running):
    clash = Clash(ot.source(Tick))
    pipeline = ot.Pipeline(
        state=clash.state, keys=clash.keys, timers=clash.timers, index=clash.index, heads=clash.slot
    )
    script = [Rows(0, ticks(1, 2, key=3)), End(0)]

    ran = run(pipeline, frames(script))

    assert ran.rows == naive.run(pipeline, script).rows
    assert ran.rows["state"] == [(10, 3, 1), (11, 3, 2)]
    assert ran.rows["keys"] == [(10, 3, 6), (10, 3, 0), (11, 3, 7), (11, 3, 0)]
    assert ran.rows["timers"] == [(10, 0, 0, 7), (11, 0, 0, 7)]
    assert ran.rows["index"] == [(16, 7)]


@operator
def passed(t: Tick) -> Tick | None:
    """Gives back the very event it was given."""
    if t.value < 2:
        return None
    return t


@operator
class Uneven:
    """Two methods with one output of different sizes, and no state."""

    def on_one(self, t: Tick, out: UpTo[1, Tick]) -> None:
        out.append(t)

    def on_three(self, t: Tick, out: UpTo[3, Tick], *, extra: int = 0) -> None:
        for i in range(3 + extra):
            out.append(Tick(t.ts_event_ns, i, t.value))

    def on_none(self, t: Tick) -> None:
        pass


def test_an_event_may_be_passed_on_as_it_is(running):
    source = passed(ot.source(Tick))
    pipeline = ot.Pipeline(out=Uneven(source, source, source))

    ran = run(pipeline, frames([Rows(0, ticks(1, 2, 3, key=9))]), output_rows=4)

    assert ran.rows["out"] == [
        (11, 9, 2), (11, 0, 2), (11, 1, 2), (11, 2, 2),
        (12, 9, 3), (12, 0, 3), (12, 1, 3), (12, 2, 3),
    ]  # fmt: skip


def room(tables):
    return tables.used.shape[0] - tables.total[0]


def shelf_as_it_is(tables):
    return [tables.used[: tables.total[0]].copy()]


@operator
class Shelf:
    """State in tables, with names that look like scratch."""

    capacity = {"used": 4}  # noqa: RUF012
    used = Table(lambda size: np.zeros(size["used"], np.int64))
    total = Table(lambda size: np.zeros(1, np.int64))
    headroom = ot.kernel(room)
    canonical = shelf_as_it_is

    def on_tick(self, t: Tick) -> Tick | None:
        self.used[self.total[0]] = t.value
        self.total[0] += 1
        return Tick(t.ts_event_ns, self.total[0], self.used[0])


def test_an_operator_may_keep_tables(running):
    pipeline = ot.Pipeline(out=Shelf(ot.source(Tick)))
    engine = make(pipeline)

    ran = run_engine(engine, frames([Rows(0, ticks(7, 8, 9))]))

    assert ran.rows["out"] == [(10, 1, 7), (11, 2, 7), (12, 3, 7)]
    assert save(engine)["n1_used"].tolist() == [7, 8, 9, 0]
    assert save(engine)["n1_total"].tolist() == [3]
    run_engine(engine, frames([Rows(0, ticks(1))]))
    with pytest.raises(OperatorError, match="operator Shelf is at capacity at offset 0, event 0"):
        run_engine(engine, frames([Rows(0, ticks(1))]))


class Alarm:
    wake_ns: ot.i64 = ot.UNSET

    def on_timer(self, now_ns: int) -> Tick | None:
        return Tick(now_ns, 0, 0)


@operator(key="key")
class Late(Alarm):
    def on_tick(self, t: Tick) -> None:
        self.wake_ns = t.ts_event_ns + 5


def test_what_a_class_inherits_is_its_own(running):
    ran = run(ot.Pipeline(out=Late(ot.source(Tick))), frames([Rows(0, ticks(1, 2)), End(0)]))

    assert ran.rows["out"] == [(t + 5, 0, 0) for t in (ticks(1, 2)[1].ts_event_ns,)]


@operator
def raised(t: Tick) -> Tick | None:
    e = t  # by another name: else it is refused where it is written (test_operator_mistakes)
    e.value = t.value + 1
    return t


def test_an_event_is_read_only(running):
    """It is the tape itself, and other operators read it too."""
    with pytest.raises((ot.OnetapeError, StepError), match="event field value is assigned to"):
        run(ot.Pipeline(out=raised(ot.source(Tick))), frames([Rows(0, ticks(1))]))


@ot.record
class Cellar:
    ts_event_ns: ot.i64
    levels: ot.Array[ot.i64, 4]


@operator
def levelled(t: Cellar) -> Cellar | None:
    e = t
    e.levels[0] = 1
    return t


def test_nor_can_a_cell_of_it_be_written(running):
    with pytest.raises(
        (ot.OnetapeError, StepError), match=r"a cell of an event is assigned to|read-only"
    ):
        run(ot.Pipeline(out=levelled(ot.source(Cellar))), frames([Rows(0, [Cellar(1, [0] * 4)])]))


@operator(key="key")
class Newest:
    seen: ot.i64 = 0
    values: ot.Array[ot.i64, 4]

    def on_tick(self, t: Tick) -> Tick | None:
        self.values[-1] = t.value
        self.values[:2] = t.value + 1
        return Tick(t.ts_event_ns, t.key, self.values[-1] + self.values[1] + self.values[-2])


def test_cells_are_reached_from_the_end_and_by_slices(running):
    rows = ticks(1, 2, 3, 4, 5)
    ran = run(ot.Pipeline(out=Newest(ot.source(Tick))), frames([Rows(0, rows)]))

    assert [row[2] for row in ran.rows["out"]] == [3, 5, 7, 9, 11]


# --- halting --------------------------------------------------------------------------------------


@operator(key="key")
class Brittle:
    wake_ns: ot.i64 = ot.UNSET
    count: ot.i64 = 0

    def on_tick(self, t: Tick, *, breaks_at: int = 1000) -> Tick | None:
        self.count += 1
        self.wake_ns = t.ts_event_ns + 50
        if t.value == breaks_at:
            raise ValueError("the value is not to my taste")
        return t

    def on_timer(self, now_ns: int, *, breaks_key: int = -1) -> None:
        if self.count == breaks_key:
            raise ZeroDivisionError("nor the hour")
        if breaks_key == 0:
            self.wake_ns = now_ns


def test_a_handler_that_raises_halts_the_pipeline_and_names_the_event(running):
    pipeline = ot.Pipeline(out=Brittle(ot.source(Tick), breaks_at=13))
    pieces = frames([Rows(0, ticks(1, 2)), Rows(0, ticks(3, 4, 13, 5)), Rows(0, ticks(13))])

    with pytest.raises(StepError) as raised:
        run(pipeline, pieces)

    assert (raised.value.offset, raised.value.index, raised.value.operator) == (1, 2, "Brittle")
    said = str(raised.value)
    assert re.match(r"operator Brittle \(\S+test_operators.py:\d+\) raised ValueError: the v", said)
    assert "not to my taste at offset 1, event 2 of its frame; the pipeline halts there." in said
    assert "run the same input on a new tape" in said
    assert isinstance(raised.value.__cause__, ValueError)


def test_an_engine_that_halted_takes_nothing_more(running):
    engine = make(ot.Pipeline(out=Brittle(ot.source(Tick), breaks_at=13)), output_rows=2)
    pieces = frames([Rows(0, ticks(1, 2, 3, 4, 5))])

    next(feed(engine, pieces))  # leaves rows in the ring, and events in the buffer
    with pytest.raises(OperatorError, match="the engine stopped in the middle of its input"):
        list(feed(engine, pieces))

    engine = make(ot.Pipeline(out=Brittle(ot.source(Tick), breaks_at=13)))
    with pytest.raises(StepError):
        list(feed(engine, frames([Rows(0, ticks(13))])))
    with pytest.raises(OperatorError, match="make a new one and restore the last checkpoint"):
        list(feed(engine, pieces))


def test_a_timer_that_raises_names_the_event_that_moved_time(running):
    pipeline = ot.Pipeline(out=Brittle(ot.source(Tick), breaks_key=2))
    pieces = frames([Rows(0, ticks(1, 2)), Clock(0, 2 * 10**9)])

    with pytest.raises(
        StepError, match=r"Brittle \(.*\) raised ZeroDivisionError: nor the hour"
    ) as ticked:
        run(pipeline, pieces)
    with pytest.raises(StepError) as moved:
        run(pipeline, frames([Rows(0, ticks(1, 2)), Rows(0, [Tick(20, 5, 1), Tick(90, 5, 1)])]))

    assert (ticked.value.offset, ticked.value.index) == (1, -1)  # no event: the tick itself
    assert (moved.value.offset, moved.value.index) == (1, 1)


@operator(key="key")
class Clockwork:
    wake_ns: ot.i64 = ot.UNSET

    def on_tick(self, t: Tick) -> None:
        self.wake_ns = t.ts_event_ns + 10

    def on_timer(self, now_ns: int) -> Tick | None:
        self.wake_ns = now_ns + 10
        return Tick(now_ns, 0, 0)


def test_an_operator_that_always_sets_its_next_timer_ends_with_its_source(running):
    pipeline = ot.Pipeline(out=Clockwork(ot.source(Tick)))

    ran = run(pipeline, frames([Rows(0, [Tick(0, 1, 1), Tick(35, 2, 1)]), End(0)]))

    assert [row[0] for row in ran.rows["out"]] == [10, 20, 30, 40, 45]


@operator(key="key")
class Cell:
    cells: ot.Array[ot.i64, 4]

    def on_tick(self, t: Tick) -> Tick | None:
        self.cells[t.value] += 1
        return t


def test_a_user_s_operator_keeps_its_bounds_checks(running):
    pipeline = ot.Pipeline(out=Cell(ot.source(Tick)))

    with pytest.raises(StepError, match=r"Cell \(.*\) raised IndexError"):
        run(pipeline, frames([Rows(0, ticks(1, 3, 4))]))


def test_what_was_made_before_an_error_is_the_same_for_any_split(running):
    pipeline = ot.Pipeline(out=Brittle(ot.source(Tick), breaks_at=13))
    events, seen = ticks(1, 2, 3, 4, 13, 5), []

    for cut in range(1, 6):
        engine, made = make(pipeline), []
        with pytest.raises(StepError):
            for _, rows, _ in feed(engine, frames([Rows(0, events[:cut]), Rows(0, events[cut:])])):
                made += rows["value"].tolist()
        seen.append(made)

    assert seen == [[1, 2, 3, 4]] * 5


def test_a_timer_that_is_not_set_to_a_later_time_halts_instead_of_spinning(running):
    pipeline = ot.Pipeline(out=Brittle(ot.source(Tick), breaks_key=0))

    with pytest.raises(StepError, match="raised ValueError: on_timer set wake_ns, but not to"):
        run(pipeline, frames([Rows(0, ticks(1)), End(0)]))


def test_more_rows_than_declared_halt(running):
    source = ot.source(Tick)
    pipeline = ot.Pipeline(out=Uneven(source, source, source, extra=1))

    with pytest.raises(StepError, match=r"Uneven \(.*\) raised IndexError: the operator made more"):
        run(pipeline, frames([Rows(0, ticks(1))]))


# In a variable: else it is refused where it is written (test_operator_mistakes).
def halved_state(self, t: Tick) -> None:
    half = t.value / 2
    self.half = half


def halved_cell(self, t: Tick) -> None:
    half = t.value / 2
    self.cells[1] = half


def halved_row(self, t: Tick) -> Tick | None:
    half = t.value / 2
    return Tick(t.ts_event_ns, t.key, half)


def halved_append(self, t: Tick, out: UpTo[1, Tick]) -> None:
    half = t.value / 2
    out.append(Tick(t.ts_event_ns, t.key, half))


@pytest.mark.parametrize("handler", [halved_state, halved_cell, halved_row, halved_append])
def test_a_float_never_becomes_an_integer_in_silence(handler):
    """Compiled it is refused, each time and not only when it is compiled; in Python it raises."""
    body = {
        "half": 0,
        "on_tick": handler,
        "on_other": lambda self, t, rest: None,
        "__annotations__": {"half": ot.i64, "cells": ot.Array[ot.i64, 2]},
    }
    body["on_other"].__annotations__.update(t=Tick, rest=UpTo[1, Note])
    source = ot.source(Tick)
    node = operator(key="key")(type("Halved", (), body)).node(source, source)
    pipeline = ot.Pipeline(rest=node.stream("rest"))

    for _ in range(2):
        with pytest.raises(DeclarationError, match="holds an integer and is given a float"):
            make(pipeline)
    with mode.running("interpreted"), pytest.raises(StepError, match=r"was given 1.5: write int"):
        run(pipeline, frames([Rows(0, ticks(3))]))


@pytest.mark.parametrize("kind", ["operator", "window"])
def test_as_many_keys_as_the_capacity_fit_and_one_more_halts(running, kind):
    source = ot.source(Tick)
    if kind == "operator":
        out, name = every_other(source, capacity={"keys": 5}), "every_other"
    else:
        out, name = window(source, Chain, width=10, key="key", capacity=5), "Chain_10ns"
    pipeline = ot.Pipeline(out=out)
    five = [Tick(100 + n, n % 5 * 10**6, 1) for n in range(50)]

    fits = run(pipeline, frames([Rows(0, five), End(0)]))
    engine = make(pipeline)
    with pytest.raises(OperatorError) as full:
        run_engine(engine, frames([Rows(0, five), Rows(0, [Tick(149, 1, 1), Tick(149, 0, 1)])]))

    assert len(fits.rows["out"]) == 25
    assert str(full.value).startswith(f"operator {name} is at capacity at offset 1, event ")
    room = '{"keys": N}' if kind == "operator" else "N"
    raised = f"raise its capacity, for example {name}(..., capacity={room}), or say"
    assert f"nothing is dropped to make room; {raised}" in str(full.value)
    assert "or say what else to do: when_full='evict_oldest' forgets" in str(full.value)


def test_a_ring_that_cannot_hold_what_one_event_may_make_is_refused():
    source = ot.source(Tick)
    pipeline = ot.Pipeline(one=source.node.stream(), out=Uneven(source, source, source))

    with pytest.raises(OperatorError, match="make 4 rows of output 'out', and its ring holds 2"):
        make(pipeline, output_rows=2)
    with pytest.raises(ValueError, match="output_rows was 6; expected a power of two"):
        make(pipeline, output_rows=6)


def test_a_buffer_of_another_kind_is_refused_in_words():
    with mode.running("interpreted"):
        engine = make(ot.Pipeline(out=ot.source(Tick)))
    data = b"".join(frames([Rows(0, ticks(1))]))

    for buffer in (
        np.frombuffer(data, np.uint8),
        np.frombuffer(bytearray(data), np.int8),
        np.frombuffer(bytearray(data), np.uint8)[::2],
    ):
        with pytest.raises(ValueError, match="expected writable contiguous uint8"):
            list(engine.feed(buffer, 0, 32))
