"""A pipeline in parts by key gives the rows, origins and digests of a run in one part, in order."""

import random
import re
from itertools import pairwise

import numpy as np
import pytest
from tests.engine.graphs import cut, random_pipeline, random_steps
from tests.engine.parts import (
    Chain,
    Largest,
    Note,
    Pair,
    Sleeper,
    Split,
    Tick,
    closed,
    every_other,
    noted,
    scaled,
    some,
)
from tests.engine.running import End, Rows, frames, run, tuples

import onetape as ot
from onetape.compiled import mode
from onetape.engine import window
from onetape.engine.batches import batches
from onetape.engine.digest import digests_of
from onetape.engine.engine import StepError
from onetape.engine.keeping import PLAIN
from onetape.engine.partition import owner, partitioned
from onetape.records import DeclarationError, OperatorError
from onetape.runtimes import partitions
from onetape.runtimes.partitions import Parts

INTERPRETED = range(40)
OWN = {"frames": 0}  # those of the run, cut otherwise
OF = {"key": "key", "capacity": 1 << 10}
NEAR = {"by": "key", "within": (-3, 6), "capacity": 1 << 12}


def keyed_pipeline(seed):
    """Everything that goes by `key`, and keeps it, over two sources; the same for the same seed."""
    rng = random.Random(seed)
    lateness, idle = rng.choice([0, 5, 20]), rng.choice([10, 60])
    ticks = ot.source(Tick, name="a", lateness=lateness, idle=idle)
    notes = ot.source(Note, name="b", lateness=rng.choice([0, 5]), idle=idle)
    kept = scaled(ticks, by=3)
    every = rng.choice([4, 10])
    sliding = window(kept, Chain, width=every * rng.choice([1, 2, 5]), every=every, **OF)
    session = ot.session(ticks, Chain, gap=every, **OF)
    pairs = Pair(kept, notes, wait=rng.choice([2, 12]), capacity={"keys": 1 << 10})
    split = Split(kept, at=3)
    near = kept.interval_join(notes, how="left", **NEAR)
    outputs = {
        "kept": kept,
        "sliding": sliding,
        "late": sliding.late,
        "session": session,
        "odd": every_other(ticks, start=1, capacity={"keys": 1 << 10}),
        "pairs": pairs,
        "naps": Sleeper(ticks, nap=3, again=9, capacity={"keys": 1 << 10}),
        "low": split.low,
        "near": near,
        "alone": notes.interval_join(kept, how="anti", **NEAR),
        "late_near": near.late,
        "found": ticks.lookup(ot.table(notes, by="key"), how="left"),
        "batches": batches(notes, Largest, rows=3, **OF),
        "both": ot.merge(kept, ticks),
        "ticks": ticks,
        "noted": noted(ticks),
    }
    names = rng.sample(sorted(outputs), rng.randrange(2, 7))
    return ot.Pipeline(**{name: outputs[name] for name in names})


def staged_pipeline(seed):
    """As `keyed_pipeline`, and behind it steps of another key, of all rows, of keys made anew."""
    rng = random.Random(seed)
    ticks = ot.source(Tick, name="a", lateness=rng.choice([0, 5, 20]), idle=rng.choice([10, 60]))
    notes = ot.source(Note, name="b", lateness=rng.choice([0, 5]), idle=60)
    kept, every = scaled(ticks, by=3), rng.choice([4, 10])
    sums = window(kept, Chain, width=2 * every, every=every, **OF)
    first = {"ticks": ticks, "sums": sums, "odd": every_other(ticks, capacity={"keys": 1 << 10})}
    by_value = window(kept, Chain, width=every, key="value", capacity=1 << 10)
    closing = closed(sums, at_least=1)
    if seed % 2:  # all of the second stage by one other key, in parts too
        split = Split(kept, at=2)
        second = {
            "by_value": by_value,
            "late": by_value.late,
            "again": window(closing, Chain, width=3 * every, key="value", capacity=1 << 10),
            "low": window(split.low, Chain, width=every, key="value", capacity=1 << 10),
            "twice": closed(by_value),
        }
    else:
        moved = some(ticks, of=2).repartition(by=ot.c.key)
        second = {
            "by_value": by_value,
            "moved": every_other(moved, capacity={"keys": 1 << 10}),
            "paired": Pair(moved, notes, wait=7, capacity={"keys": 1 << 10}),
            "naps": Sleeper(closed(by_value), nap=5, again=9, capacity={"keys": 1 << 10}),
            "both": ot.merge(closing, closed(by_value)),
            "all": window(closing, Chain, width=every, key="", capacity=4),
        }
    names = rng.sample(sorted(second), rng.randrange(2, 5))
    return ot.Pipeline(**first, **{name: second[name] for name in names})


def buffers(pieces, feeds):
    bounds = [0, *feeds, len(pieces)]
    for begin, end in pairwise(bounds):
        data = b"".join(pieces[begin:end])
        yield np.frombuffer(bytearray(data), np.uint8), 0, len(data)


def in_parts(pipeline, pieces, feeds, count, by="key"):
    parts = Parts(pipeline, count, by=by)
    rows = {name: [] for name in pipeline.outputs}
    origins = {name: [] for name in pipeline.outputs}

    def take(name, made, caused):
        rows[name] += tuples(made)
        origins[name] += [tuple(origin)[1:] for origin in caused.tolist()]

    result = partitions.run(parts, buffers(pieces, feeds), take)
    return rows, origins, result


def check(seed, events, make=keyed_pipeline):
    rng = random.Random(seed)
    pipeline = make(seed)
    pieces, feeds = cut(rng, random_steps(seed, pipeline, events), 0.7)
    whole = run(pipeline, frames(pieces))
    for count in (1, 2, 5):
        rows, origins, result = in_parts(pipeline, frames(pieces), feeds, count)
        assert rows == whole.rows
        assert origins == whole.origins
        assert result.digests == whole.digests
        assert vars(result.counts) | OWN == vars(whole.counts) | OWN
    return whole


@pytest.mark.parametrize("seed", INTERPRETED)
def test_parts_give_what_one_part_gives(seed):
    with mode.running("interpreted"):
        check(seed, events=80)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_parts_give_what_one_part_gives_more(seed):
    with mode.running("interpreted"):
        check(seed, events=200)


@pytest.mark.parametrize("seed", INTERPRETED)
def test_two_stages_give_what_one_part_gives(seed):
    with mode.running("interpreted"):
        check(seed, events=80, make=staged_pipeline)


@ot.operator(key="key")
class Nap:
    """Wakes a while after an event; an event of value 0 cancels that."""

    wake_ns: ot.i64 = ot.UNSET

    def on_tick(self, t: Tick) -> None:
        self.wake_ns = t.ts_event_ns + 3 if t.value else ot.UNSET

    def on_timer(self, now_ns: int) -> Tick | None:
        return Tick(now_ns, 1, 1)


CANCELLED = [(10, 1, 1), (11, 1, 0), (14, 1, 1), (20, 1, 0), (21, 1, 1), (40, 1, 0)]
PAST = [(10, 1, 1), (14, 2, 1), (30, 3, 1), (9, 4, 1), (31, 5, 1), (60, 6, 1)]


@pytest.mark.parametrize("ticks", [CANCELLED, PAST])
@pytest.mark.parametrize("napping", ["key", "value"])  # value: the timers are in the second stage
def test_timers_cancelled_or_set_to_the_past_are_those_of_one_part(ticks, napping):
    with mode.running("interpreted"):
        naps = Nap(ot.source(Tick, name="a"))
        sums = window(naps, Chain, width=4, key="", capacity=1, lateness=20)
        exact = window(naps, Chain, width=4, key="", capacity=1)
        pipeline = ot.Pipeline(naps=naps, sums=sums, exact=exact, late=exact.late)
        pieces = frames([Rows(0, [Tick(*tick)]) for tick in ticks] + [End(0)])
        whole = run(pipeline, pieces)
        for count in (1, 2):
            rows, origins, _ = in_parts(pipeline, pieces, [], count, by=napping)
            assert (rows, origins) == (whole.rows, whole.origins)
    assert len(whole.rows["sums"]) > 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_two_stages_give_what_one_part_gives_more(seed):
    with mode.running("interpreted"):
        check(seed, events=200, make=staged_pipeline)


def keep_all(node):
    """Such steps are refused: see below."""
    if not node.keeping.is_plain:
        object.__setattr__(node, "keeping", PLAIN)
        many = {"keys": 1 << 10} if isinstance(node.capacity, dict) else 1 << 10
        object.__setattr__(node, "capacity", many)


def in_parts_or_refused(seed, events):
    """What random graphs of all kinds of steps come to: 'same', or why they do not go in parts."""
    rng, pipeline = random.Random(seed), random_pipeline(seed)
    for node in pipeline.nodes:
        keep_all(node)
    pieces, feeds = cut(rng, random_steps(seed, pipeline, events), 0.7)
    whole = run(pipeline, frames(pieces))
    for count in (1, 2, 3):
        try:
            rows, origins, result = in_parts(pipeline, frames(pieces), feeds, count)
        except (StepError, DeclarationError) as why:
            assert re.search("another part owns|name the outputs|order of event time", str(why))
            return "refused"
        assert (rows, origins, result.digests) == (whole.rows, whole.origins, whole.digests)
        assert vars(result.counts) | OWN == vars(whole.counts) | OWN
    return "same"


def test_random_graphs_give_the_same_or_say_why_not():
    with mode.running("interpreted"):
        came_to = [in_parts_or_refused(seed, 60) for seed in range(100, 130)]
    assert came_to.count("same") > 5


@pytest.mark.slow
def test_more_random_graphs_give_the_same_or_say_why_not():
    with mode.running("interpreted"):
        came_to = [in_parts_or_refused(seed, 150) for seed in range(130, 400)]
    assert came_to.count("same") > 50


@pytest.mark.parametrize("seed", [4, 7])
def test_compiled_stages_give_what_one_part_gives(seed):
    check(seed, events=2_000, make=staged_pipeline)


def test_compiled_parts_give_what_one_part_gives():
    whole = check(3, events=2_000)
    assert min(map(len, whole.rows.values())) > 0


def test_every_part_has_keys():
    assert {owner(key, 4) for key in range(40)} == {0, 1, 2, 3}
    assert {owner(key, 3) for key in range(-20, 2**40, 2**35)} == {0, 1, 2}


def test_digests_of_parts_know_a_row_in_another_order():
    with mode.running("interpreted"):
        pipeline = ot.Pipeline(ticks=ot.source(Tick))
        steps = [Rows(0, [Tick(1, 5, 1)]), Rows(0, [Tick(1, 5, 2)]), End(0)]
        one = in_parts(pipeline, frames(steps), [], 2)[2]
        other = in_parts(pipeline, frames([steps[1], steps[0], steps[2]]), [], 2)[2]
        assert one.digests != other.digests
        assert set(one.digests) == set(digests_of(Parts(pipeline, 1, by="key").engines[0].plan))


def test_a_step_of_another_key_is_refused_with_its_name():
    ticks = ot.source(Tick)
    by_value = ot.window(ticks, Chain, width=4, key="value")
    with pytest.raises(DeclarationError, match="is keyed by 'value', and the parts are by 'key'"):
        partitioned(ot.Pipeline(w=by_value), "key")
    few = every_other(ot.source(Tick), when_full="evict_oldest")
    with pytest.raises(DeclarationError, match="every_other forgets keys, refuses them"):
        partitioned(ot.Pipeline(out=few), "key")
    with pytest.raises(DeclarationError, match="no source has a field 'instrument_id'"):
        partitioned(ot.Pipeline(w=by_value))
    with pytest.raises(OperatorError, match="expected 1 to 256"):
        Parts(ot.Pipeline(ticks=ticks), 0, by="key")


def test_an_operator_that_makes_rows_of_another_key_stops_the_run():
    with mode.running("interpreted"):
        moved = some(ot.source(Tick))  # gives them a key of its own
        pipeline = ot.Pipeline(sums=every_other(moved, capacity={"keys": 1 << 10}))
        steps = [Rows(0, [Tick(n, n, n + 1) for n in range(20)]), End(0)]
        with pytest.raises(StepError, match="a row of a key that another part owns"):
            in_parts(pipeline, frames(steps), [], 3)


def test_the_second_stage_is_in_parts_where_it_goes_by_one_key():
    with mode.running("interpreted"):
        engines, edges = set(), set()
        for seed in range(12):
            second = Parts(staged_pipeline(seed), 3, by="key").second
            if second is not None:
                engines.add((seed % 2, len(second.stage.engines)))
                edges.add(len(second.stage.pipeline.sources))
    assert engines >= {(1, 3), (0, 1)}
    assert max(edges) > 2


@pytest.mark.parametrize("said", [{"ttl": "5ns"}, {"when_full": "drop_new"}, {"memory": "1MB"}])
@pytest.mark.parametrize("by", ["key", "value"])  # value: the step is in the second stage
def test_a_step_that_forgets_keys_is_refused(said, by):
    few = every_other(ot.source(Tick), capacity={"keys": 8}, **said)
    with pytest.raises(DeclarationError, match="every_other forgets keys, refuses them or puts"):
        Parts(ot.Pipeline(few=few), 2, by=by)


def test_where_timers_of_both_stages_would_change_places_the_order_of_outputs_is_asked_for():
    ticks = ot.source(Tick)
    by_value = window(ticks, Chain, width=4, key="value", capacity=1 << 10)
    by_key = window(ticks, Chain, width=4, key="key", capacity=1 << 10)
    with pytest.raises(DeclarationError, match="name the outputs of what goes by the parts' key"):
        Parts(ot.Pipeline(value=by_value, key=by_key), 2, by="key")
    Parts(ot.Pipeline(key=by_key, value=by_value), 2, by="key")
