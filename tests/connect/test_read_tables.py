"""Tables of every kind, in batches of any size, merged by event time: always the same rows."""

import gzip
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

import onetape as ot
from onetape import market as mk
from onetape.compiled.frame import DATA, END
from onetape.connect.frames.merge import Merged
from onetape.records import DeclarationError, OperatorError, PeerError

COLUMNS = {
    "ts_event_ns": "time",
    "price_ticks": "price",
    "qty_lots": "size",
    "instrument_id": "sym",
}
OPTIONS = {"as_": mk.Trade, "columns": COLUMNS, "tick": "0.01", "time_unit": "ns"}


def day(rows=500, seed=1, symbols="ABC", step=3):
    """A table of trades in time order."""
    draw = random.Random(seed)
    times = sorted(draw.randrange(rows * step) for _ in range(rows))
    return pa.table(
        {
            "sym": [draw.choice(symbols) for _ in range(rows)],
            "time": times,
            "price": [f"{draw.randrange(100_000) / 100:.2f}" for _ in range(rows)],
            "size": [draw.randrange(1, 1000) for _ in range(rows)],
            "note": ["not ours"] * rows,
        }
    )


def rows_of(*streams):
    """(source, row) of all that the streams give when merged, and where each ends; symbols."""
    merged = Merged([stream.node.table for stream in streams])
    found = []
    for source, kind, payload in merged:
        of = streams[source].of
        assert kind in (DATA, END)
        found += (
            [(source, row.tobytes()) for row in payload.view(of.dtype)]
            if kind == DATA
            else [(source, "end")]
        )
    return found, dict(merged.symbols)


def written(table, kind, folder):
    path = folder / f"day.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=77)
    elif kind == "csv":
        csv.write_csv(table, path)
    elif kind == "csv.gz":
        csv.write_csv(table, folder / "plain.csv")
        path.write_bytes(gzip.compress((folder / "plain.csv").read_bytes()))
    elif kind == "semicolons":
        csv.write_csv(table, path, csv.WriteOptions(delimiter=";", quoting_style="none"))
    else:
        new = pa.ipc.new_file if kind == "feather" else pa.ipc.new_stream
        with new(str(path), table.schema) as out:
            out.write_table(table, max_chunksize=61)
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz", "semicolons", "feather", "stream"])
def test_a_file_of_any_kind_gives_the_rows_of_the_table(kind, tmp_path):
    table = day()
    if kind.startswith(("csv", "semi")):  # all text: times are told to be numbers by the unit
        options = OPTIONS | {"time_unit": None, "tz": "UTC"}
        times = pa.array(table["time"].to_numpy()).cast(pa.timestamp("ns"))
        table = table.set_column(1, "time", times)
    else:
        options = OPTIONS
    expected = rows_of(ot.read(table, **options))
    path = written(table, kind, tmp_path)

    assert rows_of(ot.read(path, **options)) == expected
    assert rows_of(ot.read(str(path), **options, batch_rows=7)) == expected
    assert rows_of(ot.read(str(tmp_path / f"*.{kind}"), **options)) == expected
    assert len(expected[0]) == 501


def test_frames_of_polars_and_pandas_give_the_rows_of_the_table():
    table = day()
    expected = rows_of(ot.read(table, **OPTIONS))
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    frame = polars.from_arrow(table)
    categories = frame.with_columns(polars.col("sym").cast(polars.Categorical))
    assert isinstance(table.to_pandas(), pandas.DataFrame)
    for each in (frame, frame.lazy(), categories, table.to_pandas(), table.to_reader()):
        assert rows_of(ot.read(each, **OPTIONS, batch_rows=100)) == expected


def test_a_reader_can_be_read_once():
    stream = ot.read(day().to_reader(), **OPTIONS)
    rows_of(stream)
    with pytest.raises(OperatorError, match="was read already"):
        rows_of(stream)


def test_a_list_of_files_is_one_table(tmp_path):
    table = day()
    for i, part in enumerate((table[:200], table[200:])):
        pq.write_table(part, tmp_path / f"{i}.parquet")
    expected = rows_of(ot.read(table, **OPTIONS))
    assert rows_of(ot.read(str(tmp_path / "*.parquet"), **OPTIONS)) == expected
    assert rows_of(ot.read([table[:200], table[200:]], **OPTIONS)) == expected


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
)
def test_how_tables_are_cut_has_no_part_in_the_merge(seed, sizes, cuts):
    tables = [day(rows, seed + i, "ABCDEF", step=1) for i, rows in enumerate(sizes)]
    whole = rows_of(*(ot.read(table, **OPTIONS) for table in tables))
    cut = rows_of(
        *(ot.read(t, **OPTIONS, batch_rows=rows) for t, rows in zip(tables, cuts, strict=False))
    )

    assert cut == whole
    rows, symbols = whole
    order = [
        (int(np.frombuffer(row, mk.Trade.dtype)["ts_event_ns"][0]), source)
        for source, row in rows
        if row != "end"
    ]
    assert order == sorted(order)
    assert len(order) == sum(sizes)
    assert sorted(source for source, row in rows if row == "end") == list(range(len(sizes)))
    met = [
        int(np.frombuffer(row, mk.Trade.dtype)["instrument_id"][0])
        for _, row in rows
        if row != "end"
    ]
    firsts = list(dict.fromkeys(met))
    assert firsts == list(range(1, len(symbols) + 1)) == sorted(symbols.values())


def test_each_row_keeps_its_symbol():
    table = day(seed=4, symbols=["AAPL", "BRK.B", "A LONG SYMBOL", "NA"])
    rows, symbols = rows_of(ot.read(table, **OPTIONS))
    names = {number: symbol for symbol, number in symbols.items()}
    trades = [np.frombuffer(row, mk.Trade.dtype)[0] for _, row in rows[:-1]]
    assert [names[int(t["instrument_id"])] for t in trades] == table["sym"].to_pylist()
    assert all(t["asset_id"] == t["instrument_id"] for t in trades)


def test_symbols_that_are_given_are_the_ids():
    table = day()
    rows, symbols = rows_of(ot.read(table, **OPTIONS, symbols={"A": 7, "B": 8, "C": 70}))
    ids = [int(np.frombuffer(row, mk.Trade.dtype)["instrument_id"][0]) for _, row in rows[:-1]]
    assert ids == [{"A": 7, "B": 8, "C": 70}[s] for s in table["sym"].to_pylist()]
    assert symbols == {"A": 7, "B": 8, "C": 70}
    with pytest.raises(PeerError, match="'C' is not among the symbols; the nearest is 'CC'"):
        rows_of(ot.read(day(), **OPTIONS, symbols={"A": 7, "B": 8, "CC": 70}))
    with pytest.raises(DeclarationError, match="symbol 'A' is 8 in one source and 7 in another"):
        rows_of(
            ot.read(table, **OPTIONS, symbols={"A": 7, "B": 8, "C": 9}),
            ot.read(table, **OPTIONS, symbols={"A": 8, "B": 8, "C": 9}),
        )


def test_rows_out_of_time_order_are_refused_skipped_or_sorted():
    table = day(100)
    shuffled = table.take([0, 1, 2, 50, 3, 4, *range(51, 100)])
    with pytest.raises(PeerError, match=r"row 4, column 'time': its time is \d+ ns before"):
        rows_of(ot.read(shuffled, **OPTIONS))
    skipping = ot.read(shuffled, **OPTIONS, on_bad="skip", batch_rows=2)
    assert len(rows_of(skipping)[0]) == 54
    assert dict(skipping.node.table.refused) == {"out of time order": 2}
    chosen = rows_of(ot.read(table.take([0, 1, 2, 3, 4, *range(50, 100)]), **OPTIONS))
    in_order = ot.read(shuffled, **OPTIONS, sort=True, batch_rows=9)
    assert rows_of(in_order) == chosen


def test_bad_rows_can_be_skipped_and_are_counted():
    table = day(20)
    prices = table["price"].to_pylist()
    prices[3], prices[17] = "one", "1.001"
    stream = ot.read(table.set_column(2, "price", [prices]), **OPTIONS, on_bad="skip", batch_rows=4)
    good = [i for i in range(20) if i not in (3, 17)]
    assert [r for _, r in rows_of(stream)[0]] == [
        r for _, r in rows_of(ot.read(table.take(good), **OPTIONS))[0]
    ]
    assert dict(stream.node.table.refused) == {"price -> price_ticks": 2}


def test_the_row_of_a_fault_is_counted_over_batches(tmp_path):
    prices = ["1.00"] * 50
    prices[41] = "1.005"
    path = written(day(50).set_column(2, "price", [prices]), "parquet", tmp_path)
    with pytest.raises(PeerError, match=rf"{path}, row 41, column 'price': 1\.005 is not"):
        rows_of(ot.read(path, **OPTIONS, batch_rows=7))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "is no table"),
        (b"\x00\x01\x02\x03\n", "is no table"),
        (b"PAR1 and then nothing", "is damaged, or no table"),
        (b"ARROW1\x00\x00", "is damaged, or no table"),
        (b"a,b\n1,2\n", "no column 'time'"),
    ],
)
def test_a_file_that_is_no_table_is_told(content, said, tmp_path):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((OperatorError, PeerError, DeclarationError), match=said):
        ot.read(path, **OPTIONS)


def test_a_csv_with_a_torn_line_is_told(tmp_path):
    path = tmp_path / "torn.csv"
    path.write_text("sym,time,price,size\nA,1970-01-01T00:00:01,1.00,1\nA,1970\n")
    with pytest.raises(PeerError, match="is damaged"):
        rows_of(ot.read(path, **OPTIONS | {"time_unit": None, "tz": "UTC"}))
