"""Days of a lake on Sail and Spark, whole or as they grow."""

import json
from datetime import date

import pytest
from tests.engines import engine

from onetape import cli
from onetape.connect.lake.tape_table import TapeWriter
from onetape.runtimes import batch
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.spark.run import lines_of
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import write_file

pytestmark = pytest.mark.slow
pytest.importorskip("deltalake", reason="pip install 'onetape[lake]'")
ENGINES = ["sail", "spark"]
DAY = date(2026, 1, 5)
INPUT = "0123456789abcdef"


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "20260105.itch"
    write_file(path, seed=5, seconds=3.0, instruments=30, episodes=1)
    return path


@pytest.fixture(scope="module")
def plain(day):
    inputs = inputs_of(market_watch(), day)
    engine_ = batch.make_engine(market_watch(), inputs.framing, inputs.midnight_ns)
    return batch.run(engine_, inputs.runs())


def streams(day):
    return list(blocks_of(market_watch(), inputs_of(market_watch(), day), shards=2, events=256))


def ran(capsys, lake, name, *words):
    """The facts of a run over the lake, or None and what was said."""
    command = ["run", "standard", "--on", name, "--from-lake", str(lake), "--json", *words]
    status = cli.main(command)
    said = capsys.readouterr()
    return json.loads(said.out) if status == 0 else said.err


@pytest.mark.parametrize("name", ENGINES)
def test_a_day_of_a_lake_has_the_digests_of_batch(day, plain, tmp_path, name, capsys):
    engine(name)
    assert TapeWriter(tmp_path / "lake", DAY, INPUT).write(streams(day))
    facts = ran(capsys, tmp_path / "lake", name)

    assert facts["digests"] == plain.digests
    assert facts["messages"] == plain.counts.events
    assert facts["shards"] == 2
    said = ran(capsys, tmp_path / "lake", name, "--date", "2026-01-06")
    assert "has the days 2026-01-05; 2026-01-06 is not one of them" in said


@pytest.mark.parametrize("name", ENGINES)
def test_a_day_that_grows_is_gone_on_with(day, plain, tmp_path, name, capsys):
    engine(name)
    lake, all_of, carry = tmp_path / "lake", streams(day), ("--carry", str(tmp_path / "state"))
    assert not TapeWriter(lake, DAY, INPUT).write(all_of[: len(all_of) // 2])
    assert "have no end: is the table still being written" in ran(capsys, lake, name)
    first = ran(capsys, lake, name, *carry)
    assert TapeWriter(lake, DAY, INPUT).write(all_of)
    second = ran(capsys, lake, name, *carry)
    third = ran(capsys, lake, name, *carry)

    total = plain.counts.rows
    assert {n: first["rows"][n] + second["rows"][n] for n in total} == total
    assert 0 < first["messages"] < second["messages"] == plain.counts.events
    assert not any(third["rows"].values())
    assert [facts["messages_before"] for facts in (first, second, third)] == [
        0, first["messages"], second["messages"],
    ]  # fmt: skip
    assert lines_of(third)[0].startswith("0 events on ")

    assert TapeWriter(lake, DAY, "f" * 16, replace=True).write(all_of)
    assert "before it was written anew" in ran(capsys, lake, name, *carry)
