"""The edge node: ticks close windows of a silent source, slow readers lose nothing, faults halt."""

import time

import numpy as np
import pytest

from onetape.compiled.frame import DATA, TICK
from onetape.engine import Pipeline, UpTo, operator, records_source
from onetape.engine.columns import count
from onetape.engine.digest import digests_of, state_digest
from onetape.engine.engine import StepError
from onetape.engine.layout import TIMERS_MAX
from onetape.market import vwap
from onetape.records import OperatorError, block_of, i64, record, u32
from onetape.records.market import Trade
from onetape.runtimes import batch
from onetape.runtimes.edge.node import EdgeNode
from onetape.tape.reader import frames, read_segments

LIMIT_S = 20


@record
class Echo:
    ts_event_ns: i64
    number: i64
    instrument_id: u32


@operator
class Echoes:
    """Three rows a trade; raises on a price of 13."""

    def on_trade(self, t: Trade, out: UpTo[3, Echo]) -> None:
        if t.price_ticks == 13:
            raise ValueError("thirteen")
        for i in range(3):
            out.append(Echo(t.ts_event_ns, t.qty_lots * 3 + i, t.instrument_id))


def trades(rows):
    return block_of(
        Trade, [(ts, price, qty, 0, 0, n, 7, 66, 0, 80) for n, (ts, price, qty) in rows]
    )


def until(node, wanted):
    """Drain until `wanted(rows so far)`; rows by output."""
    found = {name: [] for name in node.plan.outputs}
    limit_s = time.monotonic() + LIMIT_S
    while not wanted(found):
        assert time.monotonic() < limit_s, {k: len(v) for k, v in found.items()}
        for name, rows, _ in node.drain():
            found[name] += list(rows.copy())
        time.sleep(0.001)
    return found


def test_a_silent_source_gets_ticks_on_the_tape_and_its_windows_close(tmp_path):
    source = records_source(Trade, idle="50ms")
    pipeline = Pipeline(vwap=vwap(source, width="10ms"))
    now_ns = time.time_ns()
    with EdgeNode(pipeline, tmp_path / "tape", live=True) as node:
        block = trades(enumerate([(now_ns, 100, 5), (now_ns, 110, 5)]))
        assert node.push(block.tobytes())

        found = until(node, lambda rows: rows["vwap"])

        list(node.stop())
        node.tape.sync()
        live = state_digest(node.engine)
    assert found["vwap"][0]["notional_ticklots"] == 1050
    kinds = [frame.kind for frame, _ in frames(tmp_path / "tape")]
    assert kinds.count(DATA) == 1
    assert TICK in kinds
    engine = batch.make_engine(pipeline)
    again = batch.run(engine, read_segments(tmp_path / "tape"))
    assert again.counts.rows == {"vwap": 1}
    assert again.state_digest == live


def test_thousands_of_keys_that_close_at_once_all_come(tmp_path):
    keys = 3 * TIMERS_MAX + 5
    source = records_source(Trade)
    pipeline = Pipeline(n=source.window("1us", by="instrument_id").agg(n=count()))
    block = trades((n, (n * 999 // keys, 100, 1)) for n in range(keys))
    block["instrument_id"] = np.arange(keys)
    last = trades([(keys, (10_000, 100, 1))])
    with EdgeNode(pipeline, tmp_path / "tape") as node:
        for part in (*np.array_split(block, 4), last):
            assert node.push(part.tobytes())

        found = until(node, lambda rows: len(rows["n"]) == keys)

        list(node.stop())

    assert sorted(row["instrument_id"] for row in found["n"]) == list(range(keys))


def test_a_reader_that_is_slow_makes_the_loop_wait_and_loses_nothing(tmp_path):
    pipeline = Pipeline(echo=Echoes(records_source(Trade)))
    blocks = [
        trades((n, (n, 100, n)) for n in range(start, start + 1000))
        for start in range(0, 60_000, 1000)
    ]
    with EdgeNode(pipeline, tmp_path / "tape") as node:
        digests = digests_of(node.plan)
        numbers = []
        pushed = 0
        limit_s = time.monotonic() + LIMIT_S
        while node.statistics()["waits_output"] == 0:  # nobody reads yet
            assert time.monotonic() < limit_s
            if pushed < len(blocks) and node.push(blocks[pushed].tobytes()):
                pushed += 1
        for block in blocks[pushed:]:
            while not node.push(block.tobytes()):
                for name, rows, origins in node.drain():
                    digests[name].update(rows, origins)
                    numbers += rows["number"].tolist()
        for name, rows, origins in node.stop():
            digests[name].update(rows, origins)
            numbers += rows["number"].tolist()
        node.tape.sync()

    assert numbers == list(range(180_000))
    engine = batch.make_engine(pipeline)
    again = batch.run(engine, read_segments(tmp_path / "tape"))
    assert again.digests == {name: digest.hexdigest() for name, digest in digests.items()}


def test_a_step_that_raises_halts_the_node_and_says_where(tmp_path):
    pipeline = Pipeline(echo=Echoes(records_source(Trade)))
    with EdgeNode(pipeline, tmp_path / "tape") as node:
        node.push(trades([(0, (1, 100, 1))]).tobytes())
        node.push(trades([(1, (2, 100, 1)), (2, (3, 13, 1))]).tobytes())

        with pytest.raises(
            StepError, match=r"Echoes \(.*\) raised ValueError: thirteen at offset 2"
        ):
            until(node, lambda rows: False)


def test_a_tape_that_is_there_is_not_overwritten(tmp_path):
    pipeline = Pipeline(echo=Echoes(records_source(Trade)))
    with EdgeNode(pipeline, tmp_path / "tape"):
        pass

    with pytest.raises(OperatorError, match="holds a tape"):
        EdgeNode(pipeline, tmp_path / "tape")

    other = Pipeline(vwap=vwap(records_source(Trade), width="10ms"))
    with pytest.raises(OperatorError, match="made by another pipeline"):
        EdgeNode(other, tmp_path / "tape", resume=True)


def test_checkpoints_are_taken_while_it_runs_and_the_node_goes_on_from_them(tmp_path):
    from onetape.tape import checkpoint

    pipeline = Pipeline(vwap=vwap(records_source(Trade), width="10us"))
    blocks = [
        trades((n, (n * 1000, 100 + n % 7, 1)) for n in range(s, s + 50)) for s in range(0, 900, 50)
    ]
    whole = EdgeNode(pipeline, tmp_path / "whole")
    with whole:
        for block in blocks:
            assert whole.push(block.tobytes())
        assert whole.push_end()
        expected = digests_of(whole.plan)
        for name, rows, origins in whole.stop():
            expected[name].update(rows, origins)

    folder = tmp_path / "tape"
    with EdgeNode(pipeline, folder, checkpoint_every_s=0.01) as node:
        for block in blocks[:10]:
            assert node.push(block.tobytes())
        limit_s = time.monotonic() + LIMIT_S
        while not any(o >= 10 for o in checkpoint.offsets(folder)):
            assert time.monotonic() < limit_s
            time.sleep(0.005)
        list(node.drain_until_idle())

    node = EdgeNode(pipeline, folder, resume=True)
    digests = digests_of(node.plan)
    assert node.recover(digests) == []
    assert int(node.engine.run["data_frames"][0]) == 10
    with node:
        for block in blocks[10:]:
            assert node.push(block.tobytes())
        assert node.push_end()
        for name, rows, origins in node.stop():
            digests[name].update(rows, origins)
        state = state_digest(node.engine)

    assert digests["vwap"].hexdigest() == expected["vwap"].hexdigest()
    assert state == state_digest(whole.engine)
    assert np.all(node.engine.sources["ended"] == 1)
