"""Joins against their slow twins, and that the way in which sources arrive changes no answer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.engine.parts import Chain, Note, Sleeper, Tick
from tests.engine.running import Clock, End, Reusable, Rows, frames, refused, run
from tests.naive import joins as naive

import onetape as ot
from onetape import c
from onetape.records import UNSET, DeclarationError, OperatorError

LATENESS_NS = 4
INTERPRETED = "interpreted"

ticks = ot.source(Tick, name="ticks", lateness=LATENESS_NS, idle=50)
notes = ot.source(Note, name="notes", lateness=LATENESS_NS, idle=50)


def rows_of(of):
    """Rows of one source, in order of time but for a few."""

    def made(steps):
        now_ns, rows = 0, []
        for number, (step, back, key, value) in enumerate(steps):
            now_ns += step
            ts_ns = max(now_ns - back, 0)
            fields = {"ts_event_ns": ts_ns, "key": key, "value": value * 100 + number}
            rows.append(of(**fields, **({"mark": 0} if of is Note else {})))
        return rows

    step = st.tuples(
        st.sampled_from([0, 0, 1, 2, 7]),
        st.sampled_from([0, 0, 0, 2, 4, 6]),
        st.integers(0, 2),
        st.integers(0, 3),
    )
    return st.lists(step, max_size=14).map(made)


def arrivals(count):
    """A way in which rows of two sources may arrive, as one mixes two stacks of cards."""
    return st.lists(st.booleans(), min_size=count, max_size=count)


def mixed(left, right, takes_left):
    """Frames of both sources' rows, one a row, and both ends."""
    heads, steps = [list(left), list(right)], []
    for is_left in takes_left:
        which = 0 if is_left else 1
        if heads[which]:
            steps.append(Rows(which, [heads[which].pop(0)]))
    for which, rest in enumerate(heads):
        steps += [Rows(which, [row]) for row in rest]
    return frames([*steps, End(0), End(1)])


# --- interval joins -------------------------------------------------------------------------------

WITHIN = (-3, 5)
NEAR = {
    how: ticks.interval_join(notes, by="key", within=WITHIN, how=how, at_most=20)
    for how in ("inner", "left", "anti")
}
LATER = ticks.interval_join(notes, by="key", within=(2, 4), how="left", at_most=20)
BEFORE = ticks.interval_join(notes, by="key", within=(-9, -2), how="left", at_most=20)
JOINED = Reusable(
    ot.Pipeline(**NEAR, later=LATER, before=BEFORE, late=NEAR["inner"].late), running=INTERPRETED
)


def pair(a, b):
    ts_ns, apart_ns = max(a.ts_event_ns, b.ts_event_ns), b.ts_event_ns - a.ts_event_ns
    return (ts_ns, a.key, a.value, a.ts_event_ns, apart_ns, b.value, b.mark)


def lone(a, most_ns, *right):
    sure_ns = max(a.ts_event_ns, a.ts_event_ns + most_ns + 1)
    return (sure_ns, a.key, a.value, a.ts_event_ns, *right)


@given(rows_of(Tick), rows_of(Note), arrivals(24))
def test_an_interval_join_finds_all_pairs_however_the_sides_arrive(left, right, takes_left):
    ran = JOINED.run(mixed(left, right, takes_left), digests=False)
    a, b = naive.in_time(left, LATENESS_NS), naive.in_time(right, LATENESS_NS)

    near = [pair(*both) for both in naive.pairs(a, b, *WITHIN)]
    alone = naive.alone(a, b, *WITHIN)
    assert sorted(ran.rows["inner"]) == sorted(near)
    assert sorted(ran.rows["anti"]) == sorted(lone(row, WITHIN[1]) for row in alone)
    rest = [lone(row, WITHIN[1], UNSET, UNSET, 0) for row in alone]
    assert sorted(ran.rows["left"]) == sorted(near + rest)
    assert len(ran.rows["late"]) == len(left) - len(a)
    for name, within in (("later", (2, 4)), ("before", (-9, -2))):
        wanted = [pair(*both) for both in naive.pairs(a, b, *within)]
        rest = [row[2:4] for row in ran.rows[name] if row[4] == UNSET]
        assert sorted(r for r in ran.rows[name] if r[4] != UNSET) == sorted(wanted)
        assert sorted(rest) == sorted(
            (row.value, row.ts_event_ns) for row in naive.alone(a, b, *within)
        )


def test_what_no_partner_can_come_for_is_forgotten():
    """Hundreds of keys go through a join that holds few of them."""
    near = ticks.interval_join(notes, by="key", within=(0, 9), how="left", capacity=8)
    pipeline = ot.Pipeline(near=near)
    deals = [Tick(10 * i, i, i) for i in range(600)]
    answers = [Note(10 * i + 3, i, i, 0) for i in range(0, 600, 2)]
    steps = []
    for i, deal in enumerate(deals):
        steps += [Rows(0, [deal]), Clock(1, deal.ts_event_ns + 50)]
        steps += [Rows(1, [answers[i // 2]])] if i % 2 == 0 else []
    ran = run(pipeline, frames([*steps, End(0), End(1)]), running=INTERPRETED, digests=False)

    assert len(ran.rows["near"]) == 600
    assert sum(row[4] == UNSET for row in ran.rows["near"]) == 300
    (label,) = [f"n{n}" for n, node in enumerate(pipeline.nodes) if node.kind == "join"]
    assert ran.engine.arrays[f"{label}_heap"][0] == 0  # no key is left


def test_a_full_join_halts_and_says_so():
    near = ticks.interval_join(notes, by="key", within=("-1s", "1s"), capacity=3)
    steps = [Rows(0, [Tick(i, i, 0)]) for i in range(5)]

    with pytest.raises(OperatorError, match="interval_join_ticks_notes is at capacity"):
        run(ot.Pipeline(near=near), frames(steps), running=INTERPRETED)


def test_too_many_partners_halt_and_say_so():
    near = ticks.interval_join(notes, by="key", within=("-1s", "1s"), at_most=2)
    steps = [Rows(0, [Tick(i, 1, 0) for i in range(3)]), Rows(1, [Note(3, 0, 1, 0)])]

    with pytest.raises(ot.OnetapeError, match="more than 2 partners; give a larger at_most=2"):
        run(ot.Pipeline(near=near), frames(steps), running=INTERPRETED)


# --- the order of event time ----------------------------------------------------------------------


def ordered_pipeline():
    """All that `order` is said to, with windows and timers behind."""
    both = ot.merge(ticks, told_as_ticks(notes), order="event_time")
    naps = Sleeper(both, nap=5)
    return ot.Pipeline(
        both=both,
        late=both.late,
        windows=ot.window(both, Chain, width=10, every=5, key="key", capacity=64),
        naps=naps,
        asof=ticks.asof_join(notes, by="key", order="event_time"),
        near=ticks.interval_join(
            notes, by="key", within=WITHIN, how="left", at_most=20, order="event_time"
        ),
        found=ticks.lookup(
            ot.table(notes, by="key", deleted=c.value % 2 == 0), how="left", order="event_time"
        ),
    )


def told_as_ticks(stream):
    @ot.operator
    def as_tick(n: Note) -> Tick:
        return Tick(n.ts_event_ns, n.key, n.value)

    return as_tick(stream)


ORDERED = Reusable(ordered_pipeline(), running=INTERPRETED)


@settings(max_examples=50)
@given(rows_of(Tick), rows_of(Note), arrivals(24), arrivals(24))
def test_in_the_order_of_event_time_arrival_changes_nothing(left, right, one, other):
    ran = [ORDERED.run(mixed(left, right, each)) for each in (one, other)]

    for name in ORDERED.engine.plan.outputs:
        if name != "late":  # what is late is said as it comes
            assert ran[0].rows[name] == ran[1].rows[name], name
            assert ran[0].origins[name] == ran[1].origins[name], name
            assert ran[0].digests[name] == ran[1].digests[name], name
    assert sorted(ran[0].rows["late"]) == sorted(ran[1].rows["late"])
    assert refused(ran[0]) == refused(ran[1])

    a, b = naive.in_time(left, LATENESS_NS), naive.in_time(right, LATENESS_NS)
    order = naive.in_order(a, b)
    assert ran[0].rows["both"] == [(row.ts_event_ns, row.key, row.value) for _, row in order]
    looked_up, marks, seen = [], {}, []
    for number, row in order:
        if number == 1:
            marks[row.key] = row
            seen.append(row)
            continue
        if row.key in marks:
            looked_up.append((*row, marks[row.key].value, marks[row.key].mark))
        entry = naive.versions(seen, row, lambda n: n.value % 2 == 0)
        found = (*row, *((entry.value, entry.mark) if entry else (UNSET, 0)))
        assert found in ran[0].rows["found"]
    assert ran[0].rows["asof"] == looked_up
    assert len(ran[0].rows["found"]) == len(a)


def test_a_row_waits_until_no_other_of_its_time_can_come():
    both = ot.merge(ticks, told_as_ticks(notes), order="event_time")
    engine = Reusable(ot.Pipeline(both=both), running=INTERPRETED)
    begin = [Rows(0, [Tick(10, 1, 1)]), Rows(1, [Note(10, 2, 1, 0)])]

    assert engine.run(frames(begin)).rows["both"] == []
    later = [*begin, Rows(0, [Tick(15, 1, 3)])]
    assert engine.run(frames(later)).rows["both"] == []  # notes may still bring one
    idle = [*later, Clock(1, 2_000_000_000)]
    assert engine.run(frames(idle)).rows["both"] == [(10, 1, 1), (10, 1, 2)]
    ended = [*later, End(1)]
    assert engine.run(frames(ended)).rows["both"] == [(10, 1, 1), (10, 1, 2)]


def test_as_many_rows_may_wait_as_is_said():
    both = ot.merge(ticks, told_as_ticks(notes), order="event_time", capacity=3)
    steps = [Rows(0, [Tick(i, 1, 0) for i in range(5)])]

    with pytest.raises(OperatorError, match="merge_in_order is at capacity"):
        run(ot.Pipeline(both=both), frames(steps), running=INTERPRETED)


def test_an_operator_takes_its_inputs_in_order():
    naps = Sleeper(ticks, nap=5, order="event_time", capacity={"keys": 8, "waiting": 4})
    steps = [Rows(0, [Tick(9, 1, 7), Tick(8, 1, 6), Tick(30, 1, 0)]), End(0)]
    ran = run(ot.Pipeline(naps=naps), frames(steps), running=INTERPRETED)

    assert ran.rows["naps"][0] == (14, 7 % 3, 1)  # five after the row of 9, which comes last


# --- lookups --------------------------------------------------------------------------------------

TABLE = ot.table(notes, by=c.key, deleted=c.value % 2 == 0)
NOW = ticks.lookup(TABLE)
THEN = ticks.lookup(TABLE, as_of="event_time", versions=2)
ALL = ticks.lookup(TABLE, how="left", suffix="_of_table")
ASKED = Reusable(
    ot.Pipeline(
        asked=ticks, now=NOW, unknown=NOW.unknown, then=THEN, then_unknown=THEN.unknown, all=ALL
    ),
    running=INTERPRETED,
)


@given(rows_of(Tick), rows_of(Note), arrivals(24))
@example(
    [Tick(5, 1, 100)], [Note(9, 301, 1, 0), Note(3, 102, 1, 0), Note(4, 203, 1, 0)], [False] * 3
)
def test_a_lookup_finds_the_version_that_the_tape_has(left, right, takes_left):
    ran = ASKED.run(mixed(left, right, takes_left), digests=False)
    seen, wanted = [], {name: [] for name in ran.rows}

    def is_deleted(note):
        return note.value % 2 == 0

    heads = [list(left), list(right)]
    order = [0 if is_left else 1 for is_left in takes_left] + [0] * len(left) + [1] * len(right)
    for which in order:
        if not heads[which]:
            continue
        row = heads[which].pop(0)
        if which == 1:
            seen.append(row)
            continue
        now = naive.versions(seen, row, is_deleted)
        then = naive.in_force(seen, row, is_deleted, 2)
        for entry, name, without in ((now, "now", "unknown"), (then, "then", "then_unknown")):
            wanted[name if entry else without].append(
                (*row, entry.value, entry.mark) if entry else tuple(row)
            )
        wanted["all"].append((*row, *((now.value, now.mark) if now else (UNSET, 0))))
    wanted["asked"] = [tuple(row) for row in left]
    assert ran.rows == wanted


def test_compiled_and_interpreted_answer_alike():
    left = [Tick(3 * i - i % 4, i % 3, i) for i in range(200)]
    right = [Note(2 * i + 5 * (i % 2), i, i % 3, 1) for i in range(250)]
    takes = [i % 5 < 2 for i in range(400)]
    pieces = mixed(left, right, takes)
    pipeline = ot.Pipeline(
        **JOINED.engine.plan.pipeline.outputs,
        **{f"o_{n}": s for n, s in ordered_pipeline().outputs.items()},
        **ASKED.engine.plan.pipeline.outputs,
    )
    interpreted = run(pipeline, pieces, running=INTERPRETED)
    compiled = run(pipeline, pieces)

    assert compiled[:5] == interpreted[:5]


# --- what cannot be -------------------------------------------------------------------------------


def test_mistakes_are_told():
    wrong = {
        "how was 'outer'": lambda: ticks.interval_join(notes, by="key", within=(0, 1), how="outer"),
        "within '.*' is empty|is empty": lambda: ticks.interval_join(
            notes, by="key", within=("1s", "1ms")
        ),
        "expected the least and the most": lambda: ticks.interval_join(
            notes, by="key", within="1s"
        ),
        "at_most was 0": lambda: ticks.interval_join(notes, by="key", within=(0, 1), at_most=0),
        "order was 'time'": lambda: ot.merge(ticks, ticks, order="time"),
        "expected a table": lambda: ticks.lookup(notes),
        "versions was 0": lambda: ticks.lookup(TABLE, versions=0),
        "as_of was 'now'": lambda: ticks.lookup(TABLE, as_of="now"),
        "has no field 'nothing'": lambda: ot.table(notes, by="key", deleted=c.nothing == 0),
        "capacity was 0": lambda: ot.table(notes, by="key", capacity=0),
    }
    for said, make in wrong.items():
        with pytest.raises(DeclarationError, match=said):
            make()
