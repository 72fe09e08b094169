"""Flink gives the answer of a plain run: both modes, any parallelism, across savepoints."""

import json
import subprocess
import sys
from datetime import date

import pytest
from tests import flink_job, servers
from tests.runtimes.test_flink_kept import version
from tests.runtimes.test_worker import day, plain  # noqa: F401

from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.topics import Admin
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.code import Code
from onetape.runtimes.consume import taken
from onetape.runtimes.flink.recorded import run_recorded
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.publish import publish

pytestmark = pytest.mark.slow
STANDARD = Code("standard")


@pytest.fixture
def server():
    """A broker of its own: the topics have fixed names."""
    flink_job.environment(kafka=True)
    started = servers.start("kafka")
    yield started
    started.stop()


def answer_to(reader, pipeline):
    answer = Answer(pipeline)
    for block in reader.blocks():
        answer.take(block)
    return answer


def is_over(reader, shards):
    from onetape.codecs.block import END, read_header

    def done():
        return sum(read_header(block).kind == END for block in reader.blocks()) == shards

    return done


@pytest.mark.parametrize("mode", ["thread", "process"])
@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_recorded_file_gives_the_plain_answer(day, plain, mode, parallelism):  # noqa: F811
    flink_job.environment()
    pipeline = STANDARD.pipeline()
    pipeline.code = STANDARD
    answer, facts = run_recorded(
        pipeline, inputs_of(pipeline, day), parallelism=parallelism, mode=mode, events=256
    )
    assert answer.is_complete
    assert answer.digests == plain.digests
    assert answer.rows == plain.counts.rows
    if parallelism == 1:
        assert answer.state_digests == {0: plain.state_digest}
    assert facts["losses"] == 0


@pytest.mark.parametrize(
    ("file", "mode", "parallelism"),
    [
        ("itch/ex20101224.TEST_ITCH_50", "thread", 1),
        ("itch/nasdaq_day_prefix_1000msgs.itch", "process", 2),
    ],
)
def test_a_day_of_a_venue_gives_the_plain_answer(data_file, file, mode, parallelism):
    flink_job.environment()
    pipeline = STANDARD.pipeline()
    pipeline.code = STANDARD
    inputs = inputs_of(pipeline, data_file(file), date(2010, 12, 24))
    plain = batch.run(  # noqa: F811
        batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns), inputs.runs()
    )
    answer, _ = run_recorded(pipeline, inputs, parallelism=parallelism, mode=mode, events=256)
    assert answer.is_complete
    assert answer.events == plain.counts.events > 500
    assert answer.digests == plain.digests


def test_across_a_rescale_through_a_savepoint_nothing_is_lost(
    day,  # noqa: F811
    plain,  # noqa: F811
    tmp_path,
    server,
):
    found = flink_job.environment(kafka=True)
    pipeline = STANDARD.pipeline()
    blocks = [b for _, b in blocks_of(pipeline, inputs_of(pipeline, day), shards=2, events=128)]
    flink_job.topics(server, ["in", "out"], 2)
    reader = flink_job.Reader(server, "out", 2)
    half = len(blocks) // 2
    flink_job.Feeder(server, "in", blocks[:half]).run()
    saved = ""
    for parallelism in (1, 2):
        with flink_job.cluster_of(found, tmp_path / "flink", slots=parallelism) as cluster:
            job = flink_job.job_of(
                cluster, found, STANDARD, server, blocks, parallelism=parallelism, start=saved
            )
            running = flink_job.start(job, found, tmp_path / "flink", cluster)
            if parallelism == 1:
                flink_job.run_until(running, lambda: len(reader.seen) > half // 4, 120)
            else:
                flink_job.Feeder(server, "in", blocks[half:]).run()
                flink_job.run_until(running, is_over(reader, 2), 120)
            saved = running.stop()
    reader.stop()
    answer = answer_to(reader, pipeline)
    assert answer.is_complete
    assert answer.digests == plain.digests


def test_another_version_takes_over_through_a_savepoint(day, tmp_path, server):  # noqa: F811
    found = flink_job.environment(kafka=True)
    before = version(tmp_path, 1)
    pipeline = before.pipeline()
    blocks = [b for _, b in blocks_of(pipeline, inputs_of(pipeline, day), events=128)]
    flink_job.topics(server, ["in", "out"], 1)
    reader = flink_job.Reader(server, "out", 1)
    half = len(blocks) // 2
    flink_job.Feeder(server, "in", blocks[:half]).run()
    folder = tmp_path / "flink"
    with flink_job.cluster_of(found, folder, slots=1) as cluster:
        running = flink_job.start(
            flink_job.job_of(cluster, found, before, server, blocks), found, folder, cluster
        )
        flink_job.run_until(running, lambda: len(reader.seen) > half // 4, 120)
        saved = running.stop()
        rows_before = len(reader.seen)

        other = version(tmp_path, 1, "lots: ot.i64 = 0\n    most: ot.i64 = 0")
        job = flink_job.job_of(cluster, found, other, server, blocks, start=saved)
        flink_job.Feeder(server, "in", blocks[half : half + 1]).run()
        running = flink_job.start(job, found, folder, cluster)
        with pytest.raises(OperatorError, match="laid out otherwise"):
            running.wait(lambda state: False, 60)
        cluster.wait_for_slots()

        after = version(tmp_path, 10_000_000)  # no trade is as large
        job = flink_job.job_of(cluster, found, after, server, blocks, start=saved)
        flink_job.Feeder(server, "in", blocks[half + 1 :]).run()
        running = flink_job.start(job, found, folder, cluster)
        flink_job.run_until(running, is_over(reader, 1), 120)
    reader.stop()
    answer = answer_to(reader, pipeline)
    assert answer.is_complete
    assert 0 < rows_before <= len(reader.seen)
    assert answer.events == sum(_count(block) for block in blocks)


def _count(block):
    from onetape.codecs.block import read_header

    return read_header(block).count


FAILS = """
import onetape as ot
from onetape import market as mk

@ot.record
class Row:
    ts_event_ns: ot.i64
    instrument_id: ot.u32

@ot.operator(key="instrument_id")
class Fails:
    seen: ot.i64 = 0
    def on_trade(self, t: mk.Trade) -> Row | None:
        self.seen += 1
        if self.seen > 3:
            raise ValueError("too many trades")
        return Row(t.ts_event_ns, t.instrument_id)

pipeline = ot.Pipeline(row=Fails(ot.source("itch").trades()))
"""


def test_a_job_that_fails_says_why_in_one_line(day, tmp_path):  # noqa: F811
    flink_job.environment()
    path = tmp_path / "fails.py"
    path.write_text(FAILS)
    load_pipeline(str(path))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "onetape.cli",
            "run",
            str(path),
            "--on",
            "flink",
            "--file",
            str(day),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("onetape: onetape (1/1)")
    assert "block" in last and "operator Fails" in last and "ValueError: too many trades" in last
    assert "Traceback" not in done.stderr and "\tat " not in done.stderr


def test_the_command_prints_the_digests(day, plain):  # noqa: F811
    flink_job.environment()
    command = [sys.executable, "-m", "onetape.cli", "run", "standard", "--on", "flink", "--json"]
    done = subprocess.run(
        [*command, "--file", str(day)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["digests"] == plain.digests
    assert facts["messages"] == plain.counts.events


@pytest.mark.parametrize("partitions", [1, 2])
def test_the_command_ends_when_all_shards_have(day, plain, tmp_path, server, partitions):  # noqa: F811
    flink_job.environment(kafka=True)
    blocks = blocks_of(STANDARD.pipeline(), inputs_of(STANDARD.pipeline(), day), shards=2)
    day_in, out = f"day-{partitions}", f"rows-{partitions}"
    publish(blocks, settings(server.address), day_in, 2)
    Admin(settings(server.address)).make(out, partitions)
    command = [sys.executable, "-m", "onetape.cli", "run", "standard", "--on", "flink", "--json"]
    topics = ["--kafka", server.address, "--topic", day_in, "--topic-out", out]
    done = subprocess.run(
        [*command, *topics, "--state", str(tmp_path / "state")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"all shards of {day_in} have ended; to go on: " in done.stderr
    facts = json.loads(done.stdout)
    assert (facts["messages"], facts["rows"]) == (plain.counts.events, plain.counts.rows)
    answer = Answer(STANDARD.pipeline())
    for _ in taken(settings(server.address), out, answer, to_end=True):
        pass
    assert answer.is_complete
    assert answer.digests == plain.digests
