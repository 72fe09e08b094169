"""How long keys are kept, and what happens when there are as many as may be."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.parts import Chain, Largest, Note, Pair, Sleeper, Tick, every_other
from tests.engine.running import End, Reusable, Rows, frames, make, run, run_engine
from tests.naive import engine as naive

import onetape as ot
from onetape import c
from onetape.compiled import mode
from onetape.engine import explain, planner, window
from onetape.engine.batches import batches
from onetape.engine.digest import state_digest
from onetape.engine.state import restore, save
from onetape.engine.usage import line_of, usage
from onetape.market import TopOfBook, Trade
from onetape.records import DeclarationError, OperatorError
from onetape.records.market import Alert

BIG = 10**6  # such keys are found by hashing


@pytest.fixture(params=["compiled", "interpreted"])
def running(request):
    with mode.running(request.param):
        yield request.param


@pytest.fixture
def interpreted():
    with mode.running("interpreted"):
        yield


def ticks(*keys, start_ns=100, step_ns=1):
    return [Tick(start_ns + n * step_ns, key, n) for n, key in enumerate(keys)]


def kept(**said):
    keys = said.pop("keys", 100)
    return ot.Pipeline(out=every_other(ot.source(Tick), capacity={"keys": keys}, **said))


def ran(pipeline, *events):
    return run(pipeline, frames([Rows(0, list(events))]))


def held(engine):
    return sorted(key for key, _ in states(engine))


def states(engine):
    keys, blocks = next(engine.plan.pipeline.nodes[1].canonical(engine, "n1"))
    return zip(keys.tolist(), blocks[0]["count"].tolist())


# --- operators ------------------------------------------------------------------------------------


def test_a_key_not_seen_for_its_ttl_begins_anew(interpreted):
    made = ran(kept(ttl=10), *ticks(1, 1, 2), Tick(110, 1, 0), Tick(120, 1, 0), Tick(200, 3, 0))

    # Seen at 101 and 110: still the same at 110, another at 120. Key 2 is over at 112.
    assert dict(states(made.engine)) == {3: 1}
    assert [row[0] for row in made.rows["out"]] == [101]
    assert made.counts.keys_forgotten == 3


@pytest.mark.parametrize("key", [5, 5 + BIG])
def test_one_event_before_its_time_is_over_a_key_is_the_same(interpreted, key):
    made = ran(kept(ttl=10), Tick(100, key, 1), Tick(109, key, 1), Tick(119, key, 1))

    assert [row[0] for row in made.rows["out"]] == [109]
    assert made.counts.keys_forgotten == 1


def test_events_of_further_keys_are_left_out(interpreted):
    made = ran(kept(keys=2, when_full="drop_new"), *ticks(1, BIG, 3, 1, 4, BIG, 3))

    assert held(made.engine) == [1, BIG]
    assert [row[1] for row in made.rows["out"]] == [1, BIG]
    assert made.counts.rows_dropped == 3


def test_room_that_a_forgotten_key_leaves_is_given_to_the_next(interpreted):
    events = [*ticks(1, 2, 3), Tick(120, 4, 1)]
    made = ran(kept(keys=2, when_full="drop_new", ttl=10), *events)

    assert held(made.engine) == [4]
    assert (made.counts.rows_dropped, made.counts.keys_forgotten) == (1, 2)


def test_the_key_seen_longest_ago_is_forgotten(running):
    made = ran(kept(keys=2, when_full="evict_oldest"), *ticks(1, BIG, 1, 3, BIG, 1))

    assert held(made.engine) == [1, BIG]
    assert dict(states(made.engine)) == {BIG: 1, 1: 1}
    assert made.counts.keys_evicted == 3


def test_slots_are_used_again(running):
    """A thousand keys pass through room for four."""
    for said in ({"ttl": 3, "keys": 8}, {"when_full": "evict_oldest", "keys": 4}):
        made = ran(kept(**said), *ticks(*range(BIG, BIG + 1000)))
        assert held(made.engine) == [BIG + n for n in range(1000 - said["keys"] % 5, 1000)]
        assert made.counts.keys_evicted + made.counts.keys_forgotten == 1000 - said["keys"] % 5
        assert len(made.engine.arrays["n1_keys"]) == said["keys"] + 1


def test_the_timer_of_a_forgotten_key_does_not_fire(running):
    def slept(**said):
        return ot.Pipeline(out=Sleeper(ot.source(Tick), nap=10, again=10, **said))

    events = [Tick(100, 1, 1), Tick(300, 2, 1)]
    alone, over = ran(slept(), *events), ran(slept(ttl=10), *events)

    assert [row[0] for row in alone.rows["out"]] == [110, 120, 130]
    assert over.rows["out"] == []
    assert over.counts.keys_forgotten == 1
    later = ran(slept(ttl=11), *events)
    assert [row[0] for row in later.rows["out"]] == [110]


def test_a_timer_does_not_count_as_an_event(interpreted):
    pipeline = ot.Pipeline(out=Sleeper(ot.source(Tick), nap=5, again=5, ttl=12))

    made = ran(pipeline, Tick(100, 1, 1), Tick(300, 2, 1))

    assert [row[0] for row in made.rows["out"]] == [105, 110]


def test_the_end_of_the_input_forgets_nothing(interpreted):
    made = run(kept(ttl=10), frames([Rows(0, ticks(1, 2, 3)), End(0)]))

    assert held(made.engine) == [1, 2, 3]


def test_with_a_ttl_and_too_many_keys_the_pipeline_halts(interpreted):
    pipeline = kept(keys=3, ttl=50)

    fits = ran(pipeline, *ticks(1, 2, 3, 1, start_ns=0), *ticks(4, 5, 6, start_ns=100))
    assert held(fits.engine) == [4, 5, 6]
    with pytest.raises(OperatorError, match=r"every_other is at capacity at offset 0, event 4"):
        ran(pipeline, *ticks(1, 2, 3, 4, 1))


# --- windows, sessions, batches -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["window", "session", "batches"])
def test_keys_that_hold_nothing_take_no_room(interpreted, kind):
    source = ot.source(Tick)
    out = {
        "window": lambda: window(source, Chain, width=10, every=5, key="key", capacity=16),
        "session": lambda: ot.session(source, Chain, gap=5, key="key", capacity=16),
        "batches": lambda: source.batches(2, by=c.key, capacity=16).agg(last=c.value.last()),
    }[kind]()
    keys = [BIG + n // 2 for n in range(2000)]

    made = run(ot.Pipeline(out=out), frames([Rows(0, ticks(*keys)), End(0)]))

    assert len({row[2 if kind != "batches" else 1] for row in made.rows["out"]}) == 1000
    assert usage(made.engine)[out.node.name]["used"] == 0
    assert made.engine.arrays["n1_keys"].size == 17


def test_a_few_keys_that_hold_nothing_may_stay(interpreted):
    out = window(ot.source(Tick), Chain, width=10, key="key", capacity=128)

    made = run(ot.Pipeline(out=out), frames([Rows(0, ticks(*range(500))), End(0)]))

    assert len(made.rows["out"]) == 500
    assert usage(made.engine)[out.node.name]["used"] == 128 // 64


@pytest.mark.parametrize("when_full", ["drop_new", "evict_oldest"])
def test_a_window_says_what_it_does_when_it_is_full(running, when_full):
    source = ot.source(Tick)
    out = window(source, Chain, width=100, key="key", capacity=2, when_full=when_full)
    made = run(ot.Pipeline(out=out), frames([Rows(0, ticks(1, 2, 3, 1)), End(0)]))

    counts = [(row[2], row[4]) for row in made.rows["out"]]
    assert counts == {"drop_new": [(1, 2), (2, 1)], "evict_oldest": [(1, 1), (3, 1)]}[when_full]
    assert (made.counts.rows_dropped, made.counts.keys_evicted) == (
        (1, 0) if when_full == "drop_new" else (0, 2)
    )


# --- against the twin -----------------------------------------------------------------------------


def nodes(tick, note, said):
    keys = said["capacity"]["keys"]
    bounded = {k: v for k, v in said.items() if k != "ttl"} | {"capacity": keys, "key": "key"}
    return {
        "function": lambda: every_other(tick, **said),
        "timer": lambda: Sleeper(tick, nap=7, again=5, **said),
        "two inputs": lambda: Pair(tick, note, wait=6, **said),
        "window": lambda: window(tick, Chain, width=8, **bounded),
        "sliding": lambda: window(note, Largest, width=12, every=4, **bounded),
        "session": lambda: ot.session(tick, Chain, gap=6, **bounded),
        "batches": lambda: batches(
            note, Largest, rows=3, **said | {"capacity": keys, "key": "key"}
        ),
    }


ENGINES = {}


def engine_of(kind, ttl, limit):
    if (kind, ttl, limit) not in ENGINES:
        said = {"capacity": {"keys": limit[0]}, "when_full": limit[1]}
        said |= {"ttl": ttl} if ttl else {}
        streams = ot.source(Tick, lateness=3, idle=20), ot.source(Note, idle=20)
        out = nodes(*streams, said)[kind]()
        pipeline = ot.Pipeline(out=out, a=streams[0], b=streams[1])
        ENGINES[kind, ttl, limit] = Reusable(pipeline, running="interpreted")
    return ENGINES[kind, ttl, limit]


events = st.lists(
    st.tuples(st.booleans(), st.sampled_from([1, 2, 3, 4, 70_000]), st.integers(-4, 9)),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(list(nodes(None, None, {"capacity": {"keys": 1}}))),
    st.sampled_from([0, 5, 12]),
    st.sampled_from([(1, "drop_new"), (3, "drop_new"), (1, "evict_oldest"), (3, "evict_oldest")]),
    events,
    st.integers(0, 2**32),
)
def test_any_split_gives_the_answer_of_the_twin(kind, ttl, limit, script, seed):
    made = engine_of(kind, ttl, limit)
    sources = [source.of for source in made.engine.plan.pipeline.sources]
    now_ns, steps = 50, []
    for is_tick, key, ahead in script:
        now_ns += max(ahead, 0)
        of = Tick if is_tick else Note
        row = Tick(now_ns + ahead, key, ahead) if is_tick else Note(now_ns, ahead, key, 1)
        steps.append(Rows(sources.index(of), [row]))
    steps += [End(0), End(1)]
    pieces = frames(steps)
    rng = random.Random(seed)
    feeds = sorted(rng.sample(range(1, len(pieces)), min(3, len(pieces) - 1)))

    whole, split = made.run(pieces), made.run(pieces, feeds=feeds)
    twin = naive.run(made.engine.plan.pipeline, steps)

    assert whole.rows == split.rows == twin.rows
    assert whole.origins == split.origins == twin.origins
    assert (whole.digests, whole.state) == (split.digests, split.state)
    assert whole.counts.rows_dropped == split.counts.rows_dropped == twin.dropped
    assert whole.counts.keys_evicted == split.counts.keys_evicted == twin.evicted
    assert whole.counts.keys_forgotten == split.counts.keys_forgotten <= twin.forgotten


# --- state ----------------------------------------------------------------------------------------


def test_which_slots_keys_have_does_not_show_in_the_digest(interpreted):
    pipeline = kept(ttl=50)
    last = ticks(1, 2, start_ns=900)

    one, other = ran(pipeline, *ticks(7, 8), *last), ran(pipeline, *ticks(7, 7), *last)

    assert list(one.engine.arrays["n1_keys"][:2]) != list(other.engine.arrays["n1_keys"][:2])
    assert one.state == other.state


def test_the_order_in_which_keys_were_seen_is_part_of_the_state(interpreted):
    pipeline = kept(when_full="evict_oldest", ttl=50)
    rows = [Tick(100, 1, 1), Tick(100, 2, 1)]

    assert ran(pipeline, *rows).state != ran(pipeline, *rows[::-1]).state


def test_a_restored_engine_forgets_what_the_first_would_have(interpreted):
    pipeline = kept(keys=2, when_full="evict_oldest", ttl=30)
    begin, rest = ticks(1, 2, 1, 3), ticks(2, 4, 3, start_ns=125, step_ns=7)

    whole = make(pipeline)
    first = run_engine(whole, frames([Rows(0, begin)]))
    second = make(pipeline)
    restore(second, {name: array.copy() for name, array in save(whole).items()})
    assert state_digest(second) == first.state
    again, on = (run_engine(e, frames([Rows(0, rest)])) for e in (second, whole))

    assert again.rows == on.rows
    assert again.state == on.state
    assert again.counts == on.counts


# --- columns --------------------------------------------------------------------------------------


def trade(ts_ns, instrument_id, price_ticks=10):
    fields = dict.fromkeys(Trade._fields, 0)
    return Trade(
        **fields
        | {"ts_event_ns": ts_ns, "instrument_id": instrument_id, "price_ticks": price_ticks}
    )


def quote(ts_ns, instrument_id):
    fields = dict.fromkeys(TopOfBook._fields, 0)
    return TopOfBook(**fields | {"ts_event_ns": ts_ns, "instrument_id": instrument_id})


def test_a_join_forgets_a_key(interpreted):
    trades, quotes = ot.source(Trade), ot.source(TopOfBook)
    rows = [quote(100, 1), trade(110, 1), quote(200, 2), trade(125, 1)]
    joined = {}
    for ttl in (None, "26ns", "25ns"):  # time is that of the trades, which are behind
        out = trades.asof_join(quotes, by="instrument_id", ttl=ttl)
        pipeline = ot.Pipeline(out=out)
        kinds = [source.of for source in pipeline.sources]
        made = run(pipeline, frames([Rows(kinds.index(type(row)), [row]) for row in rows]))
        joined[ttl] = len(made.rows["out"]), made.counts.keys_forgotten

    assert joined == {None: (2, 0), "26ns": (2, 0), "25ns": (1, 1)}


def test_an_alert_is_told_again_of_a_key_that_was_forgotten(interpreted):
    trades = ot.source(Trade)
    said = {"once_per": 1000, "capacity": 1, "when_full": "evict_oldest"}
    pipeline = ot.Pipeline(out=trades.alert("any", **said))
    rows = [trade(100 + n, key) for n, key in enumerate([1, 1, 2, 1])]

    made = ran(pipeline, *rows)

    at = Alert._fields.index("instrument_id")
    assert [row[at] for row in made.rows["out"]] == [1, 2, 1]
    assert made.counts.keys_evicted == 2


# --- what is said ---------------------------------------------------------------------------------


def test_a_class_says_it_for_all_its_uses():
    body = {"__annotations__": {"n": ot.i64}, "n": 0}

    def on_tick(self, t: Tick) -> Tick | None:
        return None

    counted = ot.operator(key="key", ttl="10m", when_full="drop_new")(
        type("Counted", (), body | {"on_tick": on_tick})
    )
    source = ot.source(Tick)

    assert counted.node(source).keeping.ttl_ns == 600 * 10**9
    assert counted.node(source).keeping.when_full == "drop_new"
    assert counted.node(source, ttl="1s", when_full="halt").keeping.ttl_ns == 10**9


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"when_full": "panic"}, "when_full was 'panic'; expected 'halt', 'drop_new'"),
        ({"ttl": 0}, "every_other: ttl was 0; expected a time, such as '10m'"),
        ({"ttl": "-1s"}, r"'-1s'"),
    ],
)
def test_what_cannot_be_is_refused(said, error):
    with pytest.raises(DeclarationError, match=error):
        kept(**said)


def test_operators_without_keys_have_none_to_forget():
    from tests.engine.parts import scaled

    with pytest.raises(DeclarationError, match=r"ttl bounds keys.* this operator has no state"):
        scaled(ot.source(Tick), ttl="1s")


def test_explain_and_usage_say_it(interpreted):
    pipeline = kept(keys=1000, ttl="1s", when_full="evict_oldest")
    facts = explain.explain(planner.plan(pipeline))["nodes"][1]
    said = explain.text(planner.plan(pipeline))

    assert (facts["keys_most"], facts["ttl_ns"], facts["when_full"]) == (
        1000,
        10**9,
        "evict_oldest",
    )
    assert facts["key_bytes"] * 1000 >= facts["reserved_bytes"] - 8 * 65_536
    assert "by key; at most 1,000 keys; at capacity the key seen longest ago is forgotten" in said
    assert "a key not seen for 1,000,000,000 ns is forgotten" in said
    assert f"{facts['key_bytes']:,} bytes a key" in said
    made = ran(kept(keys=2, when_full="drop_new"), *ticks(1, 2, 3))
    assert line_of("x", usage(made.engine)["every_other"]) == (
        "x: 2 of 2 keys, 1 rows of others left out"
    )
