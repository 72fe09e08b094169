"""Patterns: what the kernel finds is what the naive twins find, and what SQL would give."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.pattern_parts import Ping, made, random_pattern, random_pings
from tests.engine.running import End, Rows, frames, run
from tests.naive.patterns import Watch, in_sql

import onetape as ot
from onetape.compiled import mode

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
@settings(max_examples=150, deadline=None)
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
@settings(max_examples=150, deadline=None)
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
