"""`ot.run` over tables: the right rows, shown and handed out as others read them."""

import gzip
import json
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onetape as ot
from onetape import market as mk
from onetape.records import UNSET, OperatorError, block_of
from onetape.records.market import Bar
from onetape.runtimes.results import Table
from onetape.runtimes.verify.command import verify

MINUTE = 60 * 10**9
I64 = st.integers(-(2**62), 2**62) | st.just(UNSET)
LETTER = st.sampled_from([ord("A"), ord("B"), ord("N")])
TRADE = st.tuples(
    st.integers(0, 2**62 - 1),
    st.integers(-(10**12), 10**12),
    st.integers(0, 10**12),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    I64,
    st.integers(0, 2**32 - 1),
    LETTER,
    st.integers(0, 255),
    st.sampled_from([0, ord("E"), ord("P")]),
    st.integers(0, 2**32 - 1),
    st.just(0),
)


@given(st.lists(TRADE, max_size=30))
def test_rows_read_back_from_a_result_are_the_same(rows):
    block = block_of(mk.Trade, sorted(rows, key=lambda row: row[0]))
    table = Table("trade", mk.Trade, block, {1: "A"}, Decimal("0.01"))
    columns = {name: None for name in ("flags",) if (block["flags"] & 64).any()}  # no such flag
    ticks = ot.read(table.to_arrow(), as_=mk.Trade, tick=1, columns=columns, side_of="maker")
    prices = ot.read(
        table.to_arrow(prices=True),
        as_=mk.Trade,
        tick="0.01",
        columns=columns | {"price_ticks": "price"},
        side_of="maker",
    )
    if columns:
        block["flags"] = 0
    for stream in (ticks, prices):
        read = list(stream.node.table.blocks())
        assert b"".join(rows.tobytes() for rows in read) == block.tobytes()


def naive_vwap(rows):
    """{end of the minute: (notional, size)} from (ns, price, size) in Decimal."""
    sums = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for ns, price, size in rows:
        found = sums[(ns // MINUTE + 1) * MINUTE]
        found[0] += Decimal(price) * Decimal(size)
        found[1] += Decimal(size)
    return {end: tuple(found) for end, found in sums.items()}


def test_a_foreign_trades_file_becomes_a_source_in_five_lines(data_file):
    path = data_file("taq/sampleTDataRaw_2018-01-02.csv.gz")

    trades = ot.read(path, as_=mk.Trade, tick="0.0001", tz="America/New_York", columns={
        "ts_event_ns": "DT", "price_ticks": "PRICE", "qty_lots": "SIZE", "instrument_id": "SYMBOL",
    })  # fmt: skip
    results = ot.run(ot.Pipeline(vwap=mk.vwap(trades, width="60s")))
    table = results.vwap.to_arrow()

    lines = [line.split(",") for line in gzip.open(path, "rt").read().splitlines()[1:]]
    eastern = 5 * 3600 * 10**9  # January
    expected = naive_vwap(
        (int(np.datetime64(line[0], "ns").astype(np.int64)) + eastern, line[5], line[4])
        for line in lines
    )
    found = {
        end: (Decimal(notional) * Decimal("0.0001"), Decimal(lots))
        for end, notional, lots in zip(
            table["ts_event_ns"].cast(pa.int64()).to_pylist(),
            table["notional_ticklots"].to_pylist(),
            table["qty_lots"].to_pylist(),
            strict=True,
        )
    }
    assert found == expected
    assert len(expected) > 400
    assert table["symbol"].unique().to_pylist() == ["XXX"]
    assert results.counts.events == len(lines)


def test_binance_trades_agree_with_polars(data_file):
    polars = pytest.importorskip("polars")
    lines = gzip.open(data_file("crypto/binance_spot_ethusdt_20240808.gz"), "rt")
    told = [json.loads(line.split(" ", 1)[1]).get("data", {}) for line in lines]
    frame = polars.DataFrame([trade for trade in told if trade.get("e") == "trade"])

    trades = ot.read(frame, as_=mk.Trade, tick="0.01", lot="0.0001", time_unit="ms",
        side_of="maker", sort=True, columns={"ts_event_ns": "T", "price_ticks": "p",
        "qty_lots": "q", "instrument_id": "s", "match_id": "t", "side": "m"})  # fmt: skip
    results = ot.run(ot.Pipeline(vwap=mk.vwap(trades, width="60s"), trade=trades))

    amounts = frame.with_columns(
        polars.col("p", "q").cast(polars.Decimal(20, 8)),
        end=(polars.col("T") // 60_000 + 1) * 60_000,
    )
    by_end = amounts.group_by("end").agg(q=polars.col("q").sum(), n=polars.len()).sort("end")
    found = results.vwap.to_polars()
    assert found["qty_lots"].to_list() == [int(q * 10_000) for q in by_end["q"]]
    assert found["trades_count"].to_list() == by_end["n"].to_list()
    assert found["ts_event_ns"].dt.epoch("ms").to_list() == by_end["end"].to_list()
    notional = sum(p * q for p, q in zip(amounts["p"], amounts["q"], strict=True))
    assert sum(found["notional_ticklots"].to_list()) == notional * 10**6
    back = results.trade.to_polars(prices=True)
    assert sorted(back["price"]) == sorted(amounts["p"])
    maker = {True: "B", False: "A"}
    ordered = frame.sort("T", maintain_order=True)
    assert back["side"].to_list() == [maker[m] for m in ordered["m"]]
    assert back["match_id"].to_list() == ordered["t"].to_list()


def quotes_and_trades(data_file):
    options = {"tick": "0.0001", "tz": "America/New_York"}
    named = {"ts_event_ns": "DT", "instrument_id": "SYMBOL"}
    trades = ot.read(
        data_file("taq/sampleTData_2018-01-02.csv.gz"),
        as_=mk.Trade,
        columns=named | {"price_ticks": "PRICE", "qty_lots": "SIZE"},
        **options,
    )
    quotes = ot.read(
        data_file("taq/sampleQData_2018-01-02.csv.gz"),
        as_=mk.TopOfBook,
        columns=named
        | {"bid_price_ticks": "BID", "ask_price_ticks": "OFR"}
        | {"bid_qty_lots": "BIDSIZ", "ask_qty_lots": "OFRSIZ"},
        **options,
    )
    return trades, quotes


PROGRAM = """\
import onetape as ot
from onetape import market as mk

named = {{"ts_event_ns": "time", "instrument_id": "sym"}}
trades = ot.read({folder!r} + "/trades.parquet", as_=mk.Trade, tick="0.01",
    columns=named | {{"price_ticks": "price", "qty_lots": "size"}})
quotes = ot.read({folder!r} + "/quotes.parquet", as_=mk.TopOfBook, tick="0.01",
    columns=named | {{"bid_price_ticks": "bid", "ask_price_ticks": "ask",
                      "bid_qty_lots": "size", "ask_qty_lots": "size"}})
joined = trades.asof_join(quotes, by="instrument_id", max_age="10s")
pipeline = ot.Pipeline(joined=joined, vwap=mk.vwap(trades, width="1s"))
"""


NAMED = {"ts_event_ns": "time", "instrument_id": "sym", "price_ticks": "price", "qty_lots": "size"}


def write_day(folder):
    rows = 400
    times = pa.array([1_700_000_000_000 + 37 * i for i in range(rows)], pa.timestamp("ms", "UTC"))
    symbols = ["ABC"[i % 3] for i in range(rows)]
    prices = [100 + (i * 7 % 50) / 100 for i in range(rows)]
    common = {"time": times, "sym": symbols, "size": [i % 9 + 1 for i in range(rows)]}
    pq.write_table(pa.table(common | {"price": prices}), folder / "trades.parquet")
    bids = {"bid": [p - 0.01 for p in [100.5] * rows], "ask": [100.75] * rows}
    pq.write_table(pa.table(common | bids), folder / "quotes.parquet")


def test_tables_on_a_tape_give_the_rows_they_give_here(tmp_path):
    from onetape.runtimes.load import load_pipeline

    write_day(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(folder=str(tmp_path)))
    pipeline = load_pipeline(str(program))
    results = ot.run(pipeline, quiet=True)
    assert len(results.joined) == 397  # of the same time, the trade comes before the first quote

    out = tmp_path / "out"
    command = [sys.executable, "-m", "onetape.cli", "run", str(program), "--json"]
    done = subprocess.run(
        [*command, "--tape", str(tmp_path / "tape"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["digests"] == results.digests
    assert facts["symbols"] == {"A": 1, "B": 2, "C": 3}
    equal, _, lines = verify(pipeline, tmp_path / "tape")
    assert equal, lines
    written = pq.read_table(out / "joined.parquet")
    assert written.schema.metadata[b"price_scale"] == b"0.01"
    assert written["symbol"].to_pylist() == ["ABC"[i % 3] for i in range(3, 400)]
    assert written.equals(results.joined.to_arrow())


def test_a_run_of_tables_that_was_interrupted_goes_on(tmp_path):
    from onetape.runtimes.edge.node import EdgeNode
    from onetape.runtimes.inputs import tables_of
    from onetape.runtimes.load import load_pipeline
    from onetape.runtimes.progress import Progress
    from onetape.runtimes.run.tables import run_tables

    write_day(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(folder=str(tmp_path)))
    pipeline = load_pipeline(str(program))
    origin = {"tables": [source.table.where for source in pipeline.sources]}
    with EdgeNode(pipeline, tmp_path / "tape", origin=origin) as node:
        for i, (source, kind, payload) in enumerate(tables_of(pipeline)):
            if i == 333:
                break
            assert node.push(payload, source=source, kind=kind)
        for _ in node.drain_until_idle():
            pass
    other = ot.read(tmp_path / "trades.parquet", as_=mk.Trade, tick="0.01", columns=NAMED)
    with pytest.raises(OperatorError, match="go on with the same input"):
        run_tables(
            ot.Pipeline(vwap=mk.vwap(other)),
            tmp_path / "tape",
            progress=Progress(quiet=True),
            resume=True,
        )
    facts = run_tables(
        pipeline,
        tmp_path / "tape",
        progress=Progress(quiet=True),
        out=tmp_path / "out",
        resume=True,
    )
    results = ot.run(pipeline, quiet=True)
    assert facts["digests"] == results.digests
    written = pq.read_table(tmp_path / "out" / "vwap.parquet")
    assert written.equals(results.vwap.to_arrow())


def test_trades_and_quotes_are_joined_by_event_time(data_file):
    trades, quotes = quotes_and_trades(data_file)
    joined = trades.asof_join(quotes, by="instrument_id")
    results = ot.run(ot.Pipeline(joined=joined))
    polars = pytest.importorskip("polars")
    frames = [
        polars.DataFrame({name: block[name].copy() for name in names})
        for stream, names in (
            (trades, ["ts_event_ns", "price_ticks", "qty_lots"]),
            (quotes, ["ts_event_ns", "bid_price_ticks", "ask_price_ticks"]),
        )
        for block in [np.concatenate(list(stream.node.table.blocks()))]
    ]
    # Of equal times the trade comes first: its source is the first, so it sees the quote before.
    expected = frames[0].join_asof(
        frames[1], on="ts_event_ns", strategy="backward", allow_exact_matches=False
    )
    expected = expected.drop_nulls()
    rows = results.joined.rows
    for name in ("ts_event_ns", "price_ticks", "bid_price_ticks", "ask_price_ticks"):
        assert rows[name].tolist() == expected[name].to_list(), name


def bars():
    rows = [
        (1_514_903_460_000_000_000 + i, MINUTE, 1, UNSET, 1, 25 + i, 10, 1 + i % 2, 3, 33 * i, 0)
        for i in range(12)
    ]
    return Table("bar", Bar, block_of(Bar, rows), {1: "A<B>", 2: "Z"}, Decimal("0.25"))


def test_a_small_table_is_shown():
    text = repr(bars())
    assert text.splitlines()[0] == "bar: 12 rows of Bar, the first 8"
    assert len(text.splitlines()) == 10
    assert "2018-01-02 14:31:00.000000001" in text
    assert "late,stale" in text
    page = bars()._repr_html_()
    assert "A&lt;B&gt;" in page
    assert page.count("<tr>") == 9
    assert "close_ticks" in text
    assert "6.75" in repr(bars().with_prices())


def test_arrow_types_say_what_the_columns_are():
    table = bars().to_arrow(prices=True)
    assert table.schema.field("ts_event_ns").type == pa.timestamp("ns", "UTC")
    assert table.schema.field("close").type == pa.decimal128(38, 2)
    assert table["close"].to_pylist()[:2] == [Decimal("6.25"), Decimal("6.50")]
    assert table["high"].null_count == 12
    assert bars().to_arrow()["close_ticks"].to_pylist()[:2] == [25, 26]


def test_rows_as_dicts_have_times_to_the_nanosecond():
    first, second, *_ = bars().to_dicts(prices=True)
    assert (first["symbol"], first["close"], first["high"]) == ("A<B>", Decimal("6.25"), None)
    assert second["ts_event_ns"] == 1_514_903_460_000_000_001
    assert bars().to_dicts()[1]["close_ticks"] == 26


def test_prices_of_an_unknown_tick_are_refused():
    with pytest.raises(OperatorError, match="different ticks"):
        Table("bar", Bar, bars().rows, None).with_prices()


def test_frames_and_files_have_sensible_types_elsewhere(tmp_path):
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    table = bars()
    frame = table.to_polars()
    assert frame.schema["ts_event_ns"] == polars.Datetime("ns", "UTC")
    assert frame.schema["close_ticks"] == polars.Int64
    assert frame["symbol"].to_list()[:2] == ["A<B>", "Z"]
    there = table.to_pandas()
    assert str(there.dtypes["ts_event_ns"]) == "datetime64[ns, UTC]"
    assert there["ts_event_ns"][1] == pandas.Timestamp("2018-01-02T14:31:00.000000001Z")


def test_our_parquet_is_read_by_polars_pandas_and_duckdb(tmp_path):
    from onetape.connect.parquet import ParquetSink

    table = bars()
    with ParquetSink(tmp_path, {"bar": Bar}, {"price_scale": "0.25"}) as sink:
        sink.write("bar", table.rows, table.symbols)
        (path,) = sink.commit()
    assert pq.read_table(path).equals(table.to_arrow())
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    duckdb = pytest.importorskip("duckdb")
    frame = polars.read_parquet(path)
    assert frame.schema["ts_event_ns"] == polars.Datetime("ns", "UTC")
    assert frame["high_ticks"].null_count() == 12
    there = pandas.read_parquet(path)
    assert str(there.dtypes["ts_event_ns"]) == "datetime64[ns, UTC]"
    assert there["symbol"].tolist()[:2] == ["A<B>", "Z"]
    types = duckdb.sql(f"describe select * from '{path}'").fetchall()
    kinds = {name: kind for name, kind, *_ in types}
    assert kinds["ts_event_ns"].startswith("TIMESTAMP")
    assert (kinds["symbol"], kinds["close_ticks"]) == ("VARCHAR", "BIGINT")
    query = f"select symbol, sum(qty_lots) from '{path}' group by symbol order by symbol"
    assert duckdb.sql(query).fetchall() == [("A<B>", 60), ("Z", 60)]


def test_an_itch_source_runs_over_its_file(tmp_path):
    day = tmp_path / "day.itch"
    command = [sys.executable, "-m", "onetape.cli", "sim", "--seconds", "1", "--instruments", "3"]
    subprocess.run([*command, "--out", str(day)], check=True, timeout=120)
    top = ot.source(f"itch:{day}").top_of_book()
    results = ot.run(ot.Pipeline(top=top))
    table = results.top.to_arrow(prices=True)
    assert len(results.top) > 10
    assert set(table["symbol"].unique().to_pylist()) - {""}
    assert table.schema.field("bid_price").type == pa.decimal128(38, 4)
    again = ot.run(ot.Pipeline(top=ot.source("itch").top_of_book()), file=day)
    assert again.digests == results.digests


def test_results_are_found_by_name(tmp_path):
    table = bars()
    from onetape.engine.engine import Counts
    from onetape.runtimes.results import Results

    none = dict.fromkeys(Counts.__dataclass_fields__, 0)
    counts = Counts(**none | {"events": 12, "frames": 1, "rows": {"bar": 12}})
    results = Results(
        {"bar": table}, digests={}, state_digest="", counts=counts, refused={}, elapsed_s=0.5
    )
    assert results.bar is results["bar"] is table
    assert list(results) == ["bar"]
    with pytest.raises(AttributeError, match="no output 'bars'; did you mean 'bar'"):
        results.bars  # noqa: B018
    with pytest.raises(KeyError, match="did you mean 'bar'"):
        results["bars"]
    assert repr(results).startswith("12 events in 0.50 s")


def test_a_source_without_a_table_is_named():
    with pytest.raises(OperatorError, match="source 'trade' has no table to run over"):
        ot.run(ot.Pipeline(vwap=mk.vwap(ot.source(mk.Trade))))
    with pytest.raises(OperatorError, match="source 'itch' names no file"):
        ot.run(ot.Pipeline(top=ot.source("itch").top_of_book()))
