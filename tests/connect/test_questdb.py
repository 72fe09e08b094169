"""Rows into QuestDB: typed, once each, whoever dies when; and its answers as Arrow."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from urllib.error import HTTPError

import numpy as np
import pyarrow as pa
import pytest
from tests import servers
from tests.connect.test_sinks import origins, wait_for

import onetape as ot
from onetape.connect.questdb.columns import columns_of, create_table
from onetape.connect.questdb.http import Server, parse
from onetape.connect.sinks import outbox
from onetape.connect.sinks.taking import Output
from onetape.records import DeclarationError, OperatorError, block_of
from onetape.records.market import Trade

BEGAN_NS = 1_767_605_400_000_000_001  # 2026-01-05 09:30 and a nanosecond
LIMIT_S = 60


@ot.record
class Quote:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    mean_ticks: ot.f64
    ts_recv_ns: ot.i64
    order_id: ot.u64
    ids: ot.Array[ot.u64, 2]
    instrument_id: ot.u32
    rule: ot.u16
    side: ot.u8
    flags: ot.u8


ROWS = block_of(
    Quote,
    [
        (BEGAN_NS, 12_345, 1.5, BEGAN_NS + 7, 2**64 - 1, (1, 2), 1, 7, ord("B"), 1),
        (BEGAN_NS, ot.UNSET, float("nan"), ot.UNSET, 3, (3, 4), 2, 0, 0, 0),
        (BEGAN_NS + 1, -5, -2.25, 0, 0, (5, 6), 3, 0, ord("A"), 0),
    ],
)
SYMBOLS = {1: "AAPL", 2: "MSFT"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox, "PAUSE_S", 0.02)
    monkeypatch.setattr(outbox, "PAUSE_MAX_S", 0.5)


def output(name, folder=None, of=Quote):
    return Output(name, of, SYMBOLS, {7: "too far"}, None, folder, tick="0.01")


def deliver(sink, where, rows=ROWS, origin=None):
    taker = sink.open(where)
    taker.take(rows, origins(0, len(rows)) if origin is None else origin)
    taker.finish()
    taker.close()
    return taker


def ask(server, sql):
    with Server(server.address).answer(sql) as reader:
        return reader.read_all()


def rows_in(server, table):
    """How many rows can be seen: they are applied a moment after they are taken."""
    try:
        return ask(server, f"SELECT count(*) AS n FROM {table}")["n"][0].as_py()
    except OperatorError:
        return 0


def when_seen(server, table, rows):
    end_s = time.monotonic() + LIMIT_S
    while (seen := rows_in(server, table)) != rows:
        assert time.monotonic() < end_s, f"{seen} rows of {rows} in {table}"
        time.sleep(0.02)


# --- without a server -----------------------------------------------------------------------------


def test_a_column_a_field_with_a_type_of_its_own():
    types = {each.name: each.type for each in columns_of(output("quote"))}

    assert types == {
        "symbol": "SYMBOL",
        "price_ticks": "LONG",
        "mean_ticks": "DOUBLE",
        "ts_recv": "TIMESTAMP_NS",
        "order_id": "LONG",
        "ids": "VARCHAR",
        "instrument_id": "LONG",
        "rule": "INT",
        "side": "SYMBOL",
        "flags": "SYMBOL",
        "text": "SYMBOL",
    }
    sql = create_table("quote", columns_of(output("quote"), decimals=True))
    assert '"price" DECIMAL(18, 2)' in sql and '"mean" DOUBLE' in sql
    assert 'DEDUP UPSERT KEYS("ts_event", "run", "output_row")' in sql


def test_values_are_null_where_nothing_is_known():
    values = {each.name: each.values(ROWS) for each in columns_of(output("quote"), decimals=True)}

    assert values["symbol"] == ["AAPL", "MSFT", None]
    assert values["price"] == [Decimal("123.45"), None, Decimal("-0.05")]
    assert values["ts_recv"] == [BEGAN_NS + 7, None, 0]
    assert values["order_id"] == [-1, 3, 0]
    assert values["ids"] == ["[1, 2]", "[3, 4]", "[5, 6]"]
    assert (values["side"], values["text"]) == (["B", None, "A"], ["too far", None, None])


@pytest.mark.parametrize("address", ["desk", "desk:0", "desk:x", "ftp://desk:1", "http://a:1/b"])
def test_what_is_no_address(address):
    with pytest.raises(DeclarationError, match="expected 'HOST:PORT'"):
        ot.questdb(address)


def test_what_cannot_be_a_table():
    @ot.record
    class Run:
        ts_event_ns: ot.i64
        run: ot.i64

    with pytest.raises(DeclarationError, match=r"a field 'run', which is a column of the key"):
        columns_of(Output("x", Run))
    with pytest.raises(DeclarationError, match="not known what a tick is"):
        columns_of(Output("x", Trade, tick=None), decimals=True)
    assert parse("https://desk:9000") == ("https", "desk", 9000)


def test_nobody_there_is_said_and_the_rows_wait(tmp_path, monkeypatch):
    pytest.importorskip("questdb")
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.2)
    (port,) = servers.free_ports(1)
    taker = deliver(ot.questdb(f"127.0.0.1:{port}"), output("quote", tmp_path))

    assert "3 rows wait" in taker.told() and "Connection refused" in taker.told()
    with pytest.raises(OperatorError, match="no QuestDB answers at"):
        ot.query(f"questdb:127.0.0.1:{port}", "SELECT 1")


# --- a real server --------------------------------------------------------------------------------


def test_rows_arrive_with_their_types(questdb):
    deliver(ot.questdb(questdb.address, table="typed"), output("quote"))
    when_seen(questdb, "typed", 3)

    made = ask(questdb, "SELECT * FROM typed")
    assert made.schema.field("ts_event").type == pa.timestamp("ns", "UTC")
    assert made["ts_event"].cast(pa.int64()).to_pylist() == [BEGAN_NS, BEGAN_NS, BEGAN_NS + 1]
    assert made["output_row"].to_pylist() == [0, 1, 2]
    assert made["price_ticks"].to_pylist() == [12_345, None, -5]
    assert made["mean_ticks"].to_pylist() == [1.5, None, -2.25]
    assert made["ts_recv"].cast(pa.int64()).to_pylist() == [BEGAN_NS + 7, None, 0]
    assert made["symbol"].to_pylist() == ["AAPL", "MSFT", None]
    assert made["ids"].to_pylist() == ["[1, 2]", "[3, 4]", "[5, 6]"]
    assert made["text"].to_pylist() == ["too far", None, None]


def test_prices_as_exact_decimals(questdb):
    deliver(ot.questdb(questdb.address, table="priced", decimals=True), output("quote"))
    when_seen(questdb, "priced", 3)

    prices = ask(questdb, "SELECT price FROM priced")["price"]
    assert prices.to_pylist() == [Decimal("123.45"), None, Decimal("-0.05")]


def test_rows_that_are_sent_again_are_there_once(questdb, tmp_path):
    sink = ot.questdb(questdb.address, table="again")
    for note in ("kept", "lost"):
        deliver(sink, output("quote", tmp_path))
        if note == "kept":
            (tmp_path / "quote-0.delivered").unlink()
    deliver(ot.questdb(questdb.address, table="again", run="other"), output("quote"))
    when_seen(questdb, "again", 6)

    runs = ask(questdb, "SELECT run, count(*) AS n FROM again ORDER BY run")
    assert runs.to_pylist() == [{"run": "onetape", "n": 3}, {"run": "other", "n": 3}]


def test_a_time_before_1970_is_refused_and_said(questdb):
    early = ROWS.copy()
    early["ts_event_ns"][1] = -1
    taker = deliver(ot.questdb(questdb.address, table="early"), output("quote"), early)

    assert "1 refused there (ts_event_ns was -1: QuestDB has no time before 1970)" in taker.told()
    when_seen(questdb, "early", 2)


def test_a_table_without_the_key_is_not_touched(questdb, monkeypatch):
    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.2)
    Server(questdb.address).execute(
        "CREATE TABLE theirs (ts_event TIMESTAMP_NS) TIMESTAMP(ts_event) PARTITION BY DAY WAL"
    )
    taker = deliver(ot.questdb(questdb.address, table="theirs"), output("quote"))

    assert "table theirs keeps one row for each row sent; expected DEDUP" in taker.told()
    assert rows_in(questdb, "theirs") == 0


def test_a_column_that_is_new_is_added_and_one_of_another_type_refused(questdb, monkeypatch):
    deliver(ot.questdb(questdb.address, table="grown"), Output("quote", Quote))
    when_seen(questdb, "grown", 3)
    deliver(ot.questdb(questdb.address, table="grown", run="b"), output("quote"))
    when_seen(questdb, "grown", 6)
    assert ask(questdb, "SELECT symbol FROM grown WHERE run = 'b'")["symbol"][0].as_py() == "AAPL"

    monkeypatch.setattr(outbox, "LAST_TRY_S", 0.2)
    Server(questdb.address).execute("ALTER TABLE grown ALTER COLUMN price_ticks TYPE DOUBLE")
    column = "SELECT type FROM table_columns('grown') WHERE \"column\" = 'price_ticks'"
    wait_for(lambda: ask(questdb, column)["type"][0].as_py() == "DOUBLE")
    taker = deliver(ot.questdb(questdb.address, table="grown", run="c"), output("quote"))
    assert "column price_ticks of table grown is DOUBLE; expected LONG" in taker.told()


def test_what_the_server_says_of_a_query(questdb):
    with pytest.raises(OperatorError, match="says: table does not exist"):
        ask(questdb, "SELECT * FROM nothing_there")
    with pytest.raises(OperatorError, match="begins with SELECT"):
        ask(questdb, "DROP TABLE typed")
    empty = ask(questdb, "SELECT 1::long AS a FROM long_sequence(0)")
    assert (empty.num_rows, empty.schema.names) == (0, ["a"])


def test_a_name_and_password(monkeypatch):
    own = servers.start("questdb", settings={"http.user": "desk", "http.password": "of-a-test"})
    try:
        monkeypatch.setenv("DESK", "desk:of-a-test")
        deliver(ot.questdb(own.address, login="env:DESK"), output("quote"))
        end_s = time.monotonic() + LIMIT_S
        sql = "SELECT count(*) AS n FROM quote"
        while ot.query(f"questdb:{own.address}", sql, login="env:DESK")["n"][0].as_py() != 3:
            assert time.monotonic() < end_s
        with pytest.raises((OperatorError, HTTPError)):
            ot.query(f"questdb:{own.address}", sql)
    finally:
        own.stop()


# --- kill -9 --------------------------------------------------------------------------------------


def many(first, count):
    rows = np.zeros(count, Trade.dtype)
    rows["ts_event_ns"] = BEGAN_NS + np.arange(first, first + count) // 3  # three of each time
    rows["price_ticks"] = np.arange(first, first + count)
    rows["instrument_id"] = 1
    return rows


def test_a_server_that_is_killed_in_the_middle_loses_and_doubles_nothing(tmp_path, monkeypatch):
    """The server dies by SIGKILL while rows are under way, three times."""
    monkeypatch.setattr("onetape.connect.questdb.sink.ROWS_AT_ONCE", 500)
    server = servers.start("questdb")
    try:
        taker = ot.questdb(server.address).open(output("trade", tmp_path, Trade))
        at = 0
        for _ in range(3):
            for _ in range(20):
                taker.take(many(at, 1_000), origins(at, 1_000))
                at += 1_000
            before = taker.delivered
            wait_for(lambda before=before: taker.delivered > before)
            server.kill()
            taker.take(many(at, 1_000), origins(at, 1_000))
            at += 1_000
            failures = taker.failures
            wait_for(lambda failures=failures: taker.failures > failures)
            server.restart()
        taker.finish()
        taker.close()

        assert taker.failures and taker.waiting() == 0
        when_seen(server, "trade", at)
        numbers = ask(server, "SELECT output_row, price_ticks FROM trade")
        assert numbers["output_row"].to_pylist() == list(range(at))
        assert numbers["price_ticks"].to_pylist() == list(range(at))
    finally:
        server.stop()


PROGRAM = """
import pyarrow as pa
import onetape as ot
from onetape import market as mk
from onetape.connect.questdb import sink

sink.ROWS_AT_ONCE = 1_000
rows = 60_000
table = pa.table({{
    "ts_event_ns": [{began} + n // 3 for n in range(rows)],
    "instrument_id": [n % 7 for n in range(rows)],
    "price_ticks": list(range(rows)),
    "qty_lots": [1] * rows,
}})
trades = ot.read(table, as_=mk.Trade, tick="0.01", name="ticker")
pipeline = ot.Pipeline(trade=trades >> ot.questdb("{address}", table="killed"))
"""


@pytest.mark.crash
@pytest.mark.slow
def test_a_writer_that_is_killed_goes_on_where_it_was(questdb, tmp_path, monkeypatch):
    program, tape = tmp_path / "killed.py", tmp_path / "tape"
    program.write_text(PROGRAM.format(began=BEGAN_NS, address=questdb.address))
    environment = {**os.environ, "ONETAPE_MODE": "interpreted"}
    run = [sys.executable, "-m", "onetape.cli", "run", str(program), "--tape", str(tape), "--json"]

    lives, end_s = 0, time.monotonic() + 240
    while True:
        resume = ["--resume"] if (tape / "manifest").exists() else []
        child = subprocess.Popen(run + resume, env=environment, stdout=subprocess.DEVNULL)
        if lives < 3:
            seen = rows_in(questdb, "killed")
            while rows_in(questdb, "killed") <= seen and child.poll() is None:
                assert time.monotonic() < end_s
                time.sleep(0.02)
            child.send_signal(signal.SIGKILL)
            child.wait()
            lives += 1
            with contextlib.suppress(FileNotFoundError):
                if lives == 2:  # what a power cut may leave of the note
                    (tape / "sinks" / "trade-0.delivered").unlink()
            continue
        assert child.wait(240) == 0
        break

    when_seen(questdb, "killed", 60_000)
    prices = ask(questdb, "SELECT price_ticks FROM killed")["price_ticks"].to_pylist()
    assert prices == list(range(0, 6_000_000, 100))  # a tick is 0.01
