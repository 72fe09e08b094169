"""`onetape consume`: the rows that a node, or any engine, has written into a topic as blocks."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from onetape.connect.kafka.settings import Settings, settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.connect.kafka.topics import Admin
from onetape.connect.sinks import ParquetFileSink
from onetape.connect.sinks.taking import Output, Taker
from onetape.engine.graph import Pipeline
from onetape.native.interrupts import noting_interrupts
from onetape.runtimes.answer import Answer
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.publish import add_kafka_options

DESCRIPTION = """\
Read the rows that were written into a topic as blocks, from its beginning, those that are
committed. The same pipeline tells what is in them. A block that is missing, came twice or was
damaged is an error. It ends when all shards have ended, after --seconds, or by Ctrl-C; then it
tells the digests, which are those of the same input run in any other way.
"""
EXAMPLES = """\
examples:
  onetape consume standard --kafka 127.0.0.1:9092 --topic rows
  onetape consume standard --kafka 127.0.0.1:9092 --topic rows --quiet --out out/
  onetape consume standard --kafka 127.0.0.1:9092 --topic rows --quiet --to-end --json
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "consume",
        help="print the rows that are in a Kafka topic, and their digests",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    add_kafka_options(parser, required=True)
    parser.add_argument("--topic", required=True, metavar="TOPIC", help="of blocks of rows")
    parser.add_argument("--output", metavar="NAME", help="print rows of this output only")
    parser.add_argument("--out", type=Path, metavar="DIR", help="Parquet files of the outputs")
    parser.add_argument("--quiet", action="store_true", help="print no rows")
    parser.add_argument("--to-end", action="store_true", help="end where the topic ends now")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after this time")
    parser.add_argument(
        "--json", action="store_true", help="rows as JSON, and one object at the end"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    pipeline = load_pipeline(args.pipeline)
    printers = _printers(pipeline, args)
    with ExitStack() as stack:
        files: dict[str, Taker] = {}
        if args.out is not None:
            for name, stream in pipeline.outputs.items():
                files[name] = ParquetFileSink(str(args.out)).open(
                    Output(name, stream.of, None, pipeline.rules)
                )
                stack.callback(files[name].close)
        answer = Answer(pipeline)
        began_s = time.perf_counter()
        for name, rows, origins in taken(
            settings(args.kafka, args.kafka_options),
            args.topic,
            answer,
            to_end=args.to_end,
            seconds=args.seconds,
        ):
            if name in printers:
                printers[name](rows)
            if name in files:
                files[name].take(rows, origins)
        for file in files.values():
            file.finish()
    facts = facts_of(answer, time.perf_counter() - began_s)
    if args.json:
        print(json.dumps(facts))
    else:
        for name, digest in facts["digests"].items():
            print(f"  {name:12s} {facts['rows'][name]:>12,} rows   digest {digest}")
        if not facts["complete"]:
            print("onetape: not all shards have ended", file=sys.stderr)
    return 0


def taken(
    where: Settings,
    topic: str,
    answer: Answer,
    *,
    to_end: bool = False,
    seconds: float | None = None,
) -> Iterator[tuple[str, Any, Any]]:
    """(output, rows, origins) of a topic from its beginning, through `answer`, until it is whole.

    BlockError: a block is lost, doubled or damaged. OperatorError: the brokers stay away.
    """
    partitions = Admin(where).existing(topic)
    end_s = time.monotonic() + (float("inf") if seconds is None else seconds)
    with Subscriber(where, topic) as incoming, noting_interrupts() as asked:
        incoming.assign(dict.fromkeys(range(partitions)))
        while not (answer.is_complete or asked.is_set() or time.monotonic() > end_s):
            for record in incoming.take(0.1):
                made = answer.take(record.value)
                if made is not None:
                    yield made
            if to_end and len(incoming.at_end) == partitions:
                return


def facts_of(answer: Answer, elapsed_s: float) -> dict[str, Any]:
    """What the blocks came to, as `--json` prints it."""
    return {
        "complete": answer.is_complete,
        "shards": answer.shards,
        "events": answer.events,
        "rows": answer.rows,
        "digests": answer.digests,
        "state_digests": answer.state_digests,
        "elapsed_s": round(elapsed_s, 6),
    }


def _printers(pipeline: Pipeline, args: argparse.Namespace) -> dict[str, Any]:
    """{output: what prints a block of its rows}."""
    if args.quiet:
        return {}

    def printer(output: Output) -> Any:
        def show(rows: Any) -> None:
            for told in output.dicts(rows):
                if args.json:
                    print(json.dumps({"output": output.name} | told))
                else:
                    fields = "  ".join(f"{k} {v}" for k, v in told.items())
                    print(f"{output.name}  {fields}")

        return show

    return {
        name: printer(Output(name, stream.of, None, pipeline.rules))
        for name, stream in pipeline.outputs.items()
        if args.output in (None, name)
    }
