"""What stands around the engines: the adapter, files read back, environments, what verify says."""

import json
import random
import sys
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onetape import cli
from onetape.codecs.block import BlockError, read_header
from onetape.records import OperatorError
from onetape.runtimes import batch, environments
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.code import Code
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.spark import tables
from onetape.runtimes.spark.adapter import COLUMNS, ENDED, MARKS, ROWS, STATE, Work
from onetape.runtimes.spark.job import said
from onetape.runtimes.spark.made import blocks_in, made_in
from onetape.runtimes.standard import market_watch
from onetape.runtimes.verify import runtimes as verify_runtimes
from onetape.runtimes.verify.ways import Ran
from onetape.sim.exchange import write_file

STANDARD = Code("standard").text()


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "20260105.itch"
    write_file(path, seed=3, seconds=1.0, instruments=12, episodes=1)
    return path


@pytest.fixture(scope="module")
def streams(day):
    """{shard: its blocks}"""
    pipeline, found = market_watch(), {}
    for shard, block in blocks_of(pipeline, inputs_of(pipeline, day), shards=3, events=256):
        found.setdefault(shard, []).append(block)
    return found


@pytest.fixture(scope="module")
def plain(day):
    inputs = inputs_of(market_watch(), day)
    engine = batch.make_engine(market_watch(), inputs.framing, inputs.midnight_ns)
    return batch.run(engine, inputs.runs())


def batches_of(streams, size=5, base=None, seed=None):
    """The rows of one partition, as an engine hands them over; with a seed, in any order."""
    rows = []
    for shard, blocks in sorted(streams.items()):
        pieces = (base or {}).get(shard, [])
        rows += [(shard, n - len(pieces), piece) for n, piece in enumerate(pieces)]
        rows += [(shard, read_header(block).ordinal, block) for block in blocks]
    if seed is not None:
        random.Random(seed).shuffle(rows)
    types = (pa.int32(), pa.int64(), pa.binary())
    for at in range(0, len(rows), size):
        columns = [
            pa.array(column, of)
            for column, of in zip(zip(*rows[at : at + size]), types, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["shard", "ordinal", "block"])


def rows_of(batches):
    return [
        row for batch_ in batches for row in zip(*(batch_.column(n).to_pylist() for n in COLUMNS))
    ]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_partition_may_hold_several_shards_in_any_order(streams, plain, seed):
    made = rows_of(Work(STANDARD)(batches_of(streams, seed=seed)))
    answer = Answer(market_watch())
    for kind, *_, block in made:
        if kind in (ROWS, ENDED):
            answer.take(block)

    assert answer.is_complete
    assert answer.digests == plain.digests
    assert {row[0] for row in made} == {ROWS, ENDED, "symbols"}


@pytest.mark.parametrize("seed", [None, 3])
def test_state_in_front_of_the_blocks_is_gone_on_with(streams, plain, seed):
    cut = {shard: len(blocks) // 2 for shard, blocks in streams.items()}
    first = {shard: blocks[: cut[shard]] for shard, blocks in streams.items()}
    second = {shard: blocks[cut[shard] :] for shard, blocks in streams.items()}
    made = rows_of(Work(STANDARD, keeps_state=True)(batches_of(first)))
    base = {shard: [row[4] for row in made if row[:2] == (STATE, shard)] for shard in streams}
    pieces = {shard: len(own) for shard, own in base.items()}
    made += rows_of(Work(STANDARD, pieces)(batches_of(second, base=base, seed=seed)))
    answer = Answer(market_watch())
    for kind, *_, block in made:
        if kind in (ROWS, ENDED):
            answer.take(block)

    assert answer.is_complete
    assert answer.digests == plain.digests


def test_a_shard_of_which_nothing_came_keeps_its_state(streams):
    some = {shard: blocks[:4] for shard, blocks in streams.items()}
    made = rows_of(Work(STANDARD, keeps_state=True)(batches_of(some)))
    base = {shard: [row[4] for row in made if row[:2] == (STATE, shard)] for shard in streams}
    nothing = {shard: [] for shard in streams}
    pieces = {shard: len(own) for shard, own in base.items()}
    work = Work(STANDARD, pieces, keeps_state=True)
    again = rows_of(work(batches_of(nothing, base=base, seed=4)))

    assert {row[0] for row in again} == {STATE}
    assert {s: [row[4] for row in again if row[1] == s] for s in streams} == base


def test_a_block_or_a_piece_of_state_that_is_missing_stops_the_job(streams):
    made = rows_of(Work(STANDARD, keeps_state=True)(batches_of({0: streams[0][:3]})))
    base = {0: [row[4] for row in made if row[0] == STATE]}
    for work, batches, what in [
        (Work(STANDARD), batches_of({0: streams[0][1:]}), "block 1 .* came where block 0"),
        (Work(STANDARD), batches_of({0: streams[0][:-1][::2]}), "block 2 .* came where block 1"),
        (
            Work(STANDARD, {0: len(base[0]) + 1}),
            batches_of({0: streams[0][3:]}, base={0: base[0][:-1]}),
            "a base of no pieces|pieces, and",
        ),
    ]:
        with pytest.raises(RuntimeError, match=what):
            list(work(batches))


def test_an_error_can_be_found_in_what_an_engine_makes_of_it(streams):
    broken = {0: streams[0][:2] + streams[0][3:]}
    with pytest.raises(RuntimeError) as caught:
        list(Work(STANDARD)(batches_of(broken)))
    pages = f"Job aborted\n\tat org.apache.spark\n  RuntimeError: {caught.value}\n\tat java.lang"
    line = said(Exception(pages))

    assert line == "block 3 of shard 0 came where block 2 was expected: 1 are missing in the stream"
    assert MARKS[0] not in line
    other = "failed:\n  File x\nonetape.Nope: no\nModuleNotFoundError: No module named 'x'\n\tat y"
    assert said(ValueError(other)) == "ValueError: ModuleNotFoundError: No module named 'x'"


def written(folder, rows, files):
    """Rows dealt out to files, each in order."""
    folder.mkdir()
    rng = random.Random(files)
    dealt = [[] for _ in range(files)]
    for row in rows:
        rng.choice(dealt).append(row)
    types = (pa.string(), pa.int32(), pa.string(), pa.int64(), pa.binary())
    for n, own in enumerate(dealt):
        columns = [[row[i] for row in own] for i in range(len(COLUMNS))]
        made = [pa.array(column, of) for column, of in zip(columns, types, strict=True)]
        pq.write_table(pa.table(made, names=list(COLUMNS)), folder / f"part-{n}.parquet")
    return folder


@pytest.mark.parametrize("files", [1, 4])
def test_what_an_engine_spread_over_files_is_one_answer(streams, plain, tmp_path, files):
    rows = rows_of(Work(STANDARD, keeps_state=True)(batches_of(streams)))
    folder = written(tmp_path / "blocks", rows, files)
    made = made_in(folder, market_watch())
    count = sum(len(taken) for _, taken, _ in made.rows(folder))

    assert made.answer.is_complete
    assert made.answer.digests == plain.digests
    assert count == sum(plain.counts.rows.values())
    assert sorted(made.state) == sorted(streams)
    assert np.count_nonzero(made.symbols) == 12


def test_a_block_that_an_engine_lost_is_said(streams, tmp_path):
    rows = rows_of(Work(STANDARD)(batches_of(streams)))
    _, shard, output, *_ = next(row for row in rows if row[0] == ROWS and row[3] == 1)
    places = [n for n, row in enumerate(rows) if row[:3] == (ROWS, shard, output)]
    folder = written(tmp_path / "first", rows[: places[0]] + rows[places[0] + 1 :], 3)
    with pytest.raises(BlockError, match=rf"block 0 of shard {shard} .* lost it"):
        list(blocks_in(folder, {}))
    folder = written(tmp_path / "last", rows[: places[-1]] + rows[places[-1] + 1 :], 3)
    with pytest.raises(BlockError, match=rf"shard {shard} made \d+ blocks of {output}"):
        list(made_in(folder, market_watch()).rows(folder))


def test_the_state_table_has_a_day_and_the_one_before(tmp_path, streams):
    made = rows_of(Work(STANDARD, keeps_state=True)(batches_of({0: streams[0][:3]})))
    pieces = {0: [row[4] for row in made if row[0] == STATE]}
    assert tables.kept(tmp_path / "none", date(2026, 1, 5)) is None
    tables.keep(tmp_path, date(2026, 1, 5), "aa", pieces)
    tables.keep(tmp_path, date(2026, 1, 8), "bb", pieces)
    assert tables.kept(tmp_path, date(2026, 1, 4)) is None
    found = tables.kept(tmp_path, date(2026, 1, 7))
    assert (found.day, found.input, found.pieces) == (date(2026, 1, 5), "aa", pieces)
    assert tables.kept(tmp_path, date(2026, 1, 8)).input == "bb"
    assert found.facts(0)["next_ordinal"] == 3


def test_an_absent_engine_is_named_with_the_command_that_gets_it(
    monkeypatch, tmp_path, day, capsys
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("ONETAPE_SAIL", raising=False)
    with pytest.raises(OperatorError, match="onetape spark setup --engine sail"):
        environments.find("sail")
    monkeypatch.setenv("ONETAPE_SAIL", str(tmp_path / "nowhere"))
    with pytest.raises(OperatorError, match="has no bin/python"):
        environments.find("sail")
    monkeypatch.delenv("ONETAPE_SAIL")
    words = ["verify", "standard", "--file", str(day), "--runtimes", "edge,batch,sail", "--json"]
    assert cli.main(words) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["equal"]
    assert "onetape spark setup --engine sail" in facts["absent"]["sail"]
    assert cli.main([*words, "--skip-absent"]) == 0
    assert cli.main(["run", "standard", "--on", "sail", "--file", str(day)]) == 1
    assert "onetape spark setup --engine sail" in capsys.readouterr().err


def test_an_environment_of_other_versions_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("ONETAPE_SAIL", raising=False)
    folder = environments.folder_of("sail")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / environments.STAMP).write_text("of other versions")
    with pytest.raises(OperatorError, match="made from other versions"):
        environments.find("sail")


def test_an_engine_finds_this_package_and_no_other_of_this_python(monkeypatch, tmp_path):
    monkeypatch.setenv("ONETAPE_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    found = environments.variables(tmp_path / "bin" / "python", MORE="1")
    (entry,) = environments.link().iterdir()
    assert found["PYTHONPATH"] == str(entry.parent)
    assert entry.resolve() == environments.PACKAGE
    assert found["MORE"] == "1"


@pytest.mark.parametrize("runtimes", ["edge,batch"])
def test_verify_compares_what_needs_no_engine(day, runtimes, capsys):
    words = ["verify", "standard", "--file", str(day), "--runtimes", runtimes, "--shards", "2"]
    assert cli.main(words) == 0
    said_ = capsys.readouterr().out
    assert said_.splitlines()[-1] == "all equal: 3 ways"


def test_verify_compares_a_tape_too(day, tmp_path, capsys):
    tape = tmp_path / "tape"
    assert cli.main(["run", "standard", "--file", str(day), "--tape", str(tape), "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["verify", "standard", str(tape), "--runtimes", "edge,batch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"]


def test_the_first_row_that_differs_is_named(day):
    inputs = inputs_of(market_watch(), day)

    def rows(change):
        engine = batch.make_engine(market_watch(), inputs.framing, inputs.midnight_ns)
        for name, rows_, origins in batch.rows_of(engine, inputs.runs()):
            made = rows_.copy()
            if change and name == "trade" and len(made):
                made["price_ticks"][0] += 1
            yield name, made, origins

    def ran(way, digest, change):
        return Ran(way, {"trade": digest}, {0: "s"}, 10, 1.0, lambda: rows(change))

    (line,) = verify_runtimes.differences_of(ran("batch", "a", False), ran("sail", "b", True))
    assert line.startswith("trade differs between batch and sail at row ")
    assert "by instrument, caused by sequence " in line


def test_options_that_would_do_nothing_are_refused(day, capsys):
    assert cli.main(["run", "standard", "--file", str(day), "--shards", "2"]) == 1
    assert "--shards is of a run on an engine" in capsys.readouterr().err
    assert cli.main(["verify", "standard", "tape", "--shards", "2"]) == 1
    assert "--shards goes with --runtimes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["verify", "standard", "tape", "--runtimes", "edge,storm"])
    assert "'storm'" in capsys.readouterr().err
