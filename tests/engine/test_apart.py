"""Operators compiled apart from the driver: the same answer, and only what is new is compiled."""

import numpy as np
import pytest

import onetape as ot
from onetape.compiled import mode
from onetape.engine import compile as compiler
from onetape.engine.engine import Engine, StepError
from onetape.engine.frames import frames_of
from onetape.engine.planner import plan
from onetape.records import empty_block
from onetape.runtimes import batch

pytestmark = pytest.mark.skipif(mode.is_interpreted(), reason="nothing is compiled")


@ot.record
class Print:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    price_ticks: ot.i64


@ot.record
class Found:
    ts_event_ns: ot.i64
    asset_id: ot.u32
    ticks: ot.i64


@ot.aggregate
class Sum:
    ticks: ot.i64 = 0

    def add(self, p: Print) -> None:
        self.ticks += p.price_ticks

    def merge(self, later: "Sum") -> None:
        self.ticks += later.ticks

    def result(self, key: int, start_ns: int, end_ns: int) -> Found | None:
        return Found(end_ns, key, self.ticks)


def declared(factor):
    """The same pipeline with another number in its operator's body."""

    @ot.operator(key="asset_id")
    class Rises:
        wake_ns: ot.i64 = ot.UNSET
        last_ticks: ot.i64 = 0

        def on_print(self, p: Print, rise: ot.UpTo[2, Found], *, at_least: ot.Ticks = 3) -> None:
            if p.price_ticks == 13:
                raise ValueError("thirteen")
            by = (p.price_ticks - self.last_ticks) * factor
            for _ in range(min(max(by - at_least, 0), 2)):
                rise.append(Found(p.ts_event_ns, p.asset_id, by))
            self.last_ticks = p.price_ticks
            self.wake_ns = p.ts_event_ns + 5_000

        def on_timer(self, now_ns: int, rise: ot.UpTo[2, Found]) -> None:
            rise.append(Found(now_ns, 0, self.last_ticks))

    prints = ot.source(Print)
    return ot.Pipeline(
        rise=Rises(prints),
        sum=ot.window(prints, Sum, width="4us", every="1us", key="asset_id"),
    )


def frames(prices):
    block = empty_block(Print, len(prices))
    block["ts_event_ns"] = np.arange(len(prices)) * 700
    block["asset_id"] = np.arange(len(prices)) % 3
    block["price_ticks"] = prices
    return frames_of([(None, block.tobytes())])


PRICES = np.random.default_rng(5).integers(20, 90, 400)


def answer(pipeline, *, apart):
    made = batch.run(Engine(plan(pipeline, apart=apart)), frames(PRICES))
    return made.digests, made.state_digest, made.counts.rows


def test_the_answer_is_that_of_one_function_and_an_edit_compiles_the_edit_alone():
    first = answer(declared(1), apart=True)
    drivers = {id(thing) for thing in compiler.warm().values()}
    second = answer(declared(2), apart=True)
    new = [thing for thing in compiler.warm().values() if id(thing) not in drivers]

    assert first == answer(declared(1), apart=False)
    assert second == answer(declared(2), apart=False)
    assert first[0]["rise"] != second[0]["rise"]
    assert first[0]["sum"] == second[0]["sum"] and first[2]["sum"] > 0
    assert len(new) == 1  # on_print; on_timer is as it was


def test_what_an_operator_raises_comes_through():
    engine = Engine(plan(declared(1), apart=True))

    with pytest.raises(StepError, match=r"Rises \(.*\) raised ValueError: thirteen") as raised:
        batch.run(engine, frames([20, 21, 13, 22]))

    assert raised.value.index == 2
