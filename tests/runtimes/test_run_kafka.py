"""A node between two topics: the same rows as a plain run, each once, whoever is killed."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import servers
from tests.connect.kafka_topics import everything, made, wait_for

import onetape as ot
from onetape.codecs.block import ROWS, read_header
from onetape.connect.kafka.publisher import Publisher, Record
from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.connect.kafka.topics import Admin
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.publish import publish
from onetape.runtimes.run.kafka import Topics, run_kafka
from onetape.runtimes.run.topic_outlet import group_of
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import TRADING_DATE, write_file

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "tests" / "runtimes" / "topic_events.py"
KILLS, KILLS_OF_ONE = int(os.environ.get("ONETAPE_KILLS", "1")), 4
RATE = 500  # events a second: the stream lasts as long as the kills
ONETAPE = [sys.executable, "-m", "onetape.cli"]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=3, seconds=2.0, instruments=20, episodes=1, messages_per_s=10_000)
    return path


@pytest.fixture(scope="module")
def plain(day):
    """What the day comes to without any topic."""
    given = inputs_of(market_watch(), day, TRADING_DATE)
    engine = batch.make_engine(market_watch(), given.framing, given.midnight_ns)
    return batch.run(engine, given.runs())


def stream(day, events=256):
    pipeline = market_watch()
    return blocks_of(pipeline, inputs_of(pipeline, day, TRADING_DATE), events=events)


def put(server, day, **options):
    topic = f"day-{time.time_ns()}"
    publish(stream(day), settings(server.address), topic, 1, **options)
    return topic


def node(server, topic, topic_out, tape, transaction_s=0.02, **options):
    topics = Topics(settings(server.address), topic, topic_out, transaction_s=transaction_s)
    return run_kafka(market_watch(), tape, topics, progress=Progress(quiet=True), **options)


def answered(server, topic):
    answer = Answer(market_watch())
    for taken in everything(server, topic):
        answer.take(taken.value)
    return answer


def check(server, topic_out, plain):
    answer = answered(server, topic_out)
    assert answer.is_complete
    assert answer.digests == plain.digests
    assert answer.state_digests == {0: plain.state_digest}
    return answer


WAYS = pytest.mark.parametrize("transaction_s", [0.02, 0.0])


@WAYS
def test_rows_on_the_topic_are_those_of_a_plain_run(kafka, day, plain, tmp_path, transaction_s):
    topic, out = put(kafka, day), f"rows-{time.time_ns()}"

    facts = node(kafka, topic, out, tmp_path / "tape", transaction_s, seconds=60)

    assert facts["ended"]
    assert facts["digests"] == plain.digests
    assert facts["state_digest"] == plain.state_digest
    answer = check(kafka, out, plain)
    assert answer.events == facts["messages"]


def test_a_complete_run_that_is_resumed_adds_nothing(kafka, day, plain, tmp_path):
    topic, out = put(kafka, day), f"rows-{time.time_ns()}"
    node(kafka, topic, out, tmp_path / "tape", seconds=60)
    before = everything(kafka, out)

    facts = node(kafka, topic, out, tmp_path / "tape", seconds=600, resume=True)  # ends by itself

    assert facts["digests"] == plain.digests
    assert everything(kafka, out) == before


@pytest.mark.parametrize("ways", [[0.02], [0.0], [0.0, 0.02]])
def test_runs_that_are_ended_early_add_up(kafka, day, plain, tmp_path, ways):
    """The stream comes slowly, and the node is ended again and again in the middle of it."""
    ways = itertools.cycle(ways)
    topic, out = f"day-{time.time_ns()}", f"rows-{time.time_ns()}"
    blocks, facts = list(stream(day)), {"ended": False}
    tape = tmp_path / "tape"

    for have in range(3, len(blocks) + 3, len(blocks) // 4):
        publish(blocks[:have], settings(kafka.address), topic, 1)
        facts = node(kafka, topic, out, tape, next(ways), seconds=1.0, resume=tape.exists())

    publish(blocks, settings(kafka.address), topic, 1)
    if not facts["ended"]:
        facts = node(kafka, topic, out, tape, next(ways), seconds=60, resume=True)
    assert facts["digests"] == plain.digests
    check(kafka, out, plain)


@WAYS
def test_another_machine_takes_over_with_a_new_tape(kafka, day, plain, tmp_path, transaction_s):
    topic, out = f"day-{time.time_ns()}", f"rows-{time.time_ns()}"
    blocks = list(stream(day))
    publish(blocks[: len(blocks) // 2], settings(kafka.address), topic, 1)
    node(kafka, topic, out, tmp_path / "lost", transaction_s, seconds=2.0)
    assert answered(kafka, out).rows["top_of_book"] > 0

    publish(blocks, settings(kafka.address), topic, 1)
    facts = node(kafka, topic, out, tmp_path / "new", transaction_s, seconds=60)

    assert facts["digests"] == plain.digests
    check(kafka, out, plain)


def test_offsets_are_committed_with_the_rows(kafka, day, tmp_path):
    topic, out = put(kafka, day), f"rows-{time.time_ns()}"

    facts = node(kafka, topic, out, tmp_path / "tape", seconds=60)

    with Subscriber(settings(kafka.address), topic, group=group_of(out)) as incoming:
        found = incoming.committed(0)
    last = everything(kafka, topic)[-1]
    assert found.offset == last.offset + 1
    note = json.loads(found.note)
    assert note["rows"] == {n: c for n, c in facts["rows"].items() if c}
    assert note["ended"]


def test_another_pipeline_does_not_write_behind_it(kafka, day, tmp_path):
    topic, out = put(kafka, day), f"rows-{time.time_ns()}"
    node(kafka, topic, out, tmp_path / "tape", seconds=60)
    other = ot.Pipeline(trade=ot.source("itch").trades())

    topics = Topics(settings(kafka.address), topic, out)
    with pytest.raises(OperatorError, match=f"topic {out} was written by another pipeline"):
        run_kafka(other, tmp_path / "other", topics, progress=Progress(quiet=True))


def test_a_topic_with_somebody_elses_records_is_not_written(kafka, day, tmp_path):
    topic, out = put(kafka, day), made(kafka, "taken")
    with Publisher(settings(kafka.address)) as publisher:
        publisher.put(Record(out, b"not ours", 0))

    with pytest.raises(OperatorError, match=f"topic {out} holds records, and no note of group"):
        node(kafka, topic, out, tmp_path / "tape")


def test_a_tape_goes_on_with_its_own_topic_only(kafka, day, tmp_path):
    topic, another = put(kafka, day), put(kafka, day)
    node(kafka, topic, "", tmp_path / "tape", seconds=60)

    with pytest.raises(OperatorError, match="go on with the same topic"):
        node(kafka, another, "", tmp_path / "tape", resume=True)


def test_a_topic_of_several_shards_is_refused_with_what_to_do(kafka, day, tmp_path):
    topic = made(kafka, "two", 2)

    with pytest.raises(OperatorError, match="has 2 partitions, a shard each; a node takes one"):
        node(kafka, topic, "", tmp_path / "tape")


def start(*words, cwd):
    return subprocess.Popen(
        [*ONETAPE, *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"},
    )


def words_of(server, topic, out, tape, transaction_s=0.02):
    return ["run", "standard", "--kafka", server.address, "--topic", topic, "--topic-out", out,
            "--tape", tape, "--checkpoint", "0.3", "--transaction", transaction_s * 1000,
            "--json"]  # fmt: skip


def goes_on(tape):
    return ["--resume"] if (tape / "manifest").exists() else []


@pytest.mark.slow
@pytest.mark.crash
@WAYS
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_node_that_is_killed_anywhere_loses_and_doubles_nothing(
    kafka, day, plain, tmp_path, seed, transaction_s
):
    draw, tape = random.Random(seed), tmp_path / "tape"
    topic, out = f"day-{time.time_ns()}", f"rows-{time.time_ns()}"
    feeder = start("publish", "standard", "--file", day, "--date", TRADING_DATE, "--kafka",
                   kafka.address, "--topic", topic, "--events", "64", "--rate", RATE,
                   cwd=tmp_path)  # fmt: skip
    try:
        wait_for(lambda: topic_is_there(kafka, topic), "the topic")
        for _ in range(KILLS_OF_ONE):
            words = words_of(kafka, topic, out, tape, transaction_s)
            running = start(*words, *goes_on(tape), cwd=tmp_path)
            await_loop(running, tape)
            time.sleep(draw.uniform(0, 3))
            running.kill()
            running.communicate()
        running = start(*words, *goes_on(tape), cwd=tmp_path)
        said, troubles = running.communicate(timeout=300)
        assert running.returncode == 0, troubles
    finally:
        for process in (feeder, running):
            process.kill()
            process.communicate()
    assert json.loads(said)["digests"] == plain.digests
    answer = check(kafka, out, plain)
    assert answer.rows == json.loads(said)["rows"]


def await_loop(process, tape):
    """Until it tells of itself, or has ended."""
    told, began_s = tape / "live.json", time.time()
    wait_for(
        lambda: process.poll() is not None or (told.exists() and told.stat().st_mtime > began_s),
        "the node's loop",
        300,
    )


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize(
    ("transaction_s", "why"),
    [
        (0.02, "another one with the same name has taken over"),
        (0.0, "another node has taken over; this one's rows do not count any more"),
    ],
)
def test_a_node_that_was_thought_dead_is_shut_out(kafka, day, plain, tmp_path, transaction_s, why):
    """It is stopped (as by a long pause), another takes over, and it wakes up again."""
    topic, out = put(kafka, day), f"rows-{time.time_ns()}"
    blocks = list(stream(day))
    slow = f"day-{time.time_ns()}"
    publish(blocks[: len(blocks) // 2], settings(kafka.address), slow, 1)
    words = words_of(kafka, slow, out, tmp_path / "zombie", transaction_s)
    zombie = start(*words, cwd=tmp_path)
    try:
        wait_for(lambda: out_has_rows(kafka, out), "rows of the first")
        zombie.send_signal(signal.SIGSTOP)
        publish(blocks, settings(kafka.address), slow, 1)
        facts = node(kafka, slow, out, tmp_path / "second", transaction_s, seconds=60)
        zombie.send_signal(signal.SIGCONT)
        _, troubles = zombie.communicate(timeout=300)
    finally:
        zombie.kill()
        zombie.communicate()

    assert zombie.returncode == 1
    assert why in troubles
    assert facts["digests"] == plain.digests
    check(kafka, out, plain)
    assert topic != slow


def out_has_rows(server, topic):
    from onetape.connect.kafka.topics import Admin

    if not Admin(settings(server.address)).partitions(topic):
        return False
    return any(read_header(t.value).kind == ROWS for t in everything(server, topic))


@pytest.mark.slow
@pytest.mark.crash
def test_a_broker_that_is_killed_changes_nothing(day, plain, tmp_path):
    cluster, draw = servers.start("kafka", brokers=3), random.Random(5)
    try:
        topic, out = f"day-{time.time_ns()}", f"rows-{time.time_ns()}"
        feeder = start("publish", "standard", "--file", day, "--date", TRADING_DATE, "--kafka",
                       cluster.address, "--topic", topic, "--events", "64", "--rate", RATE,
                       cwd=tmp_path)  # fmt: skip
        wait_for(lambda: topic_is_there(cluster, topic), "the topic")
        running = start(*words_of(cluster, topic, out, tmp_path / "tape"), cwd=tmp_path)
        try:
            wait_for(lambda: out_has_rows(cluster, out), "rows", 300)
            for _ in range(3):
                time.sleep(draw.uniform(1, 3))
                member = draw.choice(list(cluster.members))
                cluster.kill(member)
                time.sleep(draw.uniform(1, 3))
                cluster.begin(member)
            published, why = feeder.communicate(timeout=300)
            assert feeder.returncode == 0, (published, why)
            said, troubles = running.communicate(timeout=300)
            assert running.returncode == 0, troubles
        finally:
            for process in (feeder, running):
                process.kill()
                process.communicate()
        cluster.wait()
        assert json.loads(said)["digests"] == plain.digests
        check(cluster, out, plain)
    finally:
        cluster.stop()


def topic_is_there(server, topic):
    from onetape.connect.kafka.topics import Admin

    return Admin(settings(server.address)).partitions(topic)


def fills(count):
    return [{"ts_event_ns": n, "instrument_id": n % 3, "lots": n % 7} for n in range(1, count + 1)]


def totals(events):
    """The slow, obvious version."""
    lots, made = {}, []
    for event in events:
        number = event["instrument_id"]
        lots[number] = lots.get(number, 0) + event["lots"]
        made.append((event["ts_event_ns"], number, lots[number]))
    return made


def run_events(server, topic, out, tape, tmp_path, *words):
    done = start("run", EVENTS, "--kafka", server.address, "--topic", topic, "--topic-out", out,
                 "--tape", tape, "--encoding", "json", "--encoding-out", "json",
                 *goes_on(tape), "--json", *words, cwd=tmp_path)  # fmt: skip
    said, troubles = done.communicate(timeout=300)
    assert done.returncode == 0, troubles
    return json.loads(said)


def test_events_of_others_go_in_and_out_one_a_record(kafka, tmp_path):
    topic, out, dead = made(kafka, "fills"), f"totals-{time.time_ns()}", f"dead-{time.time_ns()}"
    events, tape = fills(3000), tmp_path / "tape"
    letters = 0
    for part in (events[:1000], events[1000:1001], events[1001:]):
        with Publisher(settings(kafka.address)) as publisher:
            for event in part:
                publisher.put(Record(topic, json.dumps(event).encode(), 0))
            publisher.put(Record(topic, b"no event", 0))
        letters += 1
        words = ["--to-end"] if part[-1] is events[-1] else ["--seconds", "4"]
        facts = run_events(kafka, topic, out, tape, tmp_path, "--dead-letters", dead, *words)

    assert facts["ended"]
    found = [json.loads(t.value) for t in everything(kafka, f"{out}.total")]
    assert [(r["ts_event_ns"], r["instrument_id"], r["lots"]) for r in found] == totals(events)
    keys = [t.key for t in everything(kafka, f"{out}.total")]
    assert keys == [str(event["instrument_id"]).encode() for event in events]
    refused = everything(kafka, dead)
    assert len({dict(t.headers)["onetape.offset"] for t in refused}) == letters
    assert {t.value for t in refused} == {b"no event"}


def test_events_that_are_taken_for_blocks_are_said(kafka, tmp_path):
    topic, out = made(kafka, "events"), f"never-{time.time_ns()}"
    with Publisher(settings(kafka.address)) as publisher:
        publisher.put(Record(topic, b'{"price": 1}', 0))
        publisher.flush()

    with pytest.raises(OperatorError, match=r"offset 0: .*--encoding json, avro or protobuf"):
        node(kafka, topic, out, tmp_path / "tape")
    assert Admin(settings(kafka.address)).partitions(out) == 0
    with pytest.raises(OperatorError, match="--encoding json"):
        node(kafka, made(kafka, "many", 2), out, tmp_path / "tape")


def test_a_topic_that_is_not_there_is_not_made_by_publish_where_events_are_read(kafka, tmp_path):
    topics = Topics(settings(kafka.address), "nobodys", encoding="json")
    with pytest.raises(OperatorError, match=r"nobodys is not on .*its writer does"):
        run_kafka(market_watch(), tmp_path / "tape", topics, progress=Progress(quiet=True))


def test_a_record_that_cannot_be_read_ends_the_run_where_there_are_no_dead_letters(kafka, tmp_path):
    topic = made(kafka, "fills")
    with Publisher(settings(kafka.address)) as publisher:
        publisher.put(Record(topic, b"no event", 0))

    done = start("run", EVENTS, "--kafka", kafka.address, "--topic", topic, "--tape",
                 tmp_path / "tape", "--encoding", "json", cwd=tmp_path)  # fmt: skip
    _, troubles = done.communicate(timeout=300)

    assert done.returncode == 1
    assert f"topic {topic}, partition 0, offset 0" in troubles
    assert "--dead-letters TOPIC" in troubles


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topic", "t"], "--topic is of a Kafka topic (--kafka BROKERS --topic TOPIC)"),
        (["--kafka", "a:1"], "say what to read: --topic TOPIC"),
        (["--kafka", "a:1", "--topic", "t", "--speed", "2"], "--speed does not go with --kafka"),
        (["--kafka", "a:1", "--topic", "t", "--to-end"], "--to-end are of topics with one event"),
        (["--kafka", "a:1", "--topic", "t", "--transaction", "-1"], "--transaction was -1 ms"),
        (
            ["--kafka", "a:1", "--topic", "t", "--transaction", "0", "--encoding-out", "json"],
            "--transaction 0 is for blocks in and out",
        ),
        (["--kafka", "here", "--topic", "t"], "brokers were 'here'; expected HOST:PORT"),
        (["--kafka", "a:1", "--topic", "t", "--encoding", "json"], "a pipeline of one source of"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, capsys, words, said):
    from onetape.cli import main

    assert main(["run", "standard", "--tape", str(tmp_path / "tape"), *words]) == 1

    assert said in capsys.readouterr().err


def test_publish_and_consume_on_the_command_line(kafka, day, plain, tmp_path, capsys):
    from onetape.cli import main

    topic, out = f"day-{time.time_ns()}", f"rows-{time.time_ns()}"
    at = ["--kafka", kafka.address]
    file = ["--file", str(day), "--date", str(TRADING_DATE)]
    assert main(["publish", "standard", *file, *at, "--topic", topic, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 0
    tape = ["--tape", str(tmp_path / "tape")]
    assert (
        main(["run", "standard", *at, "--topic", topic, "--topic-out", out, *tape, "--json"]) == 0
    )
    capsys.readouterr()

    folder = tmp_path / "out"
    consume = ["consume", "standard", *at, "--topic", out, "--json", "--output", "alert"]
    assert main([*consume, "--out", str(folder)]) == 0

    *rows, facts = map(json.loads, capsys.readouterr().out.splitlines())
    assert facts["complete"] and facts["digests"] == plain.digests
    assert len(rows) == facts["rows"]["alert"] > 0
    assert {path.stem for path in folder.iterdir()} == set(plain.digests)
    assert main(["publish", "standard", "--from-tape", str(tmp_path / "tape"), *at,
                 "--topic", f"{topic}-again", "--json"]) == 0  # fmt: skip
