"""Tables of a lake on real Delta tables: what is there once, in order, and readable by others."""

import multiprocessing
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.lake_tables import (
    DAY,
    DAY_NS,
    INPUT,
    NEXT,
    Odd,
    both,
    by_shard,
    odd,
    read,
    stream,
    write_both,
)

import onetape as ot
from onetape import market as mk
from onetape.connect.lake import keep, store
from onetape.connect.lake.differences import differences
from onetape.connect.lake.output_table import OutputTable, RowsWriter, lake_table
from onetape.connect.lake.runs import RunsTable, Unit
from onetape.connect.lake.swaps import swap, undo
from onetape.connect.lake.tape_table import TapeTable, TapeWriter
from onetape.records import IntegrityError, OperatorError
from onetape.records.declare import raw_rows

deltalake = pytest.importorskip("deltalake", reason='pip install "onetape[lake]"')


def test_what_is_written_is_read_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr("onetape.connect.lake.tape_table.COMMIT_BYTES", 1000)
    writer = TapeWriter(tmp_path, DAY, INPUT)

    assert writer.write(both())
    assert TapeWriter(tmp_path, NEXT, INPUT).write(stream())

    assert read(tmp_path) == by_shard(both())
    assert read(tmp_path, NEXT) == by_shard(stream())
    of_day = TapeTable(tmp_path).streams()[DAY, 1]
    assert (of_day.is_complete, of_day.blocks, of_day.shards) == (True, 20, 2)
    assert of_day.last_sequence == 19
    assert len(of_day.files) > 2


def test_a_second_writer_passes_over_what_is_there(tmp_path):
    assert not TapeWriter(tmp_path, DAY, INPUT).write(
        both()[:15]
    )  # cut short: the last of each shard may grow, and is left out
    assert [s.blocks for s in TapeTable(tmp_path).streams().values()] == [7, 6]
    assert not TapeTable(tmp_path).streams()[DAY, 0].is_complete

    again = TapeWriter(tmp_path, DAY, INPUT)
    assert again.write(both())
    assert (again.skipped, again.written) == (13, 27)
    assert read(tmp_path) == by_shard(both())
    version = TapeTable(tmp_path).table.version()
    assert TapeWriter(tmp_path, DAY, INPUT).write(both())
    assert TapeTable(tmp_path).table.version() == version


def test_two_that_write_at_once_write_each_block_once(tmp_path, monkeypatch):
    """Each has looked before the other wrote: the trap that marks alone do not keep one from."""
    monkeypatch.setattr("onetape.connect.lake.tape_table.COMMIT_BYTES", 1000)
    ours, theirs = (TapeWriter(tmp_path, DAY, INPUT) for _ in range(2))
    blocks = both()

    assert ours.write(blocks[:30]) is False
    assert theirs.write(blocks)
    assert ours.write(blocks)

    assert read(tmp_path) == by_shard(blocks)
    assert ours.skipped > 0 and theirs.skipped > 0


def test_processes_that_write_the_same_day_write_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    children = [context.Process(target=write_both, args=(tmp_path, 200, done)) for _ in range(3)]
    for child in children:
        child.start()
    assert [done.get(timeout=100) for _ in children] == [True] * 3
    for child in children:
        child.join(20)

    assert read(tmp_path) == by_shard(both(200))


def test_another_input_of_a_day_is_refused_until_it_is_to_replace_it(tmp_path):
    TapeWriter(tmp_path, DAY, INPUT).write(stream(blocks=9))
    TapeWriter(tmp_path, NEXT, INPUT).write(stream(blocks=9))
    other = "f" * 16

    with pytest.raises(OperatorError, match=r"has 2026-01-05 from another input .*--replace"):
        TapeWriter(tmp_path, DAY, other)
    assert TapeWriter(tmp_path, DAY, other, replace=True).write(stream(blocks=5))

    assert read(tmp_path) == by_shard(stream(blocks=5))
    assert read(tmp_path, NEXT) == by_shard(stream(blocks=9))
    before = TapeTable(tmp_path, TapeTable(tmp_path).table.version() - 1)
    assert before.streams()[DAY, 0].input == INPUT
    assert TapeWriter(tmp_path, DAY, INPUT, replace=True).write(stream(blocks=9))
    assert read(tmp_path) == by_shard(stream(blocks=9))


def test_a_missing_block_is_never_passed_over(tmp_path):
    TapeWriter(tmp_path, DAY, INPUT).write(stream())
    table = TapeTable(tmp_path).table
    table.delete("ordinal = 7")
    found = TapeTable(tmp_path)

    assert found.streams()[DAY, 0].holes == 1
    with pytest.raises(IntegrityError, match="block 8 of shard 0 of 2026-01-05 came where block 7"):
        list(found.blocks(found.streams()[DAY, 0]))


def test_compaction_keeps_the_order_and_the_past(tmp_path, monkeypatch):
    monkeypatch.setattr("onetape.connect.lake.tape_table.COMMIT_BYTES", 500)
    TapeWriter(tmp_path, DAY, INPUT).write(both(60))
    before = TapeTable(tmp_path).table.version()

    done = keep.compact(TapeTable(tmp_path).url)

    assert done["files_before"] > done["files"] == 2
    assert read(tmp_path) == by_shard(both(60))
    past = TapeTable(tmp_path, before)
    assert len(past.streams()[DAY, 0].files) > 2
    assert [bytes(b) for b in past.blocks(past.streams()[DAY, 0])] == by_shard(both(60))[0]
    TapeWriter(tmp_path, NEXT, INPUT).write(stream())
    assert read(tmp_path) == by_shard(both(60))


def test_rows_are_ordinary_columns_and_lose_no_bit(tmp_path):
    OutputTable(tmp_path, "odd", Odd).append("run", lake_table(Odd, odd(3), {}, DAY), 0)
    table = store.open_table(str(tmp_path / "odd"))
    rows = table.to_pyarrow_table().to_pylist()

    assert rows[1] == {
        "day": DAY,
        "symbol": "",
        "ts_event_ns": DAY_NS * 20_458 + 124,
        "ts_event": datetime(2026, 1, 5, tzinfo=UTC),
        "ts_other_ns": None,
        "instrument_id": 2**32 - 1,
        "big": -1,
        "small": 255,
        "prices": [1, 2, None],
    }
    own_days = lake_table(Odd, odd(1), {}, None)
    assert own_days["day"].to_pylist() == [DAY]


@ot.record
class Fewer:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    small: ot.u8


def test_readers_agree(tmp_path):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    table = OutputTable(tmp_path, "odd", Odd)
    table.append("a", lake_table(Odd, odd(50), {}, DAY), 0)
    table.append("b", lake_table(Odd, odd(70, 1000), {}, NEXT), 0)
    url = str(tmp_path / "odd")
    dataset = deltalake.DeltaTable(url).to_pyarrow_dataset()

    sql = "SELECT count(*), max(ts_event_ns), epoch_us(max(ts_event)) FROM odd"
    sql += " WHERE day = '2026-01-06'"
    with duckdb.connect() as connection:
        connection.register("odd", dataset)
        (theirs,) = connection.sql(sql).fetchall()
    lazy = polars.scan_delta(url).filter(polars.col("day") == NEXT)
    ours = (
        lazy.select(polars.len(), polars.col("ts_event_ns").max(), polars.col("ts_event").max())
        .collect()
        .row(0)
    )

    assert (
        (theirs[0], theirs[1])
        == (ours[0], ours[1])
        == (70, int(odd(70, 1000)["ts_event_ns"].max()))
    )
    assert ours[2] == datetime(2026, 1, 5, 0, 0, 0, 1, tzinfo=UTC)
    assert theirs[2] == int(ours[2].timestamp()) * 10**6 + 1
    again = ot.read(url, as_=Fewer, sort=True)
    again = ot.run(ot.Pipeline(odd=again), quiet=True).odd.rows
    assert (len(again), set(again["instrument_id"])) == (120, {2**32 - 1})


def test_rows_that_are_there_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("onetape.connect.lake.output_table.COMMIT_ROWS", 10)
    table, rows = OutputTable(tmp_path, "odd", Odd), odd(45)
    first = RowsWriter(table, "run", DAY)
    for at in range(0, 25, 5):
        first.take(rows[at : at + 5], {})
    assert table.count("run") == 20  # five are kept and lost with the process

    for size in (7, 45, 1):
        again = RowsWriter(OutputTable(tmp_path, "odd", Odd), "run", DAY)
        for at in range(0, 45, size):
            again.take(rows[at : at + size], {})
        again.flush({})
    RowsWriter(table, "another run", DAY).flush({})

    found = store.open_table(table.url).to_pyarrow_table()["ts_event_ns"].to_pylist()
    assert sorted(found) == rows["ts_event_ns"].tolist()


def test_two_writers_of_the_same_rows_have_them_there_once(tmp_path):
    tables = [OutputTable(tmp_path, "odd", Odd) for _ in range(2)]
    data = lake_table(Odd, odd(30), {}, DAY)
    stale = store.open_table(tables[0].url)
    tables[0].append("run", data, 0)

    with pytest.raises(store.TakenBefore):
        store.write(stale, data, {"run": 30})
    tables[1].append("run", data, 0)
    tables[1].append("run", lake_table(Odd, odd(40), {}, DAY).slice(20), 20)

    assert store.open_table(tables[0].url).to_pyarrow_table().num_rows == 40
    with pytest.raises(IntegrityError, match="row 40 of run run is not there"):
        tables[1].append("run", data, 50)


def test_of_two_runs_that_begin_a_day_at_once_one_does(tmp_path, monkeypatch):
    ours, theirs = (Unit(DAY, 0, 1, run, "d", "p", INPUT) for run in ("ours", "theirs"))
    tables = [RunsTable(tmp_path) for _ in range(2)]
    open_table, opened = store.open_table, []

    def slow(url, at=None):
        table = open_table(url, at)
        if not opened:
            opened.append(url)
            tables[1].begin([theirs])  # it begins behind our back
        return table

    monkeypatch.setattr(store, "open_table", slow)
    with pytest.raises(OperatorError, match="another run has begun 2026-01-05 there"):
        tables[0].begin([ours])
    tables[0].begin([theirs])
    assert [unit.run for unit in tables[0].units().values()] == ["theirs"]


def test_a_table_of_other_columns_is_refused(tmp_path):
    OutputTable(tmp_path, "trade", Odd)

    with pytest.raises(
        OperatorError, match=r"has other columns than Trade now: .*big was int64, is"
    ):
        OutputTable(tmp_path, "trade", mk.Trade)


def test_what_differs_is_told_by_kind_and_instrument(tmp_path):
    old = odd(10)
    old["instrument_id"] = [1, 2] * 5
    new = np.concatenate([raw_rows(odd(10)), raw_rows(odd(2, 500))]).view(Odd.dtype)
    new["instrument_id"] = [1, 2] * 5 + [3, 3]
    new["small"][4] = 7  # changed, of instrument 1
    new = new[[0, *range(2, 12)]]  # one is removed, of instrument 2
    tables = {}
    for name, rows in (("old", old), ("new", new)):
        table = OutputTable(tmp_path, name, Odd)
        table.append("run", lake_table(Odd, rows, {1: "A", 2: "B", 3: "C"}, DAY), 0)
        tables[name] = store.open_table(table.url)

    told = differences(tables["old"], tables["new"], DAY)

    assert {kind: told[kind] for kind in ("added", "removed", "changed")} == {
        "added": 2,
        "removed": 1,
        "changed": 1,
    }
    assert told["instruments"] == {
        "A": {"added": 0, "removed": 0, "changed": 1},
        "B": {"added": 0, "removed": 1, "changed": 0},
        "C": {"added": 2, "removed": 0, "changed": 0},
    }
    assert (told["rows_before"], told["rows"]) == (10, 11)
    changed = told["sample"][1]
    assert (changed["before"][0]["small"], changed["after"][0]["small"]) == (255, 7)
    same = differences(tables["new"], tables["new"], DAY)
    assert (same["added"], same["removed"], same["changed"], same["sample"]) == (0, 0, 0, [])
    assert differences(None, tables["new"], DAY)["added"] == 11
    assert differences(tables["old"], tables["new"], NEXT)["rows"] == 0


def days_of(url, name):
    rows = store.open_table(str(url / name)).to_pyarrow_table(columns=["day", "small"])
    found = {}
    for row in rows.to_pylist():
        found.setdefault(row["day"], []).append(row["small"])
    return found


def test_a_swap_takes_days_over_and_gives_them_back(tmp_path):
    beside = tmp_path / "_versions" / "b"
    for url, day, small in ((tmp_path, DAY, 1), (tmp_path, NEXT, 2), (beside, DAY, 9)):
        rows = odd(4)
        rows["small"] = small
        OutputTable(url, "odd", Odd).append(f"{day}", lake_table(Odd, rows, {}, day), 0)
    OutputTable(beside, "fresh", Odd).append("r", lake_table(Odd, odd(1), {}, DAY), 0)
    OutputTable(tmp_path, "empty", Odd).append("r", lake_table(Odd, odd(1), {}, DAY), 0)
    OutputTable(beside, "empty", Odd)
    call = (str(tmp_path), "b", str(beside), ["odd", "fresh", "empty"], [DAY])

    done = swap(*call)
    assert (done.number, done.is_done) == (1, True)
    assert days_of(tmp_path, "odd") == {DAY: [9] * 4, NEXT: [2] * 4}
    assert len(days_of(tmp_path, "fresh")[DAY]) == 1
    assert days_of(tmp_path, "empty") == {}
    assert swap(*call) == done  # it is current already

    assert undo(str(tmp_path)).number == 2
    assert days_of(tmp_path, "odd") == {DAY: [1] * 4, NEXT: [2] * 4}
    assert days_of(tmp_path, "fresh") == {}
    assert len(days_of(tmp_path, "empty")[DAY]) == 1
    with pytest.raises(OperatorError, match="no swap is there to be undone"):
        undo(str(tmp_path))
    assert swap(*call).number == 3
    assert days_of(tmp_path, "odd") == {DAY: [9] * 4, NEXT: [2] * 4}


def test_a_swap_that_was_cut_short_is_gone_on_with(tmp_path, monkeypatch):
    beside = tmp_path / "_versions" / "b"
    for url, small in ((tmp_path, 1), (beside, 9)):
        for name in ("one", "two"):
            rows = odd(4)
            rows["small"] = small
            OutputTable(url, name, Odd).append("r", lake_table(Odd, rows, {}, DAY), 0)
    call = (str(tmp_path), "b", str(beside), ["one", "two"], [DAY])
    write_once, calls = store.write_once, []

    def dies(url, *args, **how):
        if url.endswith("two"):
            raise KeyboardInterrupt
        calls.append(url)
        return write_once(url, *args, **how)

    monkeypatch.setattr(store, "write_once", dies)
    with pytest.raises(KeyboardInterrupt):
        swap(*call)
    monkeypatch.setattr(store, "write_once", write_once)
    assert days_of(tmp_path, "one") == {DAY: [9] * 4}
    assert days_of(tmp_path, "two") == {DAY: [1] * 4}
    with pytest.raises(OperatorError, match=r"the swap of version b .* was cut short"):
        swap(str(tmp_path), "c", str(beside), ["one"], [DAY])
    with pytest.raises(OperatorError, match="cut short"):
        undo(str(tmp_path))

    assert swap(*call).number == 1
    assert days_of(tmp_path, "two") == {DAY: [9] * 4}
    assert store.open_table(str(tmp_path / "one")).version() == 2


def test_a_vacuum_within_the_audit_period_is_refused(tmp_path):
    table = OutputTable(tmp_path, "odd", Odd)
    for n in range(3):
        table.append("run", lake_table(Odd, odd(5), {}, DAY).slice(0, 5), 5 * n)
    assert keep.audit_days(table.url) == store.AUDIT_DAYS
    keep.compact(table.url)

    with pytest.raises(OperatorError, match=r"versions of the last 1827 days stay readable, and 7"):
        keep.vacuum(table.url, 7)
    with pytest.raises(OperatorError, match=r"days of the last 1827 stay, and 2026-01-06 is"):
        keep.drop_before(table.url, NEXT)
    keep.set_audit_days(table.url, 1)
    assert keep.audit_days(table.url) == 1
    assert keep.vacuum(table.url, 1, tries_only=True) == 0  # none is a day old
    assert keep.drop_before(table.url, NEXT) == 15
    operations = [entry["operation"] for entry in keep.versions(table.url)]
    assert operations[-1] == "CREATE TABLE"
    assert "OPTIMIZE" in operations
    assert keep.names_of(tmp_path) == ["odd"]
    assert keep.extent(table.url)["rows"] == 0


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    with pytest.raises(OperatorError, match="is no table of recorded input; make one with onetape"):
        TapeTable(tmp_path)
    with pytest.raises(OperatorError, match=r"expected a folder or s3://BUCKET/PREFIX"):
        TapeTable("ftp://x/y")
    TapeWriter(tmp_path, DAY, INPUT).write(stream())
    with pytest.raises(OperatorError, match="has no version 99: the newest is 1"):
        TapeTable(tmp_path, 99)
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(OperatorError, match=r"pip install 'onetape\[lake\]'"):
        TapeTable(tmp_path)
