"""SQL over outputs, tapes and checkpoints: the same rows as the run's own, and nothing else."""

import csv
import io
import json
import re
import sys
import time
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.runtimes.swapping import ADDS, BLOCK, Kept, numbers, stored, version

import onetape as ot
from onetape.cli import main
from onetape.engine import state
from onetape.engine.graph import records_source
from onetape.records import OperatorError, block_of
from onetape.records.market import Trade
from onetape.runtimes import batch
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.edge.swap import swap
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.query.database import answer
from onetape.runtimes.query.tables import QueryTable, Streamed
from onetape.tape import checkpoint
from onetape.tape.layout import read_facts
from onetape.tape.reader import durable_end, read_segments

pytest.importorskip("duckdb")

LIMIT_S = 20
EVENTS = 400
PROGRAM = """
import onetape as ot
from onetape import c, market as mk

@ot.record
class Total:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    lots: ot.i64

@ot.operator(key="instrument_id")
class RunningTotal:
    lots: ot.i64 = 0
    first_ts_ns: ot.i64 = ot.UNSET

    def on_trade(self, t: mk.Trade) -> Total:
        self.lots += t.qty_lots
        if self.first_ts_ns == ot.UNSET:
            self.first_ts_ns = t.ts_event_ns
        return Total(t.ts_event_ns, t.instrument_id, self.lots)

trades = ot.read("{path}", as_=mk.Trade, tick="0.05", name="ticker")
pipeline = ot.Pipeline(trade=trades, total=RunningTotal(trades))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder with tape/ and out/, the pipeline's file)."""
    folder = tmp_path_factory.mktemp("ran")
    rows = [(10**18 + 7 * n + 1, Decimal(n % 9) / 20 + 5, n % 4 + 1, n % 3) for n in range(EVENTS)]
    names = ("ts_event_ns", "price_ticks", "qty_lots", "instrument_id")
    table = pa.table(dict(zip(names, map(list, zip(*rows)), strict=True)))
    pq.write_table(table, folder / "in.parquet_")
    program = folder / "program.py"
    program.write_text(PROGRAM.replace("{path}", str(folder / "in.parquet_")))
    tape, out = folder / "run" / "tape", folder / "run" / "out"
    assert main(["run", str(program), "--tape", str(tape), "--out", str(out), "--json"]) == 0
    save_checkpoint(str(program), str(tape))
    return folder / "run", str(program)


def save_checkpoint(program, tape):
    """At the end of the tape: a run as short as this one has made none."""
    engine = batch.make_engine(load_pipeline(program))
    batch.run(engine, read_segments(tape))
    mark = durable_end(tape, read_facts(tape))
    checkpoint.write(tape, state.save(engine), {}, position=mark.position, offset=mark.offset)


def test_outputs_are_tables_with_exact_times_and_prices(ran):
    found = ot.query(
        ran[0],
        "SELECT ts_event, ts_event_ns, price FROM trade_price ORDER BY 2 LIMIT 2 OFFSET 3",
    )
    assert found["ts_event_ns"].to_pylist() == [10**18 + 22, 10**18 + 29]
    assert found["ts_event"].cast(pa.int64()).to_pylist() == [10**18 + 22, 10**18 + 29]
    assert found["price"].to_pylist() == [Decimal("5.15"), Decimal("5.20")]


@pytest.mark.parametrize("table", ["trade", "trade_price"])
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("ts_event_ns < 1000000000000000022", 3),
        ("ts_event_ns > 1000000000000000022", EVENTS - 4),
        ("ts_event_ns = 1000000000000000022", 1),
        ("ts_event_ns BETWEEN 1000000000000000008 AND 1000000000000000022", 3),
        ("ts_event_ns IN (1000000000000000008, 1000000000000000022, 5)", 2),
        ("ts_event < TIMESTAMP_NS '2001-09-09 01:46:40.000000022'", 3),
        ("ts_event_ns < 1000000000000000022 AND instrument_id = 2 AND side = 'N'", 1),
        ("symbol = 'nobody'", 0),
        ("ts_event_ns IS NULL", 0),
    ],
)
def test_times_are_compared_with_constants(ran, table, condition, expected):
    found = ot.query(ran[0] / "out", f"SELECT count(*) n FROM {table} WHERE {condition}")
    assert found["n"].to_pylist() == [expected]


def test_tables_of_one_name_in_several_folders_are_told_apart(ran, tmp_path, capsys):
    for day, rows in (("monday", 3), ("tuesday", 5)):
        (tmp_path / day).mkdir()
        whole = pq.read_table(ran[0] / "out" / "trade.parquet")
        pq.write_table(whole.slice(0, rows), tmp_path / day / "trade.parquet")
    pq.write_table(whole.slice(0, 1), tmp_path / "tuesday" / "alone.parquet")

    for given in ([tmp_path], [tmp_path / "monday", tmp_path / "tuesday", tmp_path / "monday"]):
        for day, rows in (("monday", 3), ("tuesday", 5)):
            for view in ("trade", "trade_price"):
                found = ot.query(given, f'SELECT count(*) n FROM "{day}/{view}"')
                assert found["n"].to_pylist() == [rows]
        assert ot.query(given, "SELECT count(*) n FROM alone")["n"].to_pylist() == [1]
        both = '"monday/{0}", "tuesday/{0}"; name one of them'
        for view in ("trade", "trade_price"):
            with pytest.raises(OperatorError, match=re.escape(both.format(view))):
                ot.query(given, f"SELECT * FROM {view}")
    assert main(["query", "--from", str(tmp_path), "--tables", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"monday/trade", "tuesday/trade", "alone"}


def test_folders_of_the_same_last_name_are_told_apart_by_more_of_their_path(ran, tmp_path):
    places = [tmp_path / day / "out" for day in ("monday", "tuesday")]
    for place in places:
        place.mkdir(parents=True)
        (place / "trade.parquet").write_bytes((ran[0] / "out" / "trade.parquet").read_bytes())
    found = ot.query(places, 'SELECT count(*) n FROM "monday/out/trade"')
    assert found["n"].to_pylist() == [EVENTS]


def test_an_output_beside_its_tape_is_read_from_its_file(ran):
    told = ot.query([ran[0] / "tape", ran[0] / "out"], "SELECT symbol FROM trade", pipeline=ran[1])
    assert len(told) == EVENTS  # a tape's trades have no symbol


def test_a_tape_gives_the_rows_that_the_run_left(ran):
    tape, program = ran[0] / "tape", ran[1]
    for name in ("ticker", "events", "trade", "total"):
        of = "total" if name == "total" else "trade"
        again = ot.query(tape, f"SELECT * FROM {name}", pipeline=program)
        left = ot.query(ran[0] / "out", f"SELECT * EXCLUDE (symbol) FROM {of}")
        assert len(again) == EVENTS
        assert again.equals(left), name


def test_frames_and_the_state_of_each_key_are_tables(ran):
    tape = ran[0] / "tape"
    data = ot.query(tape, "SELECT sum(length_bytes) n FROM frames WHERE kind = 'DATA'")
    assert data["n"].to_pylist() == [EVENTS * Trade.dtype.itemsize]
    kept = ot.query(tape, "SELECT key, lots, first_ts_ns FROM state_running_total ORDER BY key")
    last = "SELECT instrument_id, max(lots), min(ts_event_ns) FROM total GROUP BY 1 ORDER BY 1"
    expected = ot.query(ran[0] / "out", last)
    for ours, theirs in zip(kept.columns, expected.columns, strict=True):
        assert ours.to_pylist() == theirs.to_pylist()


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM trad", "no table 'trad'; did you mean 'trade'? There are total, trade"),
        ("SELECT prise FROM trade", "Referenced column"),
        ("SELEC 1", "syntax error"),
        ("", "one SELECT"),
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("CREATE TABLE a AS SELECT 1", "was CREATE"),
        ("COPY trade TO 'x.csv'", "was COPY"),
        ("ATTACH 'x.db'", "was ATTACH"),
        ("INSTALL httpfs", "was LOAD"),
        ("SET threads = 1", "was SET"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM '/etc/passwd'", "no table '/etc/passwd'"),
        ("SELECT * FROM glob('/*')", "disabled by configuration"),
        ("SELECT * FROM ran", "no table 'ran'"),
    ],
)
def test_what_is_not_a_query_over_the_tables_is_refused(ran, sql, said):
    with pytest.raises(OperatorError, match=re.escape(said)):
        ot.query(ran[0] / "out", sql)


def test_a_folder_without_anything_is_refused(tmp_path):
    with pytest.raises(OperatorError, match="no Parquet file and no tape"):
        ot.query(tmp_path, "SELECT 1")
    with pytest.raises(OperatorError, match="no such folder"):
        ot.query(tmp_path / "none", "SELECT 1")


def test_without_duckdb_the_message_says_what_to_install(ran, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(OperatorError, match=r"pip install 'onetape\[query\]'"):
        ot.query(ran[0], "SELECT 1")


def table_of(batches):
    schema = pa.schema([("x", pa.int64())])
    return QueryTable("numbers", schema, Streamed(schema, batches), "here")


def test_a_query_that_has_enough_rows_stops_the_reading():
    made = []

    def batches():
        for n in range(100_000):
            made.append(n)
            yield pa.record_batch({"x": pa.array([n] * 1000, pa.int64())})

    with answer([table_of(batches)], "SELECT * FROM numbers LIMIT 1500") as reader:
        assert len(reader.read_all()) == 1500
    assert len(made) < 1000


def test_a_table_can_be_read_twice_in_one_query():
    def batches():
        yield pa.record_batch({"x": pa.array(range(10), pa.int64())})

    joined = "SELECT count(*) n FROM numbers a JOIN numbers b ON a.x = b.x + 1"
    with answer([table_of(batches)], joined) as reader:
        assert reader.read_all()["n"].to_pylist() == [9]


def test_what_stops_a_table_is_told_as_it_is():
    def batches():
        yield pa.record_batch({"x": pa.array([1], pa.int64())})
        raise OperatorError("the tape is gone")

    with (
        pytest.raises(OperatorError, match=r"^the tape is gone$"),
        answer([table_of(batches)], "SELECT sum(x) FROM numbers") as reader,
    ):
        reader.read_all()


def test_a_tape_is_read_while_it_is_written(tmp_path):
    pipeline = ot.Pipeline(trade=records_source(Trade))
    block = block_of(Trade, [(10**18 + n, 100, 1, 0, 0, n, 7, 66, 0, 80) for n in range(5)])
    with EdgeNode(pipeline, tmp_path / "tape") as node:
        for _ in range(3):
            assert node.push(block.tobytes())
        limit_s = time.monotonic() + LIMIT_S
        while node.tape.durable_offset < 3:
            assert time.monotonic() < limit_s
            list(node.drain())
            time.sleep(0.001)
        found = ot.query(tmp_path, "SELECT count(*) n FROM frames WHERE kind = 'DATA'")
        assert found["n"].to_pylist() == [3]
        found = ot.query(tmp_path, "SELECT sum(qty_lots)::BIGINT n FROM trade", pipeline=pipeline)
        assert found["n"].to_pylist() == [15]
        list(node.stop())


def test_outputs_of_a_tape_with_versions_are_those_of_each_version(tmp_path, capsys):
    first = version(tmp_path / "a", ADDS.format(times=1))
    with EdgeNode(first, tmp_path / "tape") as node:
        kept = Kept(node.plan)
        node.when_swapped.append(kept.follow)
        for times in (1, 100):
            if times > 1:
                swap(node, stored(node, tmp_path / "b", ADDS.format(times=times)))
            assert node.push(numbers(0 if times == 1 else BLOCK))
            kept.take(node.drain_until_idle())
        kept.take(node.stop())
    asked = "SELECT ts_event_ns, key, sum FROM sum"
    for folder, times in (("a", 1), ("b", 100)):
        pipeline = version(tmp_path / folder, ADDS.format(times=times))
        found = ot.query(tmp_path / "tape", asked, pipeline=pipeline)
        assert list(zip(*found.to_pydict().values(), strict=True)) == kept.rows["sum"]
        assert not capsys.readouterr().err

    other = version(tmp_path / "c", ADDS.format(times=7))
    found = ot.query(tmp_path / "tape", "SELECT max(sum) AS most FROM sum", pipeline=other)
    assert found["most"].to_pylist() == [7 * 2 * BLOCK // 10]
    frame = ot.query(tmp_path / "tape", "SELECT max(\"offset\") n FROM frames WHERE kind='CONTROL'")
    said = capsys.readouterr().err
    assert f"at frame {frame['n'][0]}" in said and "none of those that ran there" in said


def test_the_command_prints_and_writes(ran, tmp_path, capsys):
    asked = ["query", "--from", str(ran[0])]
    assert (
        main([*asked, "SELECT instrument_id i, count(*) n FROM trade GROUP BY 1 ORDER BY 1"]) == 0
    )
    assert capsys.readouterr().out.splitlines() == ["i    n", "0  134", "1  133", "2  133"]

    few = "SELECT ts_event, price, side FROM trade_price ORDER BY ts_event LIMIT 1"
    assert main([*asked, few, "--json"]) == 0
    moment = "2001-09-09T01:46:40.000000001"
    told = json.loads(capsys.readouterr().out)
    assert told == {"ts_event": moment, "price": "5.00", "side": "N"}
    assert main([*asked, few, "--csv"]) == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines == [["ts_event", "price", "side"], [moment, "5.00", "N"]]

    assert main([*asked, "SELECT * FROM total", "--parquet", str(tmp_path / "x.parquet")]) == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == EVENTS
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
    capsys.readouterr()

    assert main([*asked, "SELECT * FROM trade"]) == 0
    assert "the first 100 rows" in capsys.readouterr().out


def test_tables_are_listed_with_columns_rows_and_units(ran, capsys):
    assert main(["query", "--from", str(ran[0]), "--tables", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) >= {"trade", "total", "frames"}
    trade = told["trade"]
    assert trade["rows"] == EVENTS
    assert trade["tick"] == "0.05"
    assert trade["columns"]["price_ticks"] == {"type": "int64", "unit": "ticks of 0.05"}
    assert main(["query", "--from", str(ran[0]), "--tables"]) == 0
    assert "trade, 400 rows" in capsys.readouterr().out


def test_a_delta_table_is_a_table(tmp_path):
    pytest.importorskip("deltalake", reason='pip install "onetape[lake]"')
    from tests.lake_tables import DAY, DAY_NS, Odd, odd

    from onetape.connect.lake.output_table import OutputTable, lake_table

    OutputTable(tmp_path, "odd", Odd).append("run", lake_table(Odd, odd(3), {}, DAY), 0)
    asked = "SELECT max(ts_event_ns) AS ns, max(ts_event)::TEXT AS at, count(*) AS n FROM odd"
    (row,) = ot.query(tmp_path, asked).to_pylist()

    assert row["ns"] == DAY_NS * 20_458 + 125
    assert row["n"] == 3
    assert row["at"] == "2026-01-05 00:00:00.000000125"
