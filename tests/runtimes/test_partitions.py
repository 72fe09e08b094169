"""`ot.run(..., partitions=N)` and `onetape run --partitions N`: what a run in one part gives."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onetape as ot
from onetape import c
from onetape import market as mk
from onetape.cli import main
from onetape.records import DeclarationError
from onetape.runtimes.verify.command import verify
from onetape.sim import write_file
from onetape.surveillance import burst_cancel


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=4, instruments=12, seconds=2.0, episodes=1)
    return path


def book_pipeline():
    feed = ot.source("itch")
    trades, tops = feed.trades(), feed.top_of_book()
    vwap = trades.window("100ms", by=c.instrument_id).agg(lots=c.qty_lots.sum(), at=mk.vwap())
    met = trades.asof_join(tops, by=c.instrument_id, strictly=True)
    return ot.Pipeline(
        top=tops, trade=trades, vwap=vwap, met=met, alert=burst_cancel(feed.events())
    )


def test_books_in_parts_are_books(day):
    one = ot.run(book_pipeline(), file=day)
    for count in (2, 3):
        several = ot.run(book_pipeline(), file=day, partitions=count)
        assert several.digests == one.digests
        assert vars(several.counts) | {"frames": 0} == vars(one.counts) | {"frames": 0}
        for name in one:
            assert np.array_equal(several[name].rows, one[name].rows), name
            assert several[name].to_arrow().equals(one[name].to_arrow())
    assert min(len(one[name]) for name in one) > 0


def test_only_some_symbols_in_parts(day):
    names = ot.run(ot.Pipeline(e=ot.source("itch").events()), file=day).e.to_arrow()["symbol"]
    some = sorted(set(names.to_pylist()) - {""})[:5]
    trades = ot.source("itch").only(*some).trades()
    one = ot.run(ot.Pipeline(trade=trades), file=day)
    several = ot.run(ot.Pipeline(trade=trades), file=day, partitions=2)
    assert several.digests == one.digests
    assert len(one.trade) > 0


def test_the_command_leaves_a_tape_that_verifies(tmp_path, capsys):
    rows = {"ts_event_ns": range(1, 301), "instrument_id": [n % 7 for n in range(300)]}
    rows |= {"price_ticks": [100 + n % 5 for n in range(300)], "qty_lots": [1] * 300}
    pq.write_table(pa.table({name: list(column) for name, column in rows.items()}), tmp_path / "t")
    program = tmp_path / "program.py"
    program.write_text(
        "import onetape as ot\nfrom onetape import c, market as mk\n"
        f"trades = ot.read({str(tmp_path / 't')!r}, as_=mk.Trade, tick='1', name='ticker')\n"
        "lots = trades.window('20ns', by=c.instrument_id).agg(lots=c.qty_lots.sum())\n"
        "pipeline = ot.Pipeline(trade=trades, lots=lots)\n"
    )
    run = ["run", str(program), "--json", "--tape"]
    assert main([*run, str(tmp_path / "one"), "--out", str(tmp_path / "out1")]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (
        main([*run, str(tmp_path / "two"), "--out", str(tmp_path / "o"), "--partitions", "2"]) == 0
    )
    two = json.loads(capsys.readouterr().out)
    assert (two["digests"], two["rows"]) == (one["digests"], one["rows"])
    for name in ("trade", "lots"):
        left = pq.read_table(tmp_path / "o" / f"{name}.parquet")
        assert left.equals(pq.read_table(tmp_path / "out1" / f"{name}.parquet"))
    from onetape.runtimes.load import load_pipeline

    equal, facts, lines = verify(load_pipeline(str(program)), tmp_path / "two")
    assert equal, lines
    assert facts["answers"][0]["way"] == "live"

    assert main([*run, str(tmp_path / "x"), "--partitions", "2", "--speed", "3"]) == 1
    assert "--speed does not go with --partitions" in capsys.readouterr().err
    assert main([*run, str(tmp_path / "x"), "--partitions", "2", "--partition-by", "no"]) == 1
    assert "no source has a field 'no'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_what_does_not_go_by_the_key_runs_behind_the_parts(day):
    feed = ot.source("itch")
    trades, tops = feed.trades(), feed.top_of_book()
    by_size = trades.window("500ms", by=c.qty_lots).agg(n=ot.count())
    pipeline = ot.Pipeline(trade=trades, top=tops, by_size=by_size)
    one = ot.run(pipeline, file=day)
    several = ot.run(pipeline, file=day, partitions=2)
    assert several.digests == one.digests
    assert len(one.by_size) > 20


def test_a_refused_message_makes_the_second_stage_stale_too(day, tmp_path):
    data, at = bytearray(day.read_bytes()), 0
    while at < len(data) // 3 or data[at + 2] != ord("A"):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    data[at + 2] = ord("~")
    (tmp_path / "bad.itch").write_bytes(data)
    trades = ot.source("itch").trades()
    by_side = trades.window("100ms", by=c.side).agg(n=ot.count())
    pipeline = ot.Pipeline(trade=trades, by_side=by_side)
    one = ot.run(pipeline, file=tmp_path / "bad.itch")
    several = ot.run(pipeline, file=tmp_path / "bad.itch", partitions=2)
    assert several.digests == one.digests
    assert len(set(one.by_side.rows["flags"].tolist())) == 2


def test_a_key_that_no_source_has_is_refused(day):
    with pytest.raises(DeclarationError, match="no source has a field 'account_id'"):
        ot.run(book_pipeline(), file=day, partitions=2, partition_by="account_id")
