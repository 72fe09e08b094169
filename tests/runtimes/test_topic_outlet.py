"""Rows into a topic by nodes that are killed, paused and replaced: a topic in memory, many seeds.

What a broker does is small enough to be written down here: records in order, a note of the group,
one producer a transactional id. What is put is on its way for a while; a note that is not waited
for may come late, even after its node is dead. Nodes step in any order, also in the middle of what
another does, and die at any request. A seed that fails is the whole story: run it again.
"""

import random
import sys

import numpy as np
import pytest

import onetape as ot
from onetape.codecs.block import WRITER, Header, encode_json, read_header
from onetape.connect.kafka.publisher import Publisher, Reached
from onetape.connect.kafka.subscriber import Taken
from onetape.engine.blocks import rows_of
from onetape.engine.layout import ORIGIN
from onetape.records import IntegrityError, OperatorError, empty_block
from onetape.records.declare import raw_rows
from onetape.runtimes.answer import Answer
from onetape.runtimes.run import topic_direct, topic_outlet
from onetape.runtimes.run.topic_direct import DirectOutlet
from onetape.runtimes.run.topic_outlet import TopicOutlet

ROWS, SEEDS, BLOCK_ROWS = 60, 150, 3
MS = 1_000_000
FACTS = {"messages": ROWS, "rows": {"trade": ROWS}, "late": 0, "bad_frames": 0, "bad_events": 0,
         "state_digest": "0" * 16}  # fmt: skip
PIPELINE = ot.Pipeline(trade=ot.source("itch").trades())
OF = PIPELINE.outputs["trade"].of
PADDING = 55  # a byte of it that no field has


class Killed(Exception):
    """The process is gone."""


class Broker:
    """A topic, the note of its group, and the clock that all nodes look at."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.records = []  # None: a mark of a transaction, which readers do not see
        self.note = None
        self.late_notes = []
        self.epoch = 0
        self.now_ns = 1_000 * MS
        self.nodes = []
        self.is_calm = False  # nobody is killed or steps in between
        self._inside = False

    def moment(self, node):
        """Something else happens before a request of `node` is done."""
        self.now_ns += self.draw.choice([0, 1, 2, 700]) * MS
        while self.late_notes and self.draw.random() < 0.3:
            self.note = self.late_notes.pop(self.draw.randrange(len(self.late_notes)))
        if self.is_calm:
            return
        if not self._inside:
            self._inside = True
            try:
                for other in [n for n in self.nodes if n is not node]:
                    if self.draw.random() < 0.3:
                        other.step()
            finally:
                self._inside = False
        if node is not None and self.draw.random() < 0.02:
            raise Killed

    def append(self, value):
        self.records.append(value)
        return len(self.records) - 1


class Client:
    """As a `Publisher`, to the broker in memory; with an epoch it writes in transactions."""

    settings = None

    def __init__(self, broker, node, epoch=0):
        self.broker, self.node, self.epoch = broker, node, epoch
        self.waiting = []
        self.next_offsets, self.between = {}, {}

    def put(self, record):
        self.broker.moment(self.node)
        self.waiting.append(record)
        if not self.epoch:
            self.deliver(self.broker.draw.randint(0, len(self.waiting)))

    def deliver(self, count):
        for record in self.waiting[:count]:
            offset = self.broker.append(record.value)
            Publisher._confirmed(self, (record.topic, 0), offset)
        del self.waiting[:count]

    def flush(self):
        self.broker.moment(self.node)
        self.deliver(len(self.waiting))

    def committed(self, topic):
        self.broker.moment(self.node)
        return self.broker.note

    def note(self, reached, *, wait=True):
        self.broker.moment(self.node)
        if wait:
            self.broker.note = reached[0]
        else:
            self.broker.late_notes.append(reached[0])
        self.broker.moment(self.node)

    def commit(self, reached=()):
        self.broker.moment(self.node)
        if self.epoch != self.broker.epoch:
            raise OperatorError("another one with the same name has taken over")
        for record in self.waiting:
            self.broker.append(record.value)
        self.broker.append(None)
        self.waiting.clear()
        if reached:
            self.broker.note = reached[0]
        self.broker.moment(self.node)


class Clock:
    """In place of the module `time`, in the two that look at it."""

    def __init__(self, broker):
        self._broker, self.skew_ns = broker, 0

    def monotonic(self):
        return self._broker.now_ns / 1e9

    def time_ns(self):
        return self._broker.now_ns + self.skew_ns

    def sleep(self, seconds):
        self._broker.now_ns += int(seconds * 1e9)


def made_rows():
    rows, origins = empty_block(OF, ROWS), np.zeros(ROWS, ORIGIN)
    rows["instrument_id"] = np.arange(ROWS) % 4
    rows["qty_lots"] = origins["tape_offset"] = np.arange(ROWS)
    return rows, origins


class Node:
    """Makes all rows again, from a new tape, and writes those that are not there."""

    def __init__(self, broker, is_direct):
        self.broker, self.at = broker, 0
        self.is_over = False
        broker.nodes.append(self)
        self.rows, self.origins = made_rows()
        broker.epoch += 1  # whoever writes in transactions is shut out
        kind = DirectOutlet if is_direct else TopicOutlet
        client = Client(broker, self, 0 if is_direct else broker.epoch)
        self.client = client
        self.outlet = None
        try:
            self.outlet = kind(PIPELINE, client, "in", "out", driver="d", drivers={"d": ""})
        except Killed:
            self.die()

    def step(self):
        """A few rows more, or the end; a node that is shut out, or killed, is gone."""
        if self.outlet is None or self.is_over:
            return
        try:
            to = min(self.at + self.broker.draw.randint(0, 7), ROWS)
            if to > self.at:
                at, self.at = self.at, to
                given = self.rows[at:to], self.origins[at:to]
                self.outlet.take("trade", *given, at, 0)
                self.outlet.passed({0: to})
            self.outlet.tend(lambda: ROWS)
            if self.at == ROWS:
                self.outlet.finish(FACTS, ended=True)
                self.is_over = True
        except Killed:
            self.die()
        except OperatorError as why:
            assert "has taken over" in str(why)
            self.die()

    def die(self):
        """What was under way may still arrive, from its first on."""
        if not self.client.epoch:
            self.client.deliver(self.broker.draw.randint(0, len(self.client.waiting)))
        self.broker.nodes.remove(self)
        self.outlet = None


@pytest.fixture
def world(monkeypatch):
    """world(seed): a broker, and the two modules look at its clock and its topic."""

    def make(seed):
        broker = Broker(seed)

        def records_behind(settings, topic, offset):
            while True:
                broker.moment(None)
                for at in range(offset, len(broker.records)):
                    offset = at + 1
                    if broker.records[at] is not None:
                        yield Taken(0, at, broker.records[at], None, None, 0)
                yield None

        clock = Clock(broker)
        monkeypatch.setattr(topic_outlet, "ROWS_MAX", BLOCK_ROWS)
        monkeypatch.setattr(topic_outlet, "records_behind", records_behind)
        monkeypatch.setattr(topic_outlet, "last_record", lambda *_: (broker.records or [None])[-1])
        for module in (topic_outlet, topic_direct):
            monkeypatch.setattr(module, "time", clock)
            monkeypatch.setattr(module, "end_of", lambda *_: len(broker.records))
        return broker, clock

    return make


def check(broker):
    answer = Answer(PIPELINE)
    for block in broker.records:
        if block is not None:
            answer.take(block)
    assert answer.is_complete
    assert answer.rows == {"trade": ROWS}
    plain = Answer(PIPELINE)
    plain._digests["trade"].update(*made_rows())
    assert answer.digests == plain.digests


@pytest.mark.parametrize("ways", [[True], [False], [True, False]], ids=["direct", "trans", "both"])
@pytest.mark.parametrize("zombies", [False, True], ids=["killed", "paused"])
def test_whoever_is_killed_or_thought_dead_each_row_counts_once(world, ways, zombies):
    for seed in range(SEEDS):
        broker, clock = world(seed)
        try:
            is_over = False
            for turn in range(400):
                broker.is_calm = turn > 40
                if not zombies:
                    broker.nodes.clear()
                clock.skew_ns = broker.draw.choice([0, -3600_000, 3600_000]) * MS
                try:
                    node = Node(broker, broker.draw.choice(ways))
                except OperatorError as why:
                    assert "at the same moment" in str(why)
                    continue
                for _ in range(200 if broker.is_calm else broker.draw.randint(1, 30)):
                    node.step()
                if node.is_over:
                    is_over = True
                    break
            assert is_over, "no node came to the end"
            broker.is_calm = True
            for other in list(broker.nodes):
                for _ in range(30):
                    other.step()
            check(broker)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise


@pytest.fixture
def calm(world):
    """A broker at which nothing happens by chance."""
    broker, clock = world(0)
    broker.is_calm = True
    return broker, clock


def begun(broker):
    node = Node(broker, is_direct=True)
    broker.now_ns += 10 * MS
    return node


def give(node, count):
    at, node.at = node.at, node.at + count
    node.outlet.take("trade", node.rows[at : at + count], node.origins[at : at + count], at, 0)
    node.outlet.passed({0: node.at})


def test_a_late_note_of_an_older_node_still_holds(calm):
    """It wakes up, writes behind the newer node's WRITER, and its note is the last to come."""
    broker, _ = calm
    old = begun(broker)
    give(old, 6)
    old.outlet.tend(lambda: ROWS)
    new = begun(broker)
    give(old, 3)
    broker.now_ns += 2_000 * MS
    with pytest.raises(OperatorError, match="another node has taken over; this one's rows"):
        old.outlet.tend(lambda: ROWS)
    new.die()

    last = begun(broker)
    assert last.outlet.rows == {"trade": 6}
    last.step()
    while not last.is_over:
        last.step()
    check(broker)


def test_a_node_with_a_slow_clock_takes_over_from_one_that_noted_nothing(calm):
    broker, _ = calm
    first = begun(broker)
    broker.records.append(encode_json(Header(WRITER, writer=broker.now_ns + 3600 * 10**9), {}))
    first.die()

    second = begun(broker)

    assert second.outlet.writer > read_header(broker.records[-2]).writer


def test_rows_behind_a_deploy_wait_until_the_tape_has_it(calm):
    broker, _ = calm
    node, durable = begun(broker), 0
    before = len(broker.records)
    raw_rows(node.rows).view("u1").reshape(ROWS, -1)[:, PADDING] = 7
    planned = type("Planned", (), {"pipeline": PIPELINE, "driver": "new"})

    node.outlet.follow(planned)
    give(node, 4 * BLOCK_ROWS)
    broker.now_ns += 2_000 * MS
    node.outlet.tend(lambda: durable)
    node.client.flush()
    assert len(broker.records) == before

    durable = ROWS
    node.outlet.tend(lambda: durable)
    node.client.flush()
    assert len(broker.records) == before + 4
    written = b"".join(rows_of(one, OF)[1].tobytes() for one in broker.records[before:])
    assert written == node.rows[: 4 * BLOCK_ROWS].tobytes()
    assert '"driver":"new"' in broker.note.note


@pytest.mark.parametrize("note", ["{", "[]", '{"driver": "d"}', '{"driver":"d","rows":{"a":-1},'
                                  '"blocks":{},"ended":false}'])  # fmt: skip
def test_a_note_that_is_none_is_said(calm, note):
    broker, _ = calm
    broker.note = Reached("in", 0, 0, note)
    with pytest.raises(IntegrityError, match="which is no note of an outlet"):
        begun(broker)


def test_a_topic_that_was_made_anew_is_not_gone_on_with(calm):
    broker, _ = calm
    node = begun(broker)
    give(node, 6)
    node.outlet.commit()
    node.die()
    broker.records.clear()
    for is_direct in (True, False):
        with pytest.raises(OperatorError, match="topic out is empty, and the note of group"):
            Node(broker, is_direct)


def test_records_of_others_behind_the_note_are_named(calm):
    broker, _ = calm
    begun(broker).die()
    broker.append(b"not ours")
    with pytest.raises(IntegrityError, match=r"topic out, offset 1: a record of 8 bytes is no blo"):
        begun(broker)


def test_an_offset_that_a_broker_forgot_is_counted():
    client = Client(None, None)
    for offset in (7, -1001, None, 10):
        Publisher._confirmed(client, ("t", 0), offset)
    assert client.next_offsets == {("t", 0): 11}
    assert client.between == {}
    Publisher._confirmed(client, ("t", 0), 13)
    assert client.between == {("t", 0): 11}
