"""Kafka as it is: a real broker, three real brokers, processes that come, go and are killed."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tests import servers
from tests.connect.kafka_topics import everything, made, wait_for

import onetape as ot
from onetape.codecs.block import read_header
from onetape.codecs.event import decoder
from onetape.connect.kafka import publisher as kafka_publisher
from onetape.connect.kafka import sink as kafka_sink
from onetape.connect.kafka.events import Gatherer, dead_letter
from onetape.connect.kafka.publisher import Publisher, Reached, Record
from onetape.connect.kafka.settings import RECORD_MAX_BYTES, settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.connect.kafka.topics import Admin, last_record
from onetape.connect.sinks.rows_outbox import RowsOf
from onetape.connect.sinks.taking import Output
from onetape.engine.layout import ORIGIN
from onetape.records import DeclarationError, OperatorError, block_of
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.publish import publish
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import write_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """A short day in three shards."""
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=5, seconds=1.0, instruments=12, episodes=0)
    pipeline = market_watch()
    return list(blocks_of(pipeline, inputs_of(pipeline, path), shards=3, events=256))


def values(records):
    return [taken.value for taken in records]


def test_blocks_come_back_as_they_went_each_shard_in_its_partition(kafka, blocks):
    topic, to = made(kafka, "blocks", 3), settings(kafka.address)
    with Publisher(to) as publisher:
        for _, block in blocks:
            publisher.block(topic, block)
        publisher.flush()
        assert publisher.written == len(blocks)

    records = everything(kafka, topic, 3)

    for shard in range(3):
        ours = [taken for taken in records if taken.partition == shard]
        assert values(ours) == [block for n, block in blocks if n == shard]
        assert [read_header(t.value).ordinal for t in ours] == [t.offset for t in ours]


def test_reading_goes_on_from_an_offset(kafka):
    topic, to = made(kafka, "from"), settings(kafka.address)
    with Publisher(to) as publisher:
        for n in range(20):
            publisher.put(Record(topic, b"%d" % n, 0))

    with Subscriber(to, topic) as incoming:
        incoming.assign({0: 15})
        found = []
        wait_for(lambda: found.extend(incoming.take(0.1)) or incoming.at_end, "the end")

    assert values(found) == [b"15", b"16", b"17", b"18", b"19"]
    assert incoming.next_offsets == {0: 20}


def test_what_was_aborted_or_is_open_is_not_seen(kafka):
    topic, to = made(kafka, "aborted"), settings(kafka.address)
    with Publisher(to, f"{topic}-id") as publisher:
        publisher.put(Record(topic, b"one", 0))
        publisher.commit()
        publisher.put(Record(topic, b"never", 0))
        publisher.flush()  # it is there by now
        publisher.abort()
        publisher.put(Record(topic, b"two", 0))
        publisher.commit()
        publisher.put(Record(topic, b"still open", 0))

        assert values(everything(kafka, topic)) == [b"one", b"two"]
        assert last_record(to, topic, 0).value() == b"two"

    assert values(everything(kafka, topic)) == [b"one", b"two"]
    seen = values(everything(kafka, topic, read_committed=False))
    assert b"never" in seen  # it was there, and is left out


def test_the_last_record_is_found_behind_much_that_was_aborted(kafka):
    topic, to = made(kafka, "last"), settings(kafka.address)
    assert last_record(to, topic, 0) is None
    with Publisher(to, f"{topic}-id") as publisher:
        publisher.put(Record(topic, b"the one", 0))
        publisher.commit()
        for n in range(40):
            publisher.put(Record(topic, b"%d" % n, 0))
        publisher.flush()
        publisher.abort()

    assert last_record(to, topic, 0).value() == b"the one"


def test_a_second_producer_of_a_name_shuts_out_the_first(kafka, capfd):
    topic, to = made(kafka, "fenced"), settings(kafka.address)
    zombie = Publisher(to, f"{topic}-id")
    zombie.put(Record(topic, b"of the zombie", 0))
    with Publisher(to, f"{topic}-id") as second:
        second.put(Record(topic, b"of the second", 0))
        second.commit()
        with pytest.raises(OperatorError, match="another one with the same name has taken over"):
            zombie.commit()
    zombie.close(False)

    assert values(everything(kafka, topic)) == [b"of the second"]
    assert capfd.readouterr().err == ""


def test_offsets_and_a_note_are_committed_with_the_outputs_or_not_at_all(kafka):
    topic, out, to = made(kafka, "in"), made(kafka, "out"), settings(kafka.address)
    with Publisher(to, out) as publisher:
        assert publisher.committed(topic) is None
        publisher.put(Record(out, b"1", 0))
        publisher.commit([Reached(topic, 0, 7, '{"rows": 1}')])
        assert publisher.committed(topic) == Reached(topic, 0, 7, '{"rows": 1}')
        publisher.put(Record(out, b"2", 0))
        publisher.abort()
        assert publisher.committed(topic) == Reached(topic, 0, 7, '{"rows": 1}')
        publisher.commit([Reached(topic, 0, 9, "no rows")])
        assert publisher.committed(topic) == Reached(topic, 0, 9, "no rows")
    with Subscriber(to, topic, group=out) as incoming:
        assert incoming.committed(0) == Reached(topic, 0, 9, "no rows")


@pytest.mark.parametrize("came_through", [False, True])
def test_a_commit_whose_answer_was_lost_is_looked_up(kafka, came_through):
    """The client says that all is over; whether the brokers had it, they know."""
    from confluent_kafka import KafkaError, KafkaException

    topic, to = made(kafka, "lost"), settings(kafka.address)
    with Publisher(to, f"{topic}-id") as publisher:
        client, lost = publisher._client, []

        class Losing:
            def __getattr__(self, name):
                return getattr(client, name)

            def commit_transaction(self, timeout):
                lost.append(client.commit_transaction(timeout) if came_through else None)
                raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE, "lost", fatal=True))

        publisher._client = Losing()
        publisher.put(Record(topic, b"once", 0))
        publisher.commit([Reached(topic, 0, 1)])
        publisher.put(Record(topic, b"and on", 0))
        publisher.commit([Reached(topic, 0, 2)])

    assert len(lost) == 1
    assert values(everything(kafka, topic)) == [b"once", b"and on"]


def test_a_commit_whose_answer_was_lost_does_not_go_behind_another_ones(kafka):
    from confluent_kafka import KafkaError, KafkaException

    topic, to = made(kafka, "passed"), settings(kafka.address)
    with Publisher(to, f"{topic}-id") as publisher:
        publisher.put(Record(topic, b"ours", 0))
        publisher.commit([Reached(topic, 0, 1)])
        client = publisher._client

        class Losing:
            def __getattr__(self, name):
                return getattr(client, name)

            def commit_transaction(self, timeout):
                with Publisher(to, f"{topic}-id") as newer:
                    newer.put(Record(topic, b"newer", 0))
                    newer.commit([Reached(topic, 0, 2)])
                raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE, "lost", fatal=True))

        publisher._client = Losing()
        publisher.put(Record(topic, b"late", 0))
        with pytest.raises(OperatorError, match="another one with the same name has taken over"):
            publisher.commit([Reached(topic, 0, 3)])

    assert values(everything(kafka, topic)) == [b"ours", b"newer"]


@pytest.mark.parametrize("way", ["comes back", "stays away", "somebody wants an end"])
def test_brokers_that_go_in_a_commit_are_waited_for_and_not_for_ever(monkeypatch, way):
    monkeypatch.setattr(kafka_publisher, "PATIENCE_S", 3.0 if way == "stays away" else 600.0)
    monkeypatch.setattr(kafka_publisher, "LEAVE_S", 1.0)
    monkeypatch.setattr(kafka_publisher, "CALL_S", 1.0)
    monkeypatch.setattr(kafka_publisher, "STUCK_S", 2.0)
    server = servers.start("kafka")
    publisher = None
    try:
        topic = made(server, "gone")
        publisher = Publisher(settings(server.address), "gone-id")
        publisher.put(Record(topic, b"0", 0))
        publisher.commit([Reached(topic, 0, 1)])
        publisher.put(Record(topic, b"1", 0))
        server.kill()
        if way == "comes back":
            soon = threading.Timer(4.0, server.begin)
            soon.start()
            publisher.commit([Reached(topic, 0, 2)])
            assert publisher.committed(topic) == Reached(topic, 0, 2)
            assert values(everything(server, topic)) == [b"0", b"1"]
        else:
            if way != "stays away":
                threading.Timer(1.0, publisher.leaves.set).start()
            with pytest.raises(OperatorError, match="gone-id: no answer from"):
                publisher.commit([Reached(topic, 0, 2)])
    finally:
        if publisher is not None:
            publisher.close(False)
        server.stop()


def test_a_topic_that_is_not_there_is_said_and_not_made(kafka):
    to, name = settings(kafka.address), f"nowhere-{time.time_ns()}"

    with pytest.raises(OperatorError, match=f"topic {name} is not on"):
        Admin(to).existing(name)
    assert Admin(to).partitions(name) == 0


def test_a_topic_of_another_number_of_partitions_is_refused(kafka):
    topic = made(kafka, "two", 2)

    with pytest.raises(OperatorError, match="has 2 partitions, and the stream 3 shards"):
        Admin(settings(kafka.address)).make(topic, 3)


def test_an_offset_that_is_gone_is_an_error_and_no_new_beginning(kafka):
    topic, to = made(kafka, "gone"), settings(kafka.address)
    with Subscriber(to, topic) as incoming:
        incoming.assign({0: 100})
        with pytest.raises(OperatorError, match="partition 0: offset 100 is not there any more"):
            wait_for(lambda: incoming.take(0.1), "an error")


def test_a_record_that_is_too_large_is_said(kafka):
    topic = made(kafka, "large")
    publisher = Publisher(settings(kafka.address))
    with pytest.raises(OperatorError, match="larger than it takes"):
        publisher.put(Record(topic, bytes(RECORD_MAX_BYTES + 1), 0))
    publisher.close(False)


def test_behind_a_record_that_the_topic_refuses_there_is_none(kafka):
    """Else what stands in the topic would have a hole, which nobody could mend."""
    topic, to = f"small-{time.time_ns()}", settings(kafka.address)
    Admin(to).make(topic, 1, {"max.message.bytes": "2000"})
    publisher = Publisher(to)
    with pytest.raises(OperatorError, match="larger than it takes"):
        for n in range(2000):
            size = 5000 if n == 50 else 100
            publisher.put(Record(topic, b"%d" % n + b" " * size, 0))
        publisher.flush()
    publisher.close(False)

    numbers = [int(one) for one in values(everything(kafka, topic))]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= 50


def test_a_publisher_that_was_interrupted_goes_on_without_doubles(kafka, blocks):
    topic, to = f"resumed-{time.time_ns()}", settings(kafka.address)

    def cut(count):
        yield from islice(blocks, count)
        raise KeyboardInterrupt

    for count in (0, 5, 5, 11):
        with pytest.raises(KeyboardInterrupt):
            publish(cut(count), to, topic, 3, rate=1e9)
    facts = publish(blocks, to, topic, 3)
    again = publish(blocks, to, topic, 3)

    assert facts["skipped"] + facts["blocks"] == len(blocks)
    assert again["skipped"] == len(blocks) and again["blocks"] == 0
    for shard in range(3):
        ours = [t for t in everything(kafka, topic, 3) if t.partition == shard]
        expected = [read_header(block).ordinal for n, block in blocks if n == shard]
        assert [read_header(t.value).ordinal for t in ours] == expected


def test_another_input_is_not_put_behind_the_first(kafka, blocks, tmp_path):
    topic, to = f"other-{time.time_ns()}", settings(kafka.address)
    publish(blocks[:9], to, topic, 3)
    write_file(tmp_path / "other.itch", seed=6, seconds=1.0, instruments=12, episodes=0)
    pipeline = market_watch()
    other = blocks_of(pipeline, inputs_of(pipeline, tmp_path / "other.itch"), shards=3, events=256)

    with pytest.raises(OperatorError, match=f"topic {topic} holds another input"):
        publish(other, to, topic, 3)
    with pytest.raises(OperatorError, match="blocks before its block"):  # one that is shorter
        publish(blocks[:6], to, topic, 3)
    dated = inputs_of(pipeline, tmp_path / "other.itch", date(2026, 1, 5))
    with pytest.raises(OperatorError, match="--date"):
        publish(blocks_of(pipeline, dated, shards=3, events=256), to, topic, 3)


@ot.record
class Quote:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    bid_ticks: ot.i64


def test_events_of_others_become_rows_and_the_rest_dead_letters(kafka):
    topic, dead, to = made(kafka, "events", 2), made(kafka, "dead"), settings(kafka.address)
    sent = [
        b'{"ts_event_ns": 1, "instrument_id": 7, "bid_ticks": 100}',
        b"not json",
        b'{"ts_event_ns": 2, "instrument_id": 8}',
        b'{"ts_event_ns": 3, "instrument_id": 7, "bid_ticks": -5}',
    ]
    with Publisher(to) as publisher:
        for n, value in enumerate(sent):
            publisher.put(Record(topic, value, n % 2, key=b"k%d" % n))

    with Publisher(to) as letters, Subscriber(to, topic) as incoming:

        def refuse(taken, why):
            letters.put(dead_letter(dead, topic, taken, why))

        incoming.assign({0: None, 1: None})
        gatherer = Gatherer(incoming, decoder(Quote, "json"), refuse=refuse, wait_s=0.01)
        rows = []

        def gathered():
            for one in gatherer.gather():
                rows.extend(one.rows.tolist())
            return gatherer.refused == 2 and len(rows) == 2

        wait_for(gathered, "four records")

    assert sorted(rows) == [(1, 7, 100), (3, 7, -5)]
    found = {t.value: (dict(t.headers), t.key) for t in everything(kafka, dead)}
    assert set(found) == {sent[1], sent[2]}
    headers, key = found[sent[2]]
    assert key == b"k2"
    assert b"bid_ticks" in headers["onetape.reason"]
    assert headers["onetape.topic"] == topic.encode()
    assert headers["onetape.partition"] == b"0" and headers["onetape.offset"] == b"1"


class Members:
    """Processes of one group."""

    def __init__(self, *words):
        self._words, self._all = words, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._all:
            process.kill()
            process.communicate()

    def start(self):
        member = f"{self._words[-1]}-{len(self._all)}"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.connect.kafka_member", *self._words, member],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._all.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.parametrize("seed", range(int(os.environ.get("ONETAPE_KILLS", "1"))))
def test_members_that_come_go_and_are_killed_lose_and_double_nothing(kafka, seed):
    draw = random.Random(seed)
    topic, out, to = made(kafka, "in", 6), made(kafka, "out", 6), settings(kafka.address)
    count, stop = 1200, threading.Event()

    def feed():
        with Publisher(to) as publisher:
            for n in range(count):
                publisher.put(Record(topic, b"%d" % n, n % 6))
                if stop.wait(0.01):
                    return

    feeder = threading.Thread(target=feed)
    with Members(kafka.address, topic, out, f"group-{topic}") as members:
        running = [members.start(), members.start()]
        feeder.start()
        try:
            for _ in range(6):
                time.sleep(draw.uniform(0.2, 1.5))
                running.append(members.start())
                leaver = running.pop(draw.randrange(len(running)))
                leaver.kill() if draw.random() < 0.5 else leaver.terminate()
                leaver.wait(30)

            def come():
                return len(everything(kafka, out, 6)) >= count

            wait_for(come, "all of them", 240)
        finally:
            stop.set()
            feeder.join()
    records = everything(kafka, out, 6)

    numbers = Counter(int(t.value.split()[0]) for t in records)
    assert set(numbers) == set(range(count))
    assert {n: c for n, c in numbers.items() if c > 1} == {}
    for partition in range(6):
        ours = [int(t.value.split()[0]) for t in records if t.partition == partition]
        assert ours == sorted(ours)
    assert len({t.value.split()[-1] for t in records}) > 2  # several took part


@pytest.mark.slow
@pytest.mark.crash
def test_of_three_brokers_any_one_may_be_killed():
    cluster = servers.start("kafka", brokers=3)
    draw = random.Random(1)
    try:
        topic, to = made(cluster, "three", 2), settings(cluster.address)
        with Publisher(to, f"{topic}-id") as publisher:
            for n in range(300):
                publisher.put(Record(topic, b"%d" % n, n % 2))
                if n % 10 == 9:
                    publisher.commit([Reached(topic, 0, n)])
                if n in (100, 200):
                    member = draw.choice(list(cluster.members))
                    cluster.kill(member)
                    cluster.begin(member)
            publisher.commit([Reached(topic, 0, 300)])
        cluster.wait()

        records = everything(cluster, topic, 2)
    finally:
        cluster.stop()

    for partition in (0, 1):
        ours = [int(t.value) for t in records if t.partition == partition]
        assert ours == list(range(partition, 300, 2))


def test_a_sink_writes_each_row_once_whatever_is_done_twice(kafka, tmp_path):
    topic = f"quotes-{time.time_ns()}"
    rows = [(n, n % 3, 10 * n) for n in range(1, 51)]
    sink = ot.kafka(f"{kafka.address}/{topic}")
    output = Output("quote", Quote)

    def deliver(first, part):
        writer = kafka_sink._Writer(sink, output)
        block = block_of(Quote, [Quote(*row) for row in part])
        assert writer.deliver(RowsOf(first, block, np.zeros(len(part), ORIGIN))) == []
        writer._publisher.close()

    deliver(0, rows[:20])
    deliver(0, rows[:20])  # the note of the outbox was lost
    deliver(10, rows[10:30])
    deliver(30, rows[30:])
    with pytest.raises(OperatorError, match="has 50 rows, and the next is number 60"):
        deliver(60, rows[:1])

    records = everything(kafka, topic)
    found = [json.loads(t.value) for t in records]
    assert [(r["ts_event_ns"], r["instrument_id"], r["bid_ticks"]) for r in found] == rows
    assert [t.key for t in records] == [str(row[1]).encode() for row in rows]


def test_a_run_over_a_file_delivers_its_rows_to_a_topic(kafka, tmp_path):
    write_file(tmp_path / "day.itch", seed=5, seconds=1.0, instruments=4, episodes=0)
    topic, feed = f"trades-{time.time_ns()}", ot.source(f"itch:{tmp_path / 'day.itch'}")
    pipeline = ot.Pipeline(trade=feed.trades() >> ot.kafka(f"{kafka.address}/{topic}"))

    result = ot.run(pipeline)

    found = [json.loads(t.value) for t in everything(kafka, topic)]
    assert len(found) == len(result.trade.rows) > 0
    assert [r["price_ticks"] for r in found] == result.trade.rows["price_ticks"].tolist()


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("127.0.0.1:9092", {}, "expected 'HOST:PORT/TOPIC'"),
        ("here/trades", {}, "brokers were 'here'; expected HOST:PORT"),
        ("a:1/t", {"encoding": "xml"}, "encoding was 'xml'; expected one of json, avro, protobuf"),
    ],
)
def test_a_sink_that_cannot_be_is_refused_where_it_is_written(address, options, said):
    with pytest.raises(DeclarationError, match=said):
        ot.kafka(address, **options)
