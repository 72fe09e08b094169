"""State that is put away and comes back: the answer is that of a run in which everything fits."""

import random

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.engine.parts import Chain, Note, Pair, Seen, Sleeper, Tick, every_other
from tests.engine.running import End, Reusable, Rows, frames, make, run, run_engine

import onetape as ot
from onetape import c
from onetape.compiled import mode
from onetape.connect.lmdb_store import LmdbStore
from onetape.engine import operator, planner, spill, window
from onetape.engine.digest import state_digest
from onetape.engine.engine import Engine
from onetape.engine.state import restore, save
from onetape.engine.usage import usage
from onetape.records import DeclarationError, OperatorError
from onetape.runtimes.edge.node import EdgeNode

BIG = 10**6


@pytest.fixture
def interpreted():
    with mode.running("interpreted"):
        yield


def in_memory(declared, *streams, at_hand=None, keys=400, **said):
    """A use of an operator with room at hand for so many keys; without: for all."""
    node = declared.node(*streams, capacity={"keys": keys}, **said)
    if at_hand is None:
        return declared(*streams, capacity={"keys": keys}, **said)
    memory = spill.bytes_for(node, at_hand)
    return declared(*streams, capacity={"keys": keys}, memory=memory, **said)


def pipeline(at_hand, keys=400):
    """Behind a filter, merged, with two inputs, with timers; and state of others before it."""
    ticks, notes = ot.source(Tick, lateness=3, idle=20), ot.source(Note, idle=20)
    some = ot.merge(ticks.filter(c.value != 3), ticks.filter(c.value > 5))
    more = ticks.with_columns(value=c.value + 1, twice=c.value * 2).select(c.key, c.value)
    said = {"at_hand": at_hand, "keys": keys}
    timed = said | {"at_hand": at_hand and at_hand + 40}  # what has a timer stays
    return ot.Pipeline(
        before=window(ticks, Chain, width=20, key="key"),
        kept=in_memory(every_other, some, **said),
        pairs=in_memory(Pair, ticks, notes, wait=3, **timed),
        slept=in_memory(Sleeper, ticks.filter(c.value > 7), nap=4, again=2, **timed),
        added=in_memory(summed(more.of), more, **said),
        behind=every_other(in_memory(every_other, ticks, start=1, **said)),
    )


def summed(of):
    """An operator over rows of columns."""

    class Summed:
        total: ot.i64 = 0

        def on_row(self, t: of, out: ot.UpTo[1, Tick]) -> None:
            self.total += t.value
            out.append(Tick(t.ts_event_ns, t.key, self.total))

    return operator(key="key")(Summed)


def steps_of(script):
    now_ns, steps = 50, []
    for key, value, is_note in script:
        now_ns += value % 3
        of = Note(now_ns, value, key % BIG, 1) if is_note else Tick(now_ns, key, value)
        steps.append(Rows(int(is_note), [of]))
    return [*steps, End(0), End(1)]


def keys_in_turn(rng, count):
    """Some keys again and again, most now and then."""
    few_or_many = [
        lambda: rng.randrange(8),
        lambda: rng.randrange(90),
        lambda: BIG + rng.randrange(90),
    ]
    return [
        (rng.choice(few_or_many)(), rng.randrange(13), rng.random() < 0.3) for _ in range(count)
    ]


ENGINES = {}


def engines(at_hand):
    if at_hand not in ENGINES:
        ENGINES[at_hand] = Reusable(pipeline(at_hand), running="interpreted")
    return ENGINES[at_hand]


def same(one, other):
    assert one.rows == other.rows
    assert one.origins == other.origins
    assert one.counts == other.counts
    assert one.digests == other.digests
    assert one.state == other.state


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(0, 2**32), st.sampled_from([16, 23, 60]), st.integers(80, 160))
def test_the_answer_is_that_of_a_run_in_which_everything_fits(seed, at_hand, count):
    rng = random.Random(seed)
    steps = steps_of(keys_in_turn(rng, count))
    merged = [steps[0]]
    for step in steps[1:]:  # frames of several events, so that some are brought ahead
        last = merged[-1]
        if isinstance(step, Rows) and isinstance(last, Rows) and step.source == last.source:
            merged[-1] = Rows(step.source, last.rows + step.rows)
        else:
            merged.append(step)

    whole = engines(None).run(frames(steps))
    same(engines(at_hand).run(frames(steps)), whole)
    pieces = frames(merged)
    feeds = sorted(rng.sample(range(1, len(pieces)), min(5, len(pieces) - 1)))
    away = engines(at_hand).run(pieces, feeds=feeds)

    assert away.rows == whole.rows
    assert away.state == whole.state


@pytest.fixture(params=[pytest.param("compiled", marks=pytest.mark.slow), "interpreted"])
def running(request):
    with mode.running(request.param):
        yield request.param


def test_with_a_store_on_the_disk(running):
    pytest.importorskip("lmdb")
    steps = steps_of(keys_in_turn(random.Random(5), 500))
    whole = run(pipeline(None), frames(steps))
    engine = Engine(planner.plan(pipeline(20)), 1 << 10, store=LmdbStore)
    same(run_engine(engine, frames(steps)), whole)

    used = [facts["away"] for facts in usage(engine).values()]
    assert max(used) > 50
    assert sum(facts["used"] for facts in usage(engine).values()) == sum(
        facts["used"] for facts in usage(whole.engine).values()
    )


@pytest.mark.parametrize("make_store", [spill.DictStore, lambda size: LmdbStore(size, 1000)])
def test_a_store_gives_what_it_was_given(make_store):
    if make_store is not spill.DictStore:
        pytest.importorskip("lmdb")
    store, rng = make_store(24), np.random.default_rng(1)
    keys = np.unique(rng.integers(-(2**63), 2**63 - 1, 500))
    rows = rng.integers(0, 256, (len(keys), 24)).astype(np.uint8)
    store.put(keys, rows[::-1])
    store.put(keys, rows)  # the newest counts

    found, blocks = store.get(np.concatenate([keys[:50], [7]]))
    assert (found.tolist(), blocks.tolist()) == (keys[:50].tolist(), rows[:50].tolist())
    every = {k: r.tolist() for ks, rs in store.chunks(77) for k, r in zip(ks.tolist(), rs)}
    assert every == dict(zip(keys.tolist(), rows.tolist()))
    store.clear()
    assert list(store.chunks(10)) == []


def test_a_restored_engine_goes_on_with_what_was_put_away(interpreted):
    steps = frames(steps_of(keys_in_turn(random.Random(9), 250)))
    whole = run_engine(engines(20).fresh(), steps)
    first = engines(20).fresh()
    begun = run_engine(first, steps[:150])
    second = engines(20).fresh()
    restore(second, {name: array.copy() for name, array in save(first).items()})

    assert state_digest(second) == begun.state
    rest = run_engine(second, steps[150:])
    assert rest.state == whole.state
    assert {n: begun.rows[n] + rest.rows[n] for n in whole.rows} == whole.rows


def test_more_keys_than_may_be_known_halt_as_ever(interpreted):
    source = ot.source(Tick)
    rows = [Tick(100 + n, BIG + n % 60, 1) for n in range(200)]
    for at_hand in (None, 20):
        fits = ot.Pipeline(out=in_memory(every_other, source, at_hand=at_hand, keys=60))
        assert len(run(fits, frames([Rows(0, rows)])).rows["out"]) == 80
        full = ot.Pipeline(out=in_memory(every_other, source, at_hand=at_hand, keys=59))
        with pytest.raises(OperatorError, match="every_other is at capacity at offset 0, event 60"):
            run(full, frames([Rows(0, rows)]))


def test_keys_with_timers_stay_and_when_all_have_one_it_halts(interpreted):
    source = ot.source(Tick)
    rows = [Tick(100, BIG + n, 5) for n in range(40)]
    slept = ot.Pipeline(out=in_memory(Sleeper, source, at_hand=20, nap=50))

    with pytest.raises(OperatorError, match=r"Sleeper is at capacity .* keys that have a timer"):
        run(slept, frames([Rows(0, rows)]))


def test_what_cannot_be_put_away_is_refused(interpreted):
    source = ot.source(Tick)
    with pytest.raises(DeclarationError, match=r"memory was 1,000 bytes; expected 657,920 or more"):
        every_other(source, memory=1000)
    with pytest.raises(DeclarationError, match="memory was 'much'; expected bytes, or '256MB'"):
        every_other(source, memory="much")
    with pytest.raises(DeclarationError, match="memory= goes with keys that are kept for good"):
        every_other(source, memory="1MB", ttl="1s")
    with pytest.raises(
        DeclarationError, match="memory= needs the key before anything has happened"
    ):
        every_other(every_other(source), memory="1MB")
    changed = source.with_columns(key=c.key + 1)
    with pytest.raises(DeclarationError, match="makes rows of its own"):
        summed(changed.of)(changed, memory="1MB")


def test_a_live_node_refuses_it(interpreted, tmp_path):
    live = ot.Pipeline(out=every_other(ot.source(Tick), memory="2MB"))

    with pytest.raises(OperatorError, match="the hot loop would have to stop and wait"):
        EdgeNode(live, tmp_path / "tape")


def test_the_filter_knows_what_was_put_away_and_little_else(interpreted):
    words = np.zeros(spill.filter_words(1000), np.int64)
    direct, index, held = (
        np.zeros(spill.DIRECT, np.int64),
        spill_index(1000),
        np.zeros(1000, np.int64),
    )
    keys, slots = np.arange(1000) * 977 + 70_000, np.zeros(1000, np.int64)
    spill.add_all(direct, index, held, keys, slots)
    spill.take_all(direct, index, held, words, slots)

    assert all(spill.may_hold(words, int(key)) for key in keys)
    assert sum(spill.may_hold(words, int(key) + 1) for key in keys) < 50


def spill_index(limit):
    from onetape.compiled.index import new_index

    return new_index(limit)


@operator(key="key")
def counted(t: Tick, s: Seen) -> Tick | None:
    s.count += 1
    return None


@pytest.mark.parametrize("how", ["compiled", "interpreted"])
def test_four_times_the_memory(how):
    with mode.running(how):
        check_four_times()


def check_four_times():
    """Every key comes twice, far apart."""
    keys = [BIG + n * 7919 % 400 for n in range(800)]
    rows = [Tick(100 + n, key, 1) for n, key in enumerate(keys)]
    source = ot.source(Tick)
    engine = make(ot.Pipeline(out=in_memory(counted, source, at_hand=100, keys=400), all=source))
    made = run_engine(engine, frames([Rows(0, rows[n : n + 50]) for n in range(0, 800, 50)]))

    whole = make(ot.Pipeline(out=in_memory(counted, source, keys=400), all=source))
    assert usage(engine)["counted"]["used"] == 400
    assert usage(engine)["counted"]["away"] >= 300
    assert made.state == run_engine(whole, frames([Rows(0, rows)])).state
