"""`onetape nats`: a recorded input into a stream, and what a stream of rows comes to."""

import argparse
import json
import secrets
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from onetape.connect.nats.link import Link
from onetape.connect.nats.publisher import publish_blocks
from onetape.connect.nats.reader import Reader
from onetape.connect.nats.settings import settings
from onetape.connect.nats.streams import existing
from onetape.records import OperatorError
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import EVENTS
from onetape.runtimes.load import load_pipeline
from onetape.runtimes.publish import blocks_given
from onetape.runtimes.replay import parse_date

DESCRIPTION = "Streams of NATS JetStream that hold blocks: of an input, or of what was made of one."
EXAMPLES = """\
examples:
  onetape nats publish standard --file day.itch --nats nats://127.0.0.1:4222 --stream DAY
  onetape run standard --nats nats://127.0.0.1:4222 --stream DAY --stream-out ROWS --tape tape/
  onetape nats digests standard --nats nats://127.0.0.1:4222 --stream ROWS

A publisher that was cut short goes on when it is started again: no block is there twice. Who we
are: ONETAPE_NATS_USER and ONETAPE_NATS_PASSWORD, or ONETAPE_NATS_TOKEN; TLS: ONETAPE_NATS_CA.
"""


WAIT_S = 0.1


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "nats",
        help="put a recorded input into a stream of NATS, or check a stream of rows",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    words = parser.add_subparsers(metavar="WHAT", required=True)
    publish = words.add_parser("publish", help="a recorded input into a stream, as blocks")
    _add_where(publish)
    source = publish.add_mutually_exclusive_group()
    source.add_argument(
        "--file", action="append", metavar="FILE", help="as of onetape run; of several NAME=FILE"
    )
    source.add_argument("--from-tape", type=Path, metavar="TAPE", help="what a run has recorded")
    publish.add_argument("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date")
    publish.add_argument(
        "--events", type=int, default=EVENTS, metavar="N", help="of a block (default: %(default)s)"
    )
    publish.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="of a new stream (default: 1)"
    )
    publish.set_defaults(run=run_publish)
    digests = words.add_parser("digests", help="read a stream of rows to its end; its digests")
    _add_where(digests)
    digests.set_defaults(run=run_digests)


def _add_where(parser: Any) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    parser.add_argument("--nats", required=True, metavar="URL", help="nats://HOST:4222, tls://...")
    parser.add_argument("--stream", required=True, metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_publish(args: argparse.Namespace) -> int:
    pipeline = load_pipeline(args.pipeline)
    blocks = blocks_given(pipeline, args, events=args.events)
    began_s = time.perf_counter()
    with Link(settings(args.nats)) as link:
        made = publish_blocks(link, args.stream, blocks, args.replicas)
    facts = {"stream": args.stream, "blocks": made.blocks, "events": made.events}
    facts |= {"bytes": made.size_bytes, "there_before": made.there_before}
    facts["elapsed_s"] = round(time.perf_counter() - began_s, 6)
    if args.json:
        print(json.dumps(facts))
    else:
        before = f"; {made.there_before:,} were there" if made.there_before else ""
        print(
            f"{made.blocks:,} blocks, {made.events:,} events, {made.size_bytes / 1e6:,.1f} MB in "
            f"{facts['elapsed_s']:.2f} s to {args.stream}{before}"
        )
    return 0


def run_digests(args: argparse.Namespace) -> int:
    answer = Answer(load_pipeline(args.pipeline))
    consumer, subject = f"onetape-digests-{secrets.token_hex(6)}", f"{args.stream}.shard.>"
    with ExitStack() as stack:
        link = stack.enter_context(Link(settings(args.nats)))
        made = existing(link, args.stream, keeps=True)
        reader = stack.enter_context(closing(Reader(link, args.stream, subject, consumer, made)))
        reader.begin(0)
        while not answer.is_complete:
            is_last = reader.is_at_end
            came = reader.read(WAIT_S)
            for _, block in came:
                answer.take(block)
            if is_last and not came:
                break
    if not answer.is_complete:
        raise OperatorError(
            f"stream {args.stream} has {sum(answer.rows.values()):,} rows and no end: what makes "
            "them goes on, or was cut short (--resume)"
        )
    if args.json:
        told = {"digests": answer.digests, "rows": answer.rows}
        print(json.dumps(told | {"state_digests": answer.state_digests, "events": answer.events}))
    else:
        for name, digest in answer.digests.items():
            print(f"  {name:12s} {answer.rows[name]:>12,} rows   digest {digest}")
    return 0
