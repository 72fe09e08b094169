"""`onetape run PIPELINE --nats URL --stream IN --tape DIR`: blocks of a stream through a node.

With --stream-out the rows of every output go into another stream, as blocks, each once, and an END
block behind them: what Flink or a topic would give, with the same digests.
"""

import argparse
import sys
from contextlib import closing
from typing import Any

from onetape.connect.nats.events import EventReader
from onetape.connect.nats.link import Away, Link
from onetape.connect.nats.reader import shard_reader
from onetape.connect.nats.settings import settings
from onetape.connect.nats.sink import NatsSink
from onetape.connect.nats.streams import ensure
from onetape.connect.nats.writing import check_whose, publish_end
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.delivery import FOLDER
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.blocks import run_blocks
from onetape.runtimes.run.options import (
    BLOCKS,
    OF_FILE,
    OF_LIVE,
    check_needed,
    check_tape,
    saving,
)


def run_nats(pipeline: Pipeline, args: argparse.Namespace) -> dict[str, Any]:
    """Run the stream through a node; returns the facts `--json` prints."""
    for name, default in (OF_FILE | OF_LIVE).items():
        if name != "seconds" and getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} does not go with --nats; leave it out")
    if args.partitions is not None:
        raise OperatorError("--partitions is of recorded input; with --nats there is one part")
    if not args.stream:
        raise OperatorError("--nats needs the name of a stream (--stream NAME)")
    if args.stream_out == args.stream:
        raise OperatorError("--stream-out was the stream that is read; give it a name of its own")
    check_needed(args.tape, has_input=True)
    check_tape(args.tape, args.resume)
    with Link(settings(args.nats)) as link:
        out = args.stream_out
        if out:
            ensure(link, out)
            check_whose(link, out, pipeline.outputs, args.tape / FOLDER if args.resume else None)
        sink = NatsSink(args.nats, out, events=False) if out else None
        with closing(_reader(link, pipeline, args)) as reader:
            facts = run_blocks(
                pipeline,
                reader,
                args.tape,
                progress=Progress(quiet=args.json),
                out=args.out,
                also=lambda _: [sink] if sink else [],
                resume=args.resume,
                seconds=args.seconds,
                **saving(args),
            )
        if not facts["is_over"]:
            print("onetape: ended; go on with the same command and --resume", file=sys.stderr)
        elif out:
            _end(link, out, facts)
    return facts


def _reader(link: Link, pipeline: Pipeline, args: argparse.Namespace) -> Any:
    if args.encoding == BLOCKS:
        if args.subject:
            raise OperatorError("--subject is of one event a message (--encoding json)")
        return shard_reader(link, args.stream, 0, args.tape)
    sources = pipeline.sources
    if len(sources) != 1 or sources[0].feed or sources[0].table is not None:
        names = ", ".join(source.name for source in sources)
        raise OperatorError(
            f"--encoding {args.encoding} is one event a message, of one source of a record "
            f"(ot.source(mk.Trade)); the pipeline has {names}"
        )
    subject, encoding = args.subject or ">", args.encoding
    return EventReader(link, args.stream, subject, sources[0], encoding, args.tape)


def _end(link: Link, out: str, facts: dict[str, Any]) -> None:
    told = {"events": facts["messages"], "state_digest": facts["state_digest"]}
    told |= {"late": facts["late"], "bad": facts["bad_frames"] + facts["bad_events"]}
    try:
        is_told = publish_end(link, out, facts["rows"], told)
    except Away as why:
        print(f"onetape: {why}", file=sys.stderr)
        is_told = False
    if not is_told:
        print(
            f"onetape: rows wait for stream {out}; a run with --resume delivers them, and its END",
            file=sys.stderr,
        )
