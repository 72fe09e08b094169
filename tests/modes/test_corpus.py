"""A small corpus whose digests are known: compiled, with bounds checks, and as plain Python.

The suite runs this folder once in each mode (ONETAPE_MODE). The known digests are the same for
all, so the modes agree. After a change that is meant to change an answer:

    ONETAPE_REWRITE=1 pytest tests/modes

and commit the new file only if every changed line is understood and wanted.
"""

import json
import os
from pathlib import Path

import numpy as np

from onetape import c, table
from onetape.codecs.itch50 import files
from onetape.engine import Pipeline, UpTo, merge, operator, records_source
from onetape.engine.frames import FramePacker, frames_of
from onetape.market import vwap
from onetape.records import UNSET, i64, record, u32
from onetape.records.market import Trade
from onetape.runtimes import batch
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import simulate

GOLDEN = Path(__file__).parents[1] / "golden" / "modes.json"


@record
class Quiet:
    """An instrument without a trade for a while."""

    ts_event_ns: i64
    last_ns: i64
    instrument_id: u32


@operator(key="instrument_id")
class Silence:
    wake_ns: i64 = UNSET
    last_ns: i64 = 0
    instrument_id: i64 = 0

    def on_trade(self, t: Trade) -> None:
        self.last_ns = max(self.last_ns, t.ts_event_ns)
        self.instrument_id = t.instrument_id
        self.wake_ns = self.last_ns + 40_000

    def on_timer(self, now_ns: int, out: UpTo[1, Quiet]) -> None:
        out.append(Quiet(now_ns, self.last_ns, self.instrument_id))


def check(name, result):
    """Compare with the known digests, or write them down."""
    found = {**result.digests, "state": result.state_digest}
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("ONETAPE_REWRITE") == "1":
        known[name] = found
        GOLDEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    assert known.get(name) == found


def test_a_simulated_day_through_the_standard_pipeline():
    day = simulate(seed=2, instruments=12, seconds=3.0, messages_per_s=700, episodes=1)
    payloads = ((None, np.array(chunk)) for chunk in files.chunks([day.data], 2000))

    result = batch.run(batch.make_engine(market_watch()), frames_of(payloads))

    assert result.counts.rows["alert"] == 2
    check("standard", result)


def two_sources():
    """Blocks and ticks of two sources, some late, and both ends."""
    rng, packers, now_ns = np.random.default_rng(8), [FramePacker(0), FramePacker(1)], 1_000_000
    for n in range(120):
        source = packers[int(rng.integers(0, 2))]
        now_ns += int(rng.integers(0, 15_000))
        if rng.random() < 0.2:
            yield source.tick(now_ns)
            continue
        block = np.zeros(int(rng.integers(1, 6)), Trade.dtype)
        block["ts_event_ns"] = now_ns + rng.integers(-6_000, 3_000, len(block))
        block["instrument_id"] = rng.integers(1, 5, len(block))
        block["price_ticks"] = rng.integers(90, 110, len(block))
        block["qty_lots"] = rng.integers(1, 9, len(block))
        block["sequence"] = n
        yield source.data(block.tobytes())
    for packer in packers:
        yield packer.end()


def test_timers_late_events_and_ticks_of_two_sources():
    a, b = (records_source(Trade, name=name, lateness="2us", idle="20us") for name in "ab")
    both = merge(a, b)
    wide = vwap(both, width="10us", every="2us")
    pipeline = Pipeline(quiet=Silence(both), vwap=wide, late=wide.late)

    result = batch.run(batch.make_engine(pipeline), two_sources())

    assert all(count > 0 for count in result.counts.rows.values())
    check("two sources", result)


def test_joins_and_the_order_of_event_time():
    a, b = (records_source(Trade, name=name, lateness="2us", idle="20us") for name in "ab")
    both = merge(a, b, order="event_time")
    near = a.interval_join(b, by="instrument_id", within=("-9us", "30us"), how="left")
    prices = table(b, by="instrument_id", deleted=c.price_ticks < 95)
    found = a.lookup(prices, as_of="event_time", how="left")
    pipeline = Pipeline(
        near=near,
        alone=b.interval_join(a, by="instrument_id", within=("1us", "9us"), how="anti"),
        vwap=vwap(both, width="10us"),
        quiet=Silence(both),
        late=both.late,
        found=found,
        unknown=found.unknown,
        asof=a.asof_join(b, by="instrument_id", order="event_time"),
    )

    result = batch.run(batch.make_engine(pipeline), two_sources())

    assert all(count > 0 for count in result.counts.rows.values())
    check("joins", result)
