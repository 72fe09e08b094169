"""`onetape publish`: a recorded input into a topic, as blocks.

Shard k goes to partition k, in transactions of one transactional id: a publisher that was killed
leaves nothing half-written, one that comes after it shuts it out, looks what each partition has,
and goes on behind it. So a topic never has a block twice. Without transactions (--transaction 0)
a block can be read as soon as it is written, which is some milliseconds sooner; what two publishers
wrote at the same time is there twice, and readers pass over it, for blocks are numbered.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onetape.codecs.block import CODECS, read_header, stamped
from onetape.codecs.stream_there import There
from onetape.connect.itch_file import EPOCH, midnight_ns
from onetape.connect.kafka.publisher import Publisher, Reached
from onetape.connect.kafka.settings import Settings, settings
from onetape.connect.kafka.topics import Admin, first_record, last_record
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.blocks import EVENTS, Block, blocks_of, blocks_of_tape
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.progress import Progress
from onetape.runtimes.replay import parse_date
from onetape.runtimes.run.options import given

DESCRIPTION = """\
Write a recorded input into a topic as blocks: a file, or the tape of a run. The topic is made with
a partition a shard, if it is not there. A publisher that was interrupted is started again with the
same command: it looks what the topic has and writes the rest, and no block twice.
"""
EXAMPLES = """\
examples:
  onetape publish standard --file day.itch --kafka 127.0.0.1:9092 --topic itch
  onetape publish standard --file day.itch --kafka 127.0.0.1:9092 --topic itch4 --shards 4
  onetape publish standard --from-tape tape/ --kafka 127.0.0.1:9092 --topic itch --rate 100000

Who we are to the brokers is said in the environment (ONETAPE_KAFKA_USER, ...), or in a file of
librdkafka's options (--kafka-options).
"""
UNDATED = (
    "neither the name of the file nor --date tells the trading date, so times begin on 1970-01-01; "
    "give --date YYYY-MM-DD"
)
COMMIT_MS = 250.0
COMMIT_BYTES = 32 << 20


def add_kafka_options(parser: Any, *, required: bool) -> None:
    """Where the brokers are: for every command that uses them."""
    parser.add_argument(
        "--kafka", required=required, metavar="BROKERS", help="HOST:PORT of brokers, with commas"
    )
    parser.add_argument(
        "--kafka-options",
        type=Path,
        metavar="FILE",
        help="lines NAME = VALUE for librdkafka; VALUE env:NAME is a variable's",
    )


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "publish",
        help="write a recorded input into a Kafka topic, as blocks",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--file", action="append", metavar="FILE", help="as of onetape run; of several NAME=FILE"
    )
    source.add_argument("--from-tape", type=Path, metavar="TAPE", help="what a run has recorded")
    parser.add_argument("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date")
    add_kafka_options(parser, required=True)
    parser.add_argument("--topic", required=True, metavar="TOPIC", help="where to")
    parser.add_argument("--shards", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument(
        "--events", type=int, default=EVENTS, metavar="N", help="of a block (default: %(default)s)"
    )
    parser.add_argument("--codec", choices=CODECS, default="lz4", help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, metavar="N", help="events a second, at most")
    parser.add_argument(
        "--transaction",
        type=float,
        default=COMMIT_MS,
        metavar="MS",
        help="between commits, at most (default: %(default)g); 0: without transactions",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.rate is not None and args.rate <= 0:
        raise OperatorError(f"--rate was {args.rate:g}; expected events a second, more than 0")
    if not 0 <= args.transaction <= 60_000:
        raise OperatorError(f"--transaction was {args.transaction:g} ms; expected 0 to 60000")
    pipeline = load_pipeline(args.pipeline)
    options = {"shards": args.shards, "events": args.events, "codec": args.codec}
    blocks = blocks_given(pipeline, args, **options)
    progress = Progress(quiet=args.json)
    try:
        facts = publish(
            blocks,
            settings(args.kafka, args.kafka_options),
            args.topic,
            args.shards,
            rate=args.rate,
            transaction_ms=args.transaction,
            progress=progress,
        )
    finally:
        progress.close()
    if args.json:
        print(json.dumps(facts))
    else:
        print(
            f"{facts['blocks']:,} blocks, {facts['events']:,} events, {facts['bytes'] / 1e6:,.1f} "
            f"MB in {facts['elapsed_s']:.2f} s to {args.topic}"
            + (f"; {facts['skipped']:,} blocks were there" if facts["skipped"] else "")
        )
    return 0


def blocks_given(pipeline: Pipeline, args: argparse.Namespace, **options: Any) -> Iterable[Block]:
    """Those of --file or --from-tape."""
    if args.from_tape is not None:
        return blocks_of_tape(pipeline, args.from_tape, **options)
    inputs = inputs_of(pipeline, given(args.file), args.date)
    if inputs.framing and inputs.midnight_ns == midnight_ns(EPOCH):
        print(f"onetape: {UNDATED}", file=sys.stderr)
    return blocks_of(pipeline, inputs, **options)


def publish(
    blocks: Iterable[Block],
    to: Settings,
    topic: str,
    shards: int,
    *,
    rate: float | None = None,
    transaction_ms: float = COMMIT_MS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All blocks that the topic does not have; returns what was written.

    rate            events a second, at most; each block says when it was sent (`ts_made_ns`)
    transaction_ms  between commits, at most; sooner where there is nothing to do. 0: none

    OperatorError: the topic holds something else, or the brokers stay away.
    """
    Admin(to).make(topic, shards)
    made = {"blocks": 0, "events": 0, "bytes": 0, "skipped": 0}
    name = f"onetape-publish.{topic}"
    publisher = Publisher(to, name)  # shuts out who writes in transactions
    if not transaction_ms:
        publisher.close()
        publisher = Publisher(to)
    with publisher:
        there = _what_is_there(to, topic, shards)
        had = sum(one.ordinal + 1 for one in there)
        began_s = commit_s = time.perf_counter()
        open_bytes, committed = 0, 0

        def commit() -> None:
            """The count of blocks tells whether a commit came through whose answer did not."""
            nonlocal committed
            if not transaction_ms:
                return
            if made["blocks"] > committed:
                committed = made["blocks"]
                publisher.commit([Reached(topic, 0, had + committed)])

        for shard, block in blocks:
            header = read_header(block)
            if there[shard].has(block):
                made["skipped"] += 1
                continue
            if rate is not None:
                due_s = began_s + made["events"] / rate
                if due_s > time.perf_counter():
                    commit()
                    open_bytes = 0
                    time.sleep(max(0.0, due_s - time.perf_counter()))
            publisher.block(topic, stamped(block, time.time_ns()))
            made["blocks"] += 1
            made["events"] += header.count
            made["bytes"] += len(block)
            open_bytes += len(block)
            now_s = time.perf_counter()
            if open_bytes >= COMMIT_BYTES or now_s - commit_s >= transaction_ms / 1000:
                commit()
                open_bytes, commit_s = 0, now_s
            if progress is not None:
                progress.update(0, 0, made["events"], "events")
        for one in there:
            one.check_end()
        commit()
        publisher.flush()
    elapsed_s = time.perf_counter() - began_s
    return made | {"topic": topic, "shards": shards, "elapsed_s": round(elapsed_s, 6)}


def _what_is_there(to: Settings, topic: str, shards: int) -> list[There]:
    """Each shard, as it stands."""
    found = []
    for shard in range(shards):
        last = last_record(to, topic, shard)
        first = first_record(to, topic, shard) if last is not None else None
        ends = [one.value() if one is not None else b"" for one in (first, last)]
        found.append(There(f"topic {topic}", *ends))
    return found
