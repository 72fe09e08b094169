"""One pipeline on Sail and on Spark: the answer of the batch runtime, whatever the shards."""

import json
import os
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.engines import engine

from onetape import cli
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.code import Code, code_at
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.runtimes.spark import tables
from onetape.runtimes.spark.made import made_in
from onetape.runtimes.spark.run import BLOCKS, run_streams
from onetape.runtimes.spark.streams import Streams, written
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import write_file

pytestmark = pytest.mark.slow
ENGINES = ["sail", "spark"]

BROKEN = """\
import onetape as ot
from onetape import market as mk

@ot.record
class Ratio:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ratio: ot.i64

@ot.operator(key="instrument_id")
class Breaks:
    def on_trade(self, t: mk.Trade) -> Ratio | None:
        return Ratio(t.ts_event_ns, t.instrument_id, t.qty_lots // (t.qty_lots - t.qty_lots))

pipeline = ot.Pipeline(ratio=Breaks(ot.source("itch").trades()))
"""


def standard():
    pipeline = market_watch()
    pipeline.code = Code("standard")
    return pipeline


def plain(path):
    inputs = inputs_of(standard(), path)
    engine_ = batch.make_engine(standard(), inputs.framing, inputs.midnight_ns)
    return batch.run(engine_, inputs.runs())


def answered(streams, folder, name, **options):
    """(what was made, {output: its rows}) of streams on an engine."""
    folder.mkdir()
    run_streams(standard(), streams, folder, engine=name, progress=Progress(quiet=True), **options)
    made = made_in(folder / BLOCKS, standard(), streams.since)
    for _ in made.rows(folder / BLOCKS):
        pass
    return made


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "20260105.itch"
    write_file(path, seed=3, seconds=4.0, instruments=40, episodes=1)
    return path


@pytest.fixture(scope="module")
def batch_answer(day):
    return plain(day)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("shards", [1, 4])
def test_digests_are_those_of_batch(day, batch_answer, tmp_path, name, shards):
    engine(name)
    inputs = inputs_of(standard(), day)
    streams = written(standard(), inputs, tmp_path / "blocks", shards, Progress(quiet=True))
    answer = answered(streams, tmp_path / "made", name).answer

    assert answer.digests == batch_answer.digests
    assert answer.rows == batch_answer.counts.rows
    assert answer.events == batch_answer.counts.events
    if shards == 1:
        assert answer.state_digests == {0: batch_answer.state_digest}


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("file", "shards"),
    [("itch/ex20101224.TEST_ITCH_50", 1), ("itch/nasdaq_day_prefix_1000msgs.itch", 4)],
)
def test_a_recorded_day_has_the_digests_of_batch(data_file, tmp_path, name, file, shards):
    engine(name)
    inputs = inputs_of(standard(), data_file(file), date(2010, 12, 24))
    streams = written(standard(), inputs, tmp_path / "blocks", shards, Progress(quiet=True))
    answer = answered(streams, tmp_path / "made", name).answer
    made = batch.make_engine(standard(), inputs.framing, inputs.midnight_ns)

    assert answer.digests == batch.run(made, inputs.runs()).digests


@pytest.mark.parametrize("name", ENGINES)
def test_a_day_begins_where_the_day_before_ended(day, batch_answer, tmp_path, name):
    """A stream cut in two days: each runs by itself, from the state that the first left."""
    engine(name)
    blocks: dict[int, list[bytes]] = {}
    for shard, block in blocks_of(standard(), inputs_of(standard(), day), shards=2, events=512):
        blocks.setdefault(shard, []).append(block)
    cuts = {0: len(blocks[0]) // 2, 1: len(blocks[1]) // 3}
    state, answers = tmp_path / "state", []
    manifest = None
    for number, on in enumerate([date(2026, 1, 5), date(2026, 1, 6)]):
        some = [
            (shard, block)
            for shard, all_of in blocks.items()
            for block in (all_of[cuts[shard] :] if number else all_of[: cuts[shard]])
        ]
        files, told, _ = tables.write_blocks(some, tmp_path / str(on), lambda _: None)
        manifest = told or manifest
        since = tables.kept(state, on)
        made = answered(
            Streams(files, manifest, since=since), tmp_path / f"made-{on}", name, keeps_state=True
        )
        tables.keep(state, on, "", made.state)
        answers.append(made)
    first, second = answers

    assert not first.ends
    assert sorted(second.ends) == [0, 1]
    assert tables.kept(state, date(2026, 1, 5)).day == date(2026, 1, 5)
    together = {n: first.answer.rows[n] + second.answer.rows[n] for n in first.answer.rows}
    assert together == batch_answer.counts.rows
    assert sum(second.answer.ends[shard]["events"] for shard in (0, 1)) == (
        batch_answer.counts.events
    )
    # All rows of both days, as one answer.
    whole = made_in(tmp_path / "made-2026-01-05" / BLOCKS, standard())
    for _ in whole.rows(tmp_path / "made-2026-01-05" / BLOCKS):
        pass
    rest = replace(second, answer=whole.answer)
    for _ in rest.rows(tmp_path / "made-2026-01-06" / BLOCKS):
        pass
    assert whole.answer.digests == batch_answer.digests


@pytest.mark.parametrize("name", ENGINES)
def test_the_command_leaves_what_a_run_at_the_edge_leaves(day, tmp_path, name, capsys):
    engine(name)
    out = tmp_path / "out"
    words = ["run", "standard", "--file", str(day), "--date", "2026-01-05", "--json"]
    words += ["--on", name, "--shards", "2"]
    assert cli.main([*words, "--out", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out)
    edge = [*words[:-4], "--tape", str(tmp_path / "tape"), "--out", str(tmp_path / "edge")]
    assert cli.main(edge) == 0
    known = json.loads(capsys.readouterr().out)

    assert facts["digests"] == known["digests"]
    assert facts["rows"] == known["rows"]
    assert json.loads((out / "result.json").read_text())["digests"] == known["digests"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [BLOCKS, "result.json", *(f"{output}.parquet" for output in known["rows"])]
    )
    for output in known["rows"]:
        ours, theirs = (pq.read_table(f / f"{output}.parquet") for f in (out, tmp_path / "edge"))
        assert by_instrument(ours).equals(by_instrument(theirs))


def by_instrument(table):
    """Rows of an instrument in the order they were made."""
    order = pa.array(range(len(table)))
    table = table.append_column("order", order)
    table = table.sort_by([("instrument_id", "ascending"), ("order", "ascending")])
    return table.drop_columns(["order"])


@pytest.mark.parametrize("name", ENGINES)
def test_what_an_operator_does_wrong_is_said_in_one_line(day, tmp_path, name, capsys):
    engine(name)
    path = tmp_path / "breaks.py"
    path.write_text(BROKEN)
    assert cli.main(["run", str(path), "--on", name, "--file", str(day)]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"onetape: {name}: ")
    assert "Breaks" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ENGINES)
def test_a_block_that_is_missing_in_the_input_is_said(day, tmp_path, name):
    engine(name)
    blocks = [one for one in blocks_of(standard(), inputs_of(standard(), day), events=512)]
    files, manifest, _ = tables.write_blocks(
        blocks[:3] + blocks[4:], tmp_path / "in", lambda _: None
    )
    with pytest.raises(OperatorError, match="block 4 of shard 0 came where block 3 was expected"):
        answered(Streams(files, manifest), tmp_path / "made", name)


@pytest.mark.parametrize("name", ENGINES)
def test_verify_puts_the_runtimes_side_by_side(day, name, capsys):
    engine(name)
    words = ["verify", "standard", "--file", str(day), "--date", "2026-01-05", "--shards", "3"]
    assert cli.main([*words, "--runtimes", f"edge,batch,{name}", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    ways = [answer["way"] for answer in facts["answers"]]
    assert ways == ["edge", "batch", "batch, 3 shards", name]
    assert facts["equal"]
    assert len({json.dumps(answer["digests"]) for answer in facts["answers"]}) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_a_pipeline_of_a_file_reaches_the_workers(day, tmp_path, name):
    """The code travels: the file is gone when the job runs."""
    engine(name)
    path = tmp_path / "mine.py"
    path.write_text(
        "import onetape as ot\n"
        'pipeline = ot.Pipeline(trade=ot.source("itch").trades().filter(ot.c.qty_lots > 100))\n'
    )
    pipeline = load_pipeline(str(path))
    pipeline.code = code_at(str(path), {})
    inputs = inputs_of(pipeline, day)
    made = batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns)
    known = batch.run(made, inputs.runs()).digests
    streams = written(pipeline, inputs, tmp_path / "blocks", 2, Progress(quiet=True))
    os.unlink(path)
    folder = tmp_path / "made"
    folder.mkdir()
    run_streams(pipeline, streams, folder, engine=name, progress=Progress(quiet=True))
    found = made_in(folder / BLOCKS, pipeline)
    for _ in found.rows(folder / BLOCKS):
        pass
    assert found.answer.digests == known
