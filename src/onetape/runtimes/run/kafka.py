"""`onetape run PIPELINE --kafka BROKERS --topic IN`: a node fed from a topic, its rows into others.

The tape is what it is for any other input: the node's state is a function of it, and where the
reading of the topic goes on is on it (`edge/topic_place.py`). What was written to topics is known
to the transaction that wrote it (`run/topic_outlet.py`). So a node that was killed goes on with
--resume, with nothing lost and nothing twice.
"""

import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onetape.codecs.block import MANIFEST, BlockError, read_header, told_of
from onetape.connect.kafka.events import EVENTS, Gatherer, Spreader, dead_letter
from onetape.connect.kafka.publisher import Publisher
from onetape.connect.kafka.settings import Settings
from onetape.connect.kafka.subscriber import Subscriber, Taken
from onetape.connect.kafka.topics import Admin
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.native.interrupts import noting_interrupts
from onetape.records import OperatorError
from onetape.records.types import UNSET
from onetape.runtimes.course import Versions
from onetape.runtimes.edge.inbox import Passed
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.edge.topic_feeder import BlockFeeder, EventFeeder, TopicFeeder
from onetape.runtimes.edge.topic_place import Place, place_on
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.into_tape import Taker, TapeRun, check_origin
from onetape.runtimes.run.topic_direct import DirectOutlet
from onetape.runtimes.run.topic_outlet import EVERY_S, TopicOutlet, group_of
from onetape.runtimes.worker import check_stream
from onetape.tape.layout import read_facts

SAID_S = 5.0
WAIT_MAX_NS = 200_000  # the loop's longest nap: a frame from Python does not wake it
COMMIT_NS = 10_000_000  # of the tape: what a crash takes back is read again from the topic
SWITCH_S = 0.0005  # how long a thread may have to wait for Python: feeder and drain are two
BLOCKS = "blocks"
HOW_EVENTS = "--encoding json, avro or protobuf"
FRAME_BYTES = 1 << 19  # of rows: what was gathered is one frame


@dataclass(frozen=True)
class Topics:
    """What is read and written.

    topic, encoding          of the input: "blocks", or one event a record (avro, json, protobuf)
    topic_out, encoding_out  of the rows; no topic: they are not written
    decode, encoders         of one event a record: as `onetape.codecs.event` makes them
    dead_letters             a topic for records that cannot be read; "": the run ends at the first
    to_end                   events of others end where the topic ends now; blocks say so themselves
    transaction_s            between commits; 0: none, blocks go out as they are made
    """

    settings: Settings
    topic: str
    topic_out: str = ""
    encoding: str = BLOCKS
    encoding_out: str = BLOCKS
    decode: Any = None
    encoders: dict[str, Any] | None = None
    dead_letters: str = ""
    to_end: bool = False
    transaction_s: float = EVERY_S


def run_kafka(
    pipeline: Pipeline,
    tape: Path,
    topics: Topics,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: bool = False,
    seconds: float | None = None,
    **saving: Any,
) -> dict[str, Any]:
    """Run until the stream ends, Ctrl-C or `seconds`; returns the facts `--json` prints.

    saving: how checkpoints are made, see `EdgeNode`.
    """
    with ExitStack() as stack:
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_S)
        admin = Admin(topics.settings)
        makes = "onetape publish does" if topics.encoding == BLOCKS else "its writer does"
        partitions = admin.existing(topics.topic, makes=makes)
        incoming = stack.enter_context(Subscriber(topics.settings, topics.topic))
        origin = {"kafka": topics.topic, "topic_id": admin.identity(topics.topic)}
        origin["encoding"] = topics.encoding
        told = _told(pipeline, tape, topics, incoming, partitions, origin, resume, seconds)
        driver = plan(pipeline, told["framing"]).driver
        drivers = Versions(tape, told).drivers if resume else {driver: ""}
        outlet = _outlet(stack, pipeline, topics, admin, driver, drivers, resume)
        run = TapeRun(
            stack,
            pipeline,
            tape,
            progress=progress,
            out=out,
            framing=told["framing"],
            midnight_ns=told["midnight_ns"],
            origin=origin,
            resume=resume,
            wait_max_ns=WAIT_MAX_NS,
            commit_every_ns=COMMIT_NS,
            **saving,
        )
        node = run.node
        if outlet is not None:
            node.when_swapped.append(outlet.follow)
        place = _recover(run, outlet) if resume else None
        feeder = _feeder(stack, node, incoming, topics, partitions, place)
        if outlet is not None:
            run.takers.append(_taker(outlet, feeder))
        run.begin()
        stack.callback(feeder.stop)
        if not run.has_ended:
            feeder.start()
        else:
            print(f"onetape: {tape} is complete: its stream has ended", file=sys.stderr)
        with noting_interrupts() as asked:  # a live input ends when it is told to
            if outlet is not None:
                outlet.end_with(asked)
            _follow(run, feeder, outlet, progress, seconds, asked)
        feeder.stop()
        facts = run.end({})
        facts["ended"] = run.has_ended
        if asked.is_set() and not facts["ended"]:
            print("onetape: ended; go on with the same command and --resume", file=sys.stderr)
        if outlet is not None:
            outlet.passed(feeder.fed[-1].behind if feeder.fed else {})
            outlet.finish(facts, ended=facts["ended"])
            facts["transactions"] = outlet.transactions
            facts["elapsed_s"] = round(run.elapsed_s, 6)
        if isinstance(feeder, EventFeeder):
            facts["dead_letters"] = feeder.refused
            facts["dead_letters_topic"] = topics.dead_letters
    return facts | run.delivered()


def _taker(outlet: TopicOutlet, feeder: TopicFeeder) -> Taker:
    def take(name: str, rows: Any, origins: Any, first: int) -> None:
        outlet.take(name, rows, origins, first, feeder.made_ns())

    return take


def _follow(
    run: TapeRun,
    feeder: TopicFeeder,
    outlet: TopicOutlet | None,
    progress: Progress,
    seconds: float | None,
    asked: threading.Event,
) -> None:
    """Drain and commit until the input has ended, the time is over or somebody asks for it."""
    node = run.node
    passed = Passed(node)
    end_s = time.monotonic() + (float("inf") if seconds is None else seconds)
    while not asked.is_set() and time.monotonic() < end_s:
        feeder.check()
        if run.has_ended and node.is_idle():
            return
        moved, is_still = passed.look(), node.is_idle()  # before what was made by then is drained
        taken = run.take(node.drain())
        if moved:
            reached: dict[int, int] = {}
            while feeder.fed and feeder.fed[0].position <= passed.position:
                reached |= feeder.fed.popleft().behind
            if outlet is not None:
                outlet.passed(reached)
        if outlet is not None:
            outlet.tend(node.durable_offset, is_still)
        run.tell()
        progress.update(0, 0, run.events, "events")
        if not taken:
            time.sleep(DRAIN_PAUSE_S)


def _told(
    pipeline: Pipeline,
    tape: Path,
    topics: Topics,
    incoming: Subscriber,
    partitions: int,
    origin: dict[str, Any],
    resume: bool,
    seconds: float | None,
) -> dict[str, Any]:
    """Framing and midnight: as the tape has them, or as the stream's manifest says."""
    if resume:
        if not (tape / "manifest").exists():
            raise OperatorError(f"{tape} holds no tape to go on with; leave out --resume")
        return check_origin(tape, origin, "topic")
    if topics.encoding != BLOCKS:
        return {"framing": {}, "midnight_ns": 0}
    if partitions != 1:
        raise OperatorError(
            f"topic {topics.topic} has {partitions} partitions, a shard each; a node takes one "
            "stream: publish with --shards 1, or run the shards on an engine (--on flink); if it "
            f"holds no blocks, but one event a record, say how: {HOW_EVENTS}"
        )
    incoming.assign({0: None})
    began_s, is_said = time.monotonic(), False
    while seconds is None or time.monotonic() < began_s + seconds:
        for taken in incoming.take(0.2, 1):
            return _manifest(pipeline, topics.topic, taken)
        if not is_said and time.monotonic() - began_s > SAID_S:
            is_said = True
            said = f"topic {topics.topic} is empty; its first record is waited for"
            print(f"onetape: {said}", file=sys.stderr)
    raise OperatorError(
        f"topic {topics.topic} was empty for {seconds:g} s; its first record says how to read the "
        "others (onetape publish writes it)"
    )


def _manifest(pipeline: Pipeline, topic: str, taken: Taken) -> dict[str, Any]:
    try:
        header = read_header(taken.value)
    except BlockError as why:
        raise OperatorError(
            f"topic {topic} holds no blocks (partition {taken.partition}, offset {taken.offset}: "
            f"{why}); one event a record? Say how: {HOW_EVENTS}"
        ) from None
    if header.kind != MANIFEST:
        raise OperatorError(
            f"topic {topic} begins with {header.place}, not with a manifest: its beginning was "
            "removed (retention.ms), so it can only be gone on with from a tape (--resume)"
        )
    told = told_of(taken.value)
    check_stream(pipeline, told, f"topic {topic}")
    return told


def _outlet(
    stack: ExitStack,
    pipeline: Pipeline,
    topics: Topics,
    admin: Admin,
    driver: str,
    drivers: Mapping[str, str],
    resume: bool,
) -> TopicOutlet | None:
    if not topics.topic_out:
        return None
    spreader = None
    if topics.encoding_out == BLOCKS:
        admin.make(topics.topic_out, 1)
    else:
        spreader = Spreader(topics.topic_out, topics.encoders or {})
        for topic in spreader.topics():
            admin.make(topic, 1, exact=False)
    group, kind = group_of(topics.topic_out), TopicOutlet
    publisher = Publisher(topics.settings, group)  # shuts out who wrote in transactions before
    if topics.transaction_s == 0:
        publisher.close()
        publisher, kind = Publisher(topics.settings, group=group), DirectOutlet
    stack.push(publisher)
    outlet = kind(
        pipeline,
        publisher,
        topics.topic,
        topics.topic_out,
        driver=driver,
        drivers=drivers,
        spreader=spreader,
        every_s=topics.transaction_s,
    )
    if outlet.rows and not resume and topics.encoding != BLOCKS:
        raise OperatorError(
            f"topic {topics.topic_out} holds the rows of another tape, and events of several "
            "partitions come in another order each time; go on with that tape (--resume), or give "
            "another --topic-out"
        )
    return outlet


def _recover(run: TapeRun, outlet: TopicOutlet | None) -> Place | None:
    """Bring the node to the end of its tape; where the topic goes on from there."""
    node = run.node

    def again(name: str, rows: Any, origins: Any) -> None:
        """`recover` has counted them already."""
        run.delivery.take(name, rows, origins)
        if outlet is not None:
            outlet.take(name, rows, origins, run.digests[name].rows_count - len(rows), UNSET)
            outlet.tend(node.durable_offset)

    delivered = outlet.delivered if outlet is not None and not run.delivery else None
    run.recover(again if outlet is not None else None, delivered)
    facts = read_facts(str(node.folder))
    return place_on(node.folder, facts.start_offset, node.durable_offset())


def _feeder(
    stack: ExitStack,
    node: EdgeNode,
    incoming: Subscriber,
    topics: Topics,
    partitions: int,
    place: Place | None,
) -> TopicFeeder:
    if topics.encoding == BLOCKS:
        return BlockFeeder(node, incoming, 0, place)
    letters = Publisher(topics.settings) if topics.dead_letters else None
    if letters is not None:
        Admin(topics.settings).make(topics.dead_letters, 1, {}, exact=False)
        stack.push(letters)

    def refuse(taken: Taken, why: str) -> None:
        if letters is None:
            raise OperatorError(
                f"topic {topics.topic}, partition {taken.partition}, offset {taken.offset}: {why}; "
                "give a topic for such records (--dead-letters TOPIC), or mend who writes them"
            )
        letters.put(dead_letter(topics.dead_letters, topics.topic, taken, why))
        letters.flush()  # before the tape says that the record was read

    rows = max(1, FRAME_BYTES // node.plan.pipeline.sources[0].of.dtype.itemsize)
    gatherer = Gatherer(incoming, topics.decode, refuse=refuse, events=min(EVENTS, rows))
    return EventFeeder(node, incoming, gatherer, partitions, place, to_end=topics.to_end)
