"""What Flink keeps of a shard is enough to go on from any block, with the same rows as without."""

import random

import pytest
from tests.runtimes.test_worker import answered, day, plain, streams  # noqa: F401

from onetape.records import OperatorError
from onetape.runtimes.code import Code, code_at
from onetape.runtimes.flink import kept as kept_module
from onetape.runtimes.flink.kept import CODE, META, SINCE, Kept
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.worker import Worker

STANDARD = Code("standard")


class InFlink(dict):
    """A map in Flink's care, as it is at a checkpoint."""

    def put(self, key, value):
        assert isinstance(key, int) and isinstance(value, bytes)
        self[key] = value

    def remove(self, key):
        del self[key]


def resumed(state, code=STANDARD):
    return Kept(Worker(code.pipeline()), state, code)


@pytest.fixture(autouse=True)
def small_bases(monkeypatch):
    monkeypatch.setattr(kept_module, "SINCE_BYTES", 10_000)


def test_from_every_checkpoint_the_run_goes_on(day, plain):  # noqa: F811
    rng, blocks = random.Random(5), streams(day, events=128)[0]
    state, made, at = InFlink(), [], 0
    while at < len(blocks):
        kept, saved, out = resumed(state), None, []
        since = at
        for place in range(at, min(len(blocks), at + rng.randint(1, 60))):
            out.append(kept.turn(blocks[place], state))
            if rng.random() < 0.2:
                saved, at = InFlink(state), place + 1
        if saved is None:
            saved, at = InFlink(state), place + 1
        state = saved  # back to the last checkpoint; what came after it is not committed
        made += [block for blocks_made in out[: at - since] for block in blocks_made]
    assert kept.folds + resumed(state).folds >= 0
    answer = answered(made)
    assert answer.digests == plain.digests
    assert answer.state_digests == {0: plain.state_digest}


def test_a_base_takes_the_place_of_the_blocks_before_it(day):  # noqa: F811
    blocks, state = streams(day, events=128)[0], InFlink()
    kept = resumed(state)
    for block in blocks:
        kept.turn(block, state)
        since = [key for key in state if key >= SINCE]
        pieces = [key for key in state if 0 <= key < SINCE]
        assert set(state) == {META, CODE, *since, *pieces}
        assert sum(len(state[key]) for key in since + pieces) == kept.size_bytes
    assert 1 <= kept.folds < len(blocks) / 4
    assert pieces


def test_a_block_that_came_before_is_not_kept_again(day):  # noqa: F811
    blocks, state = streams(day, events=512)[0], InFlink()
    kept = resumed(state)
    assert kept.turn(blocks[0], state) == kept.turn(blocks[0], state) == []
    kept.turn(blocks[1], state)
    before = dict(state)
    assert kept.turn(blocks[1], state) == []
    assert state == before


LIMIT = """
import onetape as ot
from onetape import market as mk

@ot.record
class Large:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    lots: ot.i64

@ot.operator(key="instrument_id")
class Sizes:
    FIELDS
    def on_trade(self, t: mk.Trade) -> Large | None:
        self.lots += t.qty_lots
        if t.qty_lots < LEAST:
            return None
        return Large(t.ts_event_ns, t.instrument_id, self.lots)

pipeline = ot.Pipeline(large=Sizes(ot.source("itch").trades()))
"""


def version(folder, least, fields="lots: ot.i64 = 0"):
    path = folder / "sizes.py"
    path.write_text(LIMIT.replace("LEAST", str(least)).replace("FIELDS", fields))
    pipeline = load_pipeline(str(path))
    pipeline.code = code_at(str(path), {})
    return pipeline.code


def test_another_version_takes_the_state_over(day, tmp_path):  # noqa: F811
    blocks, state = streams(day, events=128)[0], InFlink()
    half = len(blocks) // 2
    before = version(tmp_path, 1)
    kept = resumed(state, before)
    for block in blocks[:half]:
        kept.turn(block, state)
    kept = resumed(state, version(tmp_path, 10_000_000))
    rows = [kept.turn(block, state) for block in blocks[half:]]
    assert [len(made) for made in rows] == [0] * (len(rows) - 1) + [1]  # the end alone
    again = Worker(before.pipeline())
    for block in blocks:
        again.turn(block)
    assert kept.worker.engine.counts().events == again.engine.counts().events
    lots = [worker.engine.arrays for worker in (kept.worker, again)]
    (name,) = [n for n, a in lots[0].items() if a.dtype.names and "lots" in a.dtype.names][:1]
    assert lots[0][name].tobytes() == lots[1][name].tobytes()


def test_a_version_with_other_state_is_refused(day, tmp_path):  # noqa: F811
    blocks, state = streams(day, events=128)[0], InFlink()
    kept = resumed(state, version(tmp_path, 1))
    for block in blocks[:5]:
        kept.turn(block, state)
    other = version(tmp_path, 1, "lots: ot.i64 = 0\n    most: ot.i64 = 0")
    with pytest.raises(OperatorError, match="laid out otherwise"):
        resumed(state, other)
