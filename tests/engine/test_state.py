"""State saved at any point and put into another engine goes on as if nothing had happened.

And what digests are worth: the order of different keys does not show, everything else does.
"""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.graphs import random_pipeline, random_steps
from tests.engine.parts import Chain, Sleeper, Tick, every_other
from tests.engine.running import End, Reusable, Rows, frames, make, run, run_engine
from tests.market.flows import event

import onetape as ot
from onetape.compiled import mode
from onetape.engine import layout, window
from onetape.engine.digest import OutputDigest, state_digest
from onetape.engine.state import restore, save
from onetape.market.book import Book
from onetape.records import OperatorError
from onetape.records.market import ADD, BID, CANCEL, WHOLE, MarketEvent


def saved(engine):
    return {name: array.copy() for name, array in save(engine).items()}


# --- going on -------------------------------------------------------------------------------------


def check_any_point(pipeline, steps, at):
    """Run in one engine to `at`, then in another from what was saved; and all in one."""
    made = Reusable(pipeline)
    pieces = frames(steps)
    whole = run_engine(made.fresh(), pieces)

    first = made.fresh()
    begun = run_engine(first, pieces[:at])
    second = made.fresh()
    restore(second, saved(first))
    assert state_digest(second) == begun.state
    rest = run_engine(second, pieces[at:])

    for name in whole.rows:
        assert begun.rows[name] + rest.rows[name] == whole.rows[name]
        assert begun.origins[name] + rest.origins[name] == whole.origins[name]
    assert rest.counts == whole.counts
    assert rest.state == whole.state


@pytest.mark.parametrize("seed", range(200, 212))
def test_a_restored_engine_goes_on(seed):
    pipeline = random_pipeline(seed)
    steps = random_steps(seed, pipeline, 40)
    with mode.running("interpreted"):
        for at in random.Random(seed).sample(range(len(steps)), 2):
            check_any_point(pipeline, steps, at)


@pytest.mark.parametrize("at", [0, 1, 100, 333, 500])
def test_a_restored_engine_goes_on_compiled(at):
    pipeline = random_pipeline(13)

    check_any_point(pipeline, random_steps(13, pipeline, 400), at)


def small(keys=100, nap=10):
    source = ot.source(Tick)
    kept = every_other(source, capacity={"keys": keys})
    chain = window(source, Chain, width=10, key="key", capacity=keys)
    return ot.Pipeline(kept=kept, chain=chain, slept=Sleeper(source, nap=nap))


@pytest.fixture
def interpreted():
    with mode.running("interpreted"):
        yield


def test_the_state_of_another_pipeline_is_refused(interpreted):
    one = make(small())

    with pytest.raises(OperatorError, match=r"of another pipeline: it differs in \['n2_direct'"):
        restore(make(ot.Pipeline(x=every_other(ot.source(Tick)))), saved(one) | {"n2_keys": 0})
    with pytest.raises(OperatorError, match=r"checkpoint's n2_\w+ is int64\(\d+,\); this pipeline"):
        restore(make(small(keys=300)), saved(one))


def test_a_refused_state_changes_nothing(interpreted):
    engine = make(small())
    run_engine(engine, frames([Rows(0, [Tick(5, 1, 1)])]))
    before = saved(engine)

    with pytest.raises(OperatorError):
        restore(engine, saved(make(small(keys=300))))

    assert all((before[name] == array).all() for name, array in save(engine).items())


# --- the digest of state --------------------------------------------------------------------------


def test_the_order_in_which_keys_came_does_not_show(interpreted):
    """Slots are handed out as keys appear; two engines with equal state have equal digests."""
    some = [Tick(5, key, key % 7) for key in (3, 70_000, -1, 12, 0, 2**40)]

    digests = {
        run(small(), frames([Rows(0, [*order])])).state
        for order in (some, some[::-1], some[3:] + some[:3])
    }

    assert len(digests) == 1


def test_every_bit_of_live_state_shows(interpreted):
    steps = [Rows(0, [Tick(n, n % 3, n % 5) for n in range(40)])]
    engine = make(small())
    whole = run_engine(engine, frames(steps)).state
    rng, changed = np.random.default_rng(4), 0
    for name in ("n1_state", "n3_state", "n2_panes"):
        array = engine.arrays[name]
        data = array[:3].view(np.uint8).reshape(-1)
        held = np.zeros(len(array[:3]), array.dtype)
        for field in array.dtype.names:  # padding is never written, and not looked for
            held[field] = -1
        bits = held.view(np.uint8).reshape(-1)
        for at in rng.permutation(len(data))[:30]:
            if bits[at] == 0 or (name == "n2_panes" and not is_live(engine, at, array)):
                continue
            flip = 1 << rng.integers(8)
            data[at] ^= flip
            changed += 1
            assert state_digest(engine) != whole
            data[at] ^= flip

    assert changed > 50
    assert state_digest(engine) == whole


def is_live(engine, at, array):
    """Is the pane with byte `at` one that a window still needs?"""
    number = int(engine.arrays["n2_numbers"][at // array.dtype.itemsize])
    return number > 0 and number * 10 > int(engine.run[0]["watermark_ns"])


def test_timers_and_sources_are_part_of_state(interpreted):
    first = [Tick(5, 1, 0), Tick(6, 1, 0)]

    one = run(small(nap=10), frames([Rows(0, [*first, Tick(7, 1, 3)])])).state
    later = run(small(nap=11), frames([Rows(0, [*first, Tick(7, 1, 3)])])).state
    ended = run(small(nap=10), frames([Rows(0, [*first, Tick(7, 1, 3)]), End(0)])).state

    assert len({one, later, ended}) == 3


def test_a_book_is_its_orders_not_its_history(interpreted):
    """What came and went leaves rows and chunks behind that mean nothing; the orders are equal."""

    def state(*events):
        capacity = {"orders": 64, "instruments": 4, "levels": 1 << 12}
        book = Book(ot.source(MarketEvent), capacity=capacity)
        pipeline = ot.Pipeline(top=book.top)
        filler = [event(0, 0, 0)] * (8 - len(events))  # as many events, the last at the same time
        return run(pipeline, frames([Rows(0, [*filler, *events])])).state

    def add(order_id, price, qty, ts_ns=9):
        return event(
            ts_ns, ADD, order_id, side=BID, price_ticks=price, qty_lots=qty, instrument_id=1
        )

    gone = event(9, CANCEL, 7, flags=WHOLE, instrument_id=1)
    plain = state(add(1, 10, 5), add(2, 20, 6))

    assert plain != state(add(1, 10, 5), add(2, 20, 7))
    assert plain != state(add(1, 10, 5), add(2, 6, 20))  # two columns with their values swapped
    assert plain != state(add(1, 10, 6), add(2, 20, 5))
    assert plain != state(add(2, 20, 6), add(1, 10, 5))  # time priority
    with_history = state(add(7, 90, 1), gone, add(1, 10, 5), add(2, 20, 6))
    assert plain != with_history  # priorities are running numbers: they tell what came before
    assert with_history == state(add(7, 11, 3), gone, add(1, 10, 5), add(2, 20, 6))


# --- the digest of outputs ------------------------------------------------------------------------


@ot.record
class Row:
    ts_event_ns: ot.i64
    value: ot.u64
    instrument_id: ot.u32
    small: ot.u8


def block_and_origins(rows):
    """rows: (instrument, value, cause) of each."""
    block, origins = np.zeros(len(rows), Row.dtype), np.zeros(len(rows), layout.ORIGIN)
    for i, (instrument, value, cause) in enumerate(rows):
        block[i] = (cause, value, instrument, value % 256)
        origins[i] = (i, cause, 0, 0, 3, 0, 0)
    return block, origins


def digest_of(*parts, key="instrument_id"):
    digest = OutputDigest(Row, key)
    for block, origins in parts:
        digest.update(block, origins)
    return digest.hexdigest()


made_rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2**64 - 1), st.integers(0, 50)),
    min_size=1,
    max_size=20,
)


@given(made_rows, st.integers(0, 20), st.randoms())
def test_blocks_and_the_order_of_keys_do_not_show(rows, at, rng):
    block, origins = block_and_origins(rows)
    whole = digest_of((block, origins))

    by_key = sorted(range(len(rows)), key=lambda i: rows[i][0])  # stable: each key's order stays
    lots = sorted(range(5), key=lambda _: rng.random())
    mixed = [i for key in lots for i in by_key if rows[i][0] == key]

    assert digest_of((block[:at], origins[:at]), (block[at:], origins[at:])) == whole
    assert digest_of(block_and_origins([rows[i] for i in mixed])) == whole


@given(made_rows, st.data())
def test_everything_else_shows(rows, data):
    block, origins = block_and_origins(rows)
    whole = digest_of((block, origins))
    i = data.draw(st.integers(0, len(rows) - 1))
    what = data.draw(
        st.sampled_from(["value", "small", "sequence", "key", "index", "node", "root"])
    )
    changed = block if what in Row._fields else origins
    bit = data.draw(st.integers(0, changed.dtype[what].itemsize * 8 - 1))

    word = changed[what][i : i + 1].copy().view(f"u{changed.dtype[what].itemsize}")
    changed[what][i : i + 1] = (word ^ word.dtype.type(1 << bit)).view(changed.dtype[what])

    changed = digest_of((block, origins))
    assert changed[:16] != whole[:16]  # each of the two lanes by itself
    assert changed[16:] != whole[16:]
    assert digest_of((block[:-1], origins[:-1])) != digest_of((block, origins))


@given(made_rows)
def test_the_place_on_the_tape_does_not_show(rows):
    block, origins = block_and_origins(rows)
    elsewhere = origins.copy()
    elsewhere["tape_offset"] += 1000

    assert digest_of((block, elsewhere)) == digest_of((block, origins))


def test_the_order_within_a_key_shows():
    rows = [(1, 5, 1), (1, 6, 2), (2, 5, 3)]
    whole = block_and_origins(rows)

    assert digest_of(block_and_origins([rows[1], rows[0], rows[2]])) != digest_of(whole)
    assert digest_of(whole, key=None) != digest_of(whole)


def test_the_same_in_plain_python():
    block, origins = block_and_origins([(k % 3, k * 2**60 + k, k * 7) for k in range(16)])
    origins["key"] = 2**63 - 1 - np.arange(16)
    compiled = digest_of((block, origins))

    with mode.running("interpreted"):
        assert digest_of((block, origins)) == compiled
