"""`onetape lake write`, `onetape batch`, `onetape backfill`: the answer of a plain run, once."""

import json
from datetime import date
from unittest.mock import ANY

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import onetape as ot
from onetape.cli import main
from onetape.compiled.mode import running
from onetape.connect.lake import store
from onetape.connect.lake.runs import units_at
from onetape.connect.lake.tape_table import TapeTable
from onetape.records import OperatorError
from onetape.runtimes.lake import run as lake_run
from onetape.runtimes.lake.run import prepare
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.sim import write_file

pytest.importorskip("deltalake", reason='pip install "onetape[lake]"')

PROGRAM = """
import onetape as ot
from onetape import c

feed = ot.source("itch")
trades = feed.trades()
lots = trades.window("100ms", by=c.instrument_id).agg(lots=c.qty_lots.sum())
large = trades.filter(c.qty_lots >= AT_LEAST)
pipeline = ot.Pipeline(top=feed.top_of_book(), large=large, lots=lots)
"""
OTHER = """
import onetape as ot
import pyarrow

@ot.record
class Fill:
    ts_event_ns: ot.i64
    qty_lots: ot.i64

table = pyarrow.table({"ts_event_ns": [1, 2], "qty_lots": [1, 2]})
rows = ot.read(table, as_=Fill, name="fill")
pipeline = ot.Pipeline(fill=rows)
"""
DAYS = ("2026-01-05", "2026-01-06")


@pytest.fixture(scope="module", autouse=True)
def in_plain_python():
    """Small inputs, several drivers; tests/crash/test_kill_lake.py has the compiled ones."""
    with running("interpreted"):
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A day's file each, and the program with two thresholds."""
    folder = tmp_path_factory.mktemp("files")
    for n, day in enumerate(DAYS):
        path = folder / f"{day}.itch"
        write_file(
            path,
            seed=4 + n,
            instruments=12,
            seconds=1.0,
            episodes=1,
            trading_date=date.fromisoformat(day),
        )
    for at_least in (1, 300):
        text = PROGRAM.replace("AT_LEAST", str(at_least))
        (folder / f"at_{at_least}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def lake(files, tmp_path_factory):
    """Both days, in shards."""
    url = str(tmp_path_factory.mktemp("lake"))
    for day in DAYS:
        write(files, url, day)
    return url


def write(files, url, day, *more):
    command = ["lake", "write", str(files / "at_1.py"), "--file", str(files / f"{day}.itch")]
    assert main([*command, "--day", day, "--to", url, "--shards", "3", "--json", *more]) == 0


def said(capsys, *command):
    """What a command says with --json."""
    capsys.readouterr()
    assert main([*map(str, command), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def plain(files, day, program="at_1.py"):
    pipeline = load_pipeline(str(files / program))
    return ot.run(pipeline, file=named(files, day), quiet=True)


def named(files, day):
    """The file under a name that tells its day."""
    path = files / f"S{day[5:7]}{day[8:]}{day[2:4]}-v50.txt"
    if not path.exists():
        path.write_bytes((files / f"{day}.itch").read_bytes())
    return path


def sorted_rows(url, name, day):
    table = store.open_table(store.place(url, name)).to_pyarrow_table()
    table = table.filter(pa.compute.equal(table["day"], date.fromisoformat(day)))
    keys = [(n, "ascending") for n in ("ts_event_ns", "instrument_id", *table.column_names[4:])]
    return table.sort_by([key for key in dict(keys).items() if key[0] not in ("day", "flags")])


def test_a_batch_over_the_lake_is_a_plain_run(files, lake, tmp_path, capsys):
    facts = said(capsys, "batch", files / "at_1.py", "--from-lake", lake, "--out", tmp_path)

    assert list(facts["days"]) == list(DAYS)
    assert facts["shards_done"] == 6
    for day in DAYS:
        one = plain(files, day)
        told = facts["days"][day]
        assert told["digests"] == one.digests
        assert told["events"] == one.counts.events
        for name in one:
            found = sorted_rows(tmp_path, name, day)
            assert len(found) == len(one[name]) == told["rows"][name] > 0
            expected = one[name].to_arrow()
            columns = [n for n in expected.column_names if n not in ("ts_event_ns", "flags")]
            for column in columns:
                ours, theirs = (
                    sorted(map(str, table[column].to_pylist())) for table in (found, expected)
                )
                assert ours == theirs, column


def test_a_batch_again_does_nothing(files, lake, tmp_path, capsys):
    call = ("batch", files / "at_1.py", "--from-lake", lake, "--day", DAYS[0], "--out", tmp_path)
    first = said(capsys, *call)
    version = store.open_table(str(tmp_path / "top")).version()
    again = said(capsys, *call)

    assert (again["shards_done"], again["shards_there"]) == (0, 3)
    assert again["days"] == first["days"]
    assert store.open_table(str(tmp_path / "top")).version() == version
    whole = said(capsys, *call[:4], "--out", tmp_path)
    assert (whole["shards_done"], whole["shards_there"]) == (3, 3)


@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_a_batch_that_was_cut_short_goes_on(files, lake, tmp_path, capsys, monkeypatch, after):
    """Ctrl-C at a commit; what is there is not written again."""
    monkeypatch.setattr("onetape.connect.lake.output_table.COMMIT_ROWS", 500)
    call = ["batch", str(files / "at_1.py"), "--from-lake", lake, "--threads", "1"]
    call += ["--day", DAYS[0], "--out", str(tmp_path)]
    written, commits = store.write, []

    def dies(table, data, marks, **how):
        if any(name.count("/") == 3 for name in marks):
            commits.append(marks)
            if len(commits) > after:
                raise KeyboardInterrupt
        written(table, data, marks, **how)

    monkeypatch.setattr(store, "write", dies)
    assert main(call) == 130
    assert "go on with the same command" in capsys.readouterr().err
    monkeypatch.setattr(store, "write", written)

    facts = said(capsys, *call)
    one = plain(files, DAYS[0])
    assert facts["days"][DAYS[0]]["digests"] == one.digests
    for name in one:
        assert len(sorted_rows(tmp_path, name, DAYS[0])) == len(one[name])


def test_what_was_computed_is_told(files, lake, tmp_path, capsys):
    said(
        capsys, "batch", files / "at_1.py", "--from-lake", lake, "--day", DAYS[0], "--out", tmp_path
    )
    units = units_at(str(tmp_path / "_runs"))

    assert sorted(units) == [(date(2026, 1, 5), shard) for shard in range(3)]
    one = units[date(2026, 1, 5), 0]
    assert (one.state, one.shards, one.pipeline) == ("done", 3, str(files / "at_1.py"))
    assert one.events > 0 and one.rows["top"] > 0 and one.state_digest


def test_rows_of_another_version_are_not_mixed(files, lake, tmp_path, capsys):
    out = ("--day", DAYS[0], "--out", tmp_path)
    said(capsys, "batch", files / "at_1.py", "--from-lake", lake, *out)

    other = ["batch", str(files / "at_300.py"), "--from-lake", lake, *map(str, out)]
    assert main(other) == 1
    assert "and the pipeline was another" in capsys.readouterr().err


def test_a_day_that_is_not_complete_is_refused(files, tmp_path, monkeypatch, capsys):
    url = str(tmp_path / "lake")
    write(files, url, DAYS[0])
    TapeTable(url).table.delete("shard = 1")

    with pytest.raises(OperatorError, match="2026-01-05 is not complete: 2 of 3 shards"):
        prepare(load_pipeline(str(files / "at_1.py")), TapeTable(url), None, Progress(quiet=True))
    told = said(capsys, "lake", "ls", url)
    assert told["days"][DAYS[0]]["complete"] == 2
    write(files, url, DAYS[0])
    assert said(capsys, "lake", "ls", url)["days"][DAYS[0]]["complete"] == 3
    with pytest.raises(OperatorError, match="has days 2026-01-05 to 2026-01-05, none of those"):
        lake_run.chosen(TapeTable(url), (date(2027, 1, 1), date(2027, 1, 2)))


def test_a_corrected_rule_is_computed_beside_compared_and_swapped(files, lake, tmp_path, capsys):
    out = str(tmp_path)
    said(capsys, "batch", files / "at_1.py", "--from-lake", lake, "--out", out)
    call = ("backfill", files / "at_300.py", "--lake", lake, "--from", DAYS[0], "--to", DAYS[0])
    call = (*call, "--out", out)
    before = {name: sorted_rows(out, name, DAYS[0]) for name in ("top", "large", "lots")}

    facts = said(capsys, *call)

    old, new = (plain(files, DAYS[0], f"at_{n}.py") for n in (1, 300))
    fewer = len(old.large) - len(new.large)
    told = {name: of[DAYS[0]] for name, of in facts["differences"].items()}
    assert fewer > 0 and len(new.large) > 0
    assert (told["large"]["removed"], told["large"]["added"], told["large"]["changed"]) == (
        fewer,
        0,
        0,
    )
    assert sum(each["removed"] for each in told["large"]["instruments"].values()) == fewer
    assert told["large"]["sample"][0]["before"][0]["qty_lots"] < 300
    assert {told[name]["removed"] for name in ("top", "lots")} == {0}
    assert len(sorted_rows(out, "large", DAYS[0])) == len(old.large)  # nothing changed for readers

    swapped = said(capsys, *call, "--swap")
    assert (swapped["shards_done"], swapped["swapped"]["number"]) == (0, 1)
    assert sorted_rows(out, "large", DAYS[0])["qty_lots"].to_pylist() == (
        np.sort(new.large.rows, order=["ts_event_ns", "instrument_id"])["qty_lots"].tolist()
    ) or len(sorted_rows(out, "large", DAYS[0])) == len(new.large)
    assert len(sorted_rows(out, "large", DAYS[1])) == len(plain(files, DAYS[1]).large)
    assert units_at(f"{out}/_runs")[date(2026, 1, 5), 0].driver != (
        units_at(f"{out}/_runs")[date(2026, 1, 6), 0].driver
    )
    assert all(
        each[DAYS[0]]["removed"] == 0 for each in said(capsys, *call)["differences"].values()
    )

    assert said(capsys, "backfill", "--out", out, "--undo")["undone"]["version"] == facts["version"]
    for name, rows in before.items():
        assert sorted_rows(out, name, DAYS[0]).equals(rows), name


def test_a_late_file_is_a_day_more(files, tmp_path, capsys):
    url, out = str(tmp_path / "lake"), str(tmp_path / "rows")
    write(files, url, DAYS[0])
    said(capsys, "batch", files / "at_1.py", "--from-lake", url, "--out", out)
    call = ("backfill", files / "at_1.py", "--lake", url, "--from", *DAYS[:1], "--to", DAYS[1])
    assert said(capsys, *call, "--out", out)["days_not_in_the_lake"] == [DAYS[1]]
    write(files, url, DAYS[1])

    facts = said(capsys, *call, "--out", out, "--swap")

    of_day = facts["differences"]["top"]
    assert of_day[DAYS[0]]["added"] == 0
    assert of_day[DAYS[1]]["added"] == len(plain(files, DAYS[1]).top)
    assert len(sorted_rows(out, "top", DAYS[1])) == of_day[DAYS[1]]["added"]


def test_a_tape_goes_into_a_lake(files, tmp_path, capsys):
    tape, url = tmp_path / "tape", str(tmp_path / "lake")
    run = ("run", files / "at_1.py", "--file", files / f"{DAYS[0]}.itch", "--date", DAYS[0])
    one = said(capsys, *run, "--tape", tape)

    told = said(capsys, "lake", "write", files / "at_1.py", "--from-tape", tape, "--to", url)

    assert (told["day"], told["is_complete"]) == (DAYS[0], True)
    assert told["events"] == one["messages"]
    facts = said(capsys, "batch", files / "at_1.py", "--from-lake", url)
    assert facts["days"][DAYS[0]]["digests"] == one["digests"]


def test_a_refused_batch_leaves_nothing_and_the_right_one_goes_there(files, lake, tmp_path, capsys):
    program, out = tmp_path / "fill.py", tmp_path / "rows"
    program.write_text(OTHER)
    command = ["--from-lake", lake, "--out", str(out)]

    assert main(["batch", str(program), *command]) == 1

    assert "the stream is of itch, and the pipeline reads fill" in capsys.readouterr().err
    assert not out.exists()
    assert said(capsys, "batch", files / "at_1.py", *command)["shards_done"] == 6


def test_a_day_of_other_sources_is_refused_before_anything_is_written(files, tmp_path, capsys):
    """Also where it is not the first of the days."""
    url, program, out = str(tmp_path / "lake"), tmp_path / "fill.py", tmp_path / "rows"
    write(files, url, DAYS[0])
    program.write_text(OTHER)
    assert main(["run", str(program), "--tape", str(tmp_path / "tape"), "--json"]) == 0
    ours = ["lake", "write", str(program), "--from-tape", str(tmp_path / "tape"), "--day", DAYS[1]]
    assert main([*ours, "--to", url]) == 0

    assert main(["batch", str(files / "at_1.py"), "--from-lake", url, "--out", str(out)]) == 1

    assert "the stream is of fill, and the pipeline reads itch" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("99", "has no version 99: the newest is "),
        ("yesterday", "argument --at: 'yesterday' is no version; expected a number"),
    ],
)
@pytest.mark.parametrize("command", ["batch", "backfill"])
def test_a_version_that_is_not_there_is_named(files, lake, tmp_path, capsys, command, at, why):
    rest = {
        "batch": ["--from-lake", lake],
        "backfill": ["--lake", lake, "--from", DAYS[0], "--to", DAYS[1], "--out", str(tmp_path)],
    }[command]

    assert _status([command, str(files / "at_1.py"), *rest, "--at", at]) != 0

    assert why in capsys.readouterr().err


def test_a_lake_is_read_as_it_was_at_a_time(files, lake, capsys):
    batch = ("batch", files / "at_1.py", "--from-lake", lake)

    assert said(capsys, *batch, "--at", "2100-01-01") == said(capsys, *batch) | {
        "elapsed_s": ANY,
        "events_per_s": ANY,
    }


def test_days_that_end_before_they_begin_are_said_to(files, lake, tmp_path, capsys):
    days = ["--from", DAYS[1], "--to", DAYS[0]]
    command = ["backfill", str(files / "at_1.py"), "--lake", lake, *days, "--out", str(tmp_path)]

    assert main(command) == 1

    assert f"--from {DAYS[1]} is after --to {DAYS[0]}" in capsys.readouterr().err


def _status(command):
    try:
        return main(command)
    except SystemExit as end:
        return end.code


def test_a_sink_writes_each_row_once_and_goes_on(files, tmp_path, capsys):
    program = tmp_path / "program.py"
    text = PROGRAM.replace("AT_LEAST", "1").replace(
        "feed.top_of_book()", "feed.top_of_book() >> ot.delta(OUT)"
    )
    program.write_text(text.replace("OUT", repr(str(tmp_path / "rows"))))
    file = files / f"{DAYS[0]}.itch"
    run = ("run", program, "--file", file, "--date", DAYS[0], "--tape", tmp_path / "tape")
    facts = said(capsys, *run)
    rows = facts["rows"]["top"]
    table = store.open_table(str(tmp_path / "rows" / "top"))
    assert table.to_pyarrow_table().num_rows == rows > 0
    assert set(table.to_pyarrow_table()["day"].to_pylist()) == {date(2026, 1, 5)}

    result = tmp_path / "tape" / "result.json"
    if result.exists():
        result.unlink()
    said(capsys, *run, "--resume")
    assert store.open_table(str(tmp_path / "rows" / "top")).to_pyarrow_table().num_rows == rows

    one = ot.run(load_pipeline(str(program)), file=named(files, DAYS[0]), quiet=True)
    again = store.open_table(str(tmp_path / "rows" / "top"))
    assert again.to_pyarrow_table().num_rows == len(one.top)  # no tape: in place of what was there


def test_a_file_that_goes_there_again_by_another_tape_is_said_to(files, tmp_path, capsys):
    program, at = tmp_path / "program.py", tmp_path / "rows"
    text = PROGRAM.replace("AT_LEAST", "1")
    program.write_text(text.replace(".top_of_book()", f".top_of_book() >> ot.delta({str(at)!r})"))

    def delivered(day, tape, *more):
        file = ("--file", files / f"{day}.itch", "--date", day)
        return said(capsys, "run", program, *file, "--tape", tmp_path / tape, *more)["delivered"]

    assert "already" not in delivered(DAYS[0], "one")[0]
    assert "already" not in delivered(DAYS[1], "two")[0]
    rows = store.open_table(str(at / "top")).to_pyarrow_table().num_rows
    (again,) = delivered(DAYS[0], "three")
    assert "of this very file and pipeline are there already, by another tape" in again
    assert rows < store.open_table(str(at / "top")).to_pyarrow_table().num_rows  # it is true


def test_tables_go_into_a_lake_too(tmp_path, capsys):
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
    tape, url = tmp_path / "tape", tmp_path / "lake"
    one = said(capsys, "run", program, "--tape", tape)
    write = ["lake", "write", str(program), "--from-tape", str(tape), "--to", str(url)]
    assert main(write) == 1
    assert "nothing tells which day this is; say it: --day" in capsys.readouterr().err
    said(capsys, *write, "--day", DAYS[0])

    facts = said(capsys, "batch", program, "--from-lake", url, "--out", tmp_path / "rows")
    assert facts["days"][DAYS[0]]["digests"] == one["digests"]
