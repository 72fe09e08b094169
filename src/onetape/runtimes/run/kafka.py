"""`onetape run PIPELINE --kafka BROKERS --topic IN`: a node fed from a topic, its rows into others.

The tape is what it is for any other input: the node's state is a function of it, and where the
reading of the topic goes on is on it (`edge/topic_place.py`). What was written to topics is known
to the transaction that wrote it (`run/topic_outlet.py`). So a node that was killed goes on with
--resume, with nothing lost and nothing twice.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onetape.codecs.block import MANIFEST, read_header, told_of
from onetape.connect.kafka.events import EVENTS, Gatherer, Spreader, dead_letter
from onetape.connect.kafka.publisher import Publisher
from onetape.connect.kafka.settings import Settings
from onetape.connect.kafka.subscriber import Subscriber, Taken
from onetape.connect.kafka.topics import Admin
from onetape.engine.digest import digests_of
from onetape.engine.graph import Pipeline
from onetape.engine.planner import plan
from onetape.native.interrupts import noting_interrupts
from onetape.records import OperatorError
from onetape.records.types import UNSET
from onetape.runtimes.course import Versions
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.edge import live
from onetape.runtimes.edge.control import Control
from onetape.runtimes.edge.inbox import Passed
from onetape.runtimes.edge.node import DRAIN_PAUSE_S, EdgeNode
from onetape.runtimes.edge.topic_feeder import BlockFeeder, EventFeeder, TopicFeeder
from onetape.runtimes.edge.topic_place import Place, place_on
from onetape.runtimes.inputs import symbols_of, ticks_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.ending import end_run, follow_swaps
from onetape.runtimes.run.topic_direct import DirectOutlet
from onetape.runtimes.run.topic_outlet import EVERY_S, TopicOutlet, group_of
from onetape.tape.layout import read_facts

SNAPSHOT_S = 1.0
SAID_S = 5.0
WAIT_MAX_NS = 200_000  # the loop's longest nap: a frame from Python does not wake it
COMMIT_NS = 10_000_000  # of the tape: what a crash takes back is read again from the topic
SWITCH_S = 0.0005  # how long a thread may have to wait for Python: feeder and drain are two
BLOCKS = "blocks"
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
        stack.callback(progress.close)
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_S)
        admin = Admin(topics.settings)
        partitions = admin.existing(topics.topic)
        incoming = stack.enter_context(Subscriber(topics.settings, topics.topic))
        origin = {"kafka": topics.topic, "topic_id": admin.identity(topics.topic)}
        origin["encoding"] = topics.encoding
        told = _told(pipeline, tape, topics, incoming, partitions, origin, resume, seconds)
        driver = plan(pipeline, told["framing"]).driver
        drivers = Versions(tape, told).drivers if resume else {driver: ""}
        outlet = _outlet(stack, pipeline, topics, admin, driver, drivers, resume)
        with progress.compiling():
            node = EdgeNode(
                pipeline,
                tape,
                framing=told["framing"],
                midnight_ns=told["midnight_ns"],
                origin=origin,
                resume=resume,
                wait_max_ns=WAIT_MAX_NS,
                commit_every_ns=COMMIT_NS,
                **saving,
            )
        delivery = stack.enter_context(
            Delivery(
                pipeline,
                out=out,
                symbols=symbols_of(node.engine),
                ticks=ticks_of(pipeline),
                durable=lambda: node.tape.durable_offset,
                folder=tape,
            )
        )
        digests = digests_of(node.plan)
        feeder: TopicFeeder | None = None

        def take(blocks: Iterable[Any]) -> bool:
            taken = False
            made_ns = feeder.made_ns() if feeder is not None else UNSET
            for name, rows, origins in blocks:
                first = digests[name].rows_count
                digests[name].update(rows, origins)
                delivery.take(name, rows, origins)
                if outlet is not None:
                    outlet.take(name, rows, origins, first, made_ns)
                taken = True
            return taken

        follow_swaps(node, digests, delivery)
        if outlet is not None:
            node.when_swapped.append(outlet.follow)
        place = _recover(node, digests, delivery, outlet, take) if resume else None
        feeder = _feeder(stack, node, incoming, topics, partitions, place)
        events_before = int(node.engine.run["events"][0])
        stack.enter_context(node)
        stack.enter_context(Control(node))
        stack.callback(feeder.stop)
        began_s = time.perf_counter()
        if not _has_ended(node):
            feeder.start()
        with noting_interrupts() as asked:  # a live input ends when it is told to
            _follow(node, feeder, outlet, take, progress, seconds, asked)
        feeder.stop()
        facts = end_run(node, delivery, digests, take, began_s, {"messages_before": events_before})
        facts["ended"] = _has_ended(node)
        if asked.is_set() and not facts["ended"]:
            print("onetape: ended; go on with the same command and --resume", file=sys.stderr)
        if outlet is not None:
            outlet.passed(feeder.fed[-1].behind if feeder.fed else {})
            outlet.finish(facts, ended=facts["ended"])
            facts["transactions"] = outlet.transactions
            facts["elapsed_s"] = round(time.perf_counter() - began_s, 6)
        if isinstance(feeder, EventFeeder):
            facts["dead_letters"] = feeder.refused
    facts["delivered"] = delivery.told()
    return facts


def _follow(
    node: EdgeNode,
    feeder: TopicFeeder,
    outlet: TopicOutlet | None,
    take: Callable[[Iterable[Any]], bool],
    progress: Progress,
    seconds: float | None,
    asked: threading.Event,
) -> None:
    """Drain and commit until the input has ended, the time is over or somebody asks for it."""
    passed, told_s = Passed(node), 0.0
    end_s = time.monotonic() + (float("inf") if seconds is None else seconds)
    while not asked.is_set() and time.monotonic() < end_s:
        feeder.check()
        if _has_ended(node) and node.is_idle():
            return
        moved = passed.look()  # before what was made by then is drained
        taken = take(node.drain())
        if moved:
            reached: dict[int, int] = {}
            while feeder.fed and feeder.fed[0].position <= passed.position:
                reached |= feeder.fed.popleft().behind
            if outlet is not None:
                outlet.passed(reached)
        if outlet is not None:
            outlet.tend(node.durable_offset)
        now_s = time.perf_counter()
        if now_s - told_s > SNAPSHOT_S:
            told_s = now_s
            live.write(node.folder, live.snapshot(node))
        progress.update(0, 0, int(node.engine.run["events"][0]), "events")
        if not taken:
            time.sleep(DRAIN_PAUSE_S)


def _has_ended(node: EdgeNode) -> bool:
    return bool(node.engine.sources["ended"].all())


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
        was = read_facts(str(tape)).manifest
        if was.get("origin") != origin:
            raise OperatorError(
                f"{tape} was fed from {was.get('origin')}, this run from {origin}; go on with the "
                "same topic, or give a new folder as --tape"
            )
        return was
    if topics.encoding != BLOCKS:
        return {"framing": {}, "midnight_ns": 0}
    if partitions != 1:
        raise OperatorError(
            f"topic {topics.topic} has {partitions} partitions, a shard each; a node takes one "
            "stream: publish with --shards 1, or run the shards on an engine (--on flink)"
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
    header = read_header(taken.value)
    if header.kind != MANIFEST:
        raise OperatorError(
            f"topic {topic} begins with {header.place}, not with a manifest: its beginning was "
            "removed (retention.ms), so it can only be gone on with from a tape (--resume)"
        )
    told = told_of(taken.value)
    names = [source.name for source in pipeline.sources]
    if told["sources"] != names:
        raise OperatorError(
            f"topic {topic} is a stream of {', '.join(told['sources'])}, and the pipeline reads "
            f"{', '.join(names)}; give it the stream that was made for it"
        )
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


def _recover(
    node: EdgeNode,
    digests: dict[str, Any],
    delivery: Delivery,
    outlet: TopicOutlet | None,
    take: Callable[[Iterable[Any]], bool],
) -> Place | None:
    """Bring the node to the end of its tape; where the topic goes on from there."""

    def again(name: str, rows: Any, origins: Any) -> None:
        """`recover` has counted them already."""
        delivery.take(name, rows, origins)
        if outlet is not None:
            outlet.take(name, rows, origins, digests[name].rows_count - len(rows), UNSET)
            outlet.tend(node.durable_offset)

    delivered = outlet.delivered if outlet is not None and not delivery else None
    is_wanted = bool(delivery) or outlet is not None
    for line in node.recover(digests, again if is_wanted else None, delivered):
        print(f"onetape: {line}", file=sys.stderr)
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
