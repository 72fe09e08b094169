"""What `onetape run` takes: its options, and which of them go together."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onetape.codecs.event import ENCODINGS
from onetape.connect.udp import LOOPBACK, RECEIVE_BUFFER_BYTES, Address, parse_address
from onetape.engine.partition import BY
from onetape.records import OperatorError
from onetape.runtimes.edge.words import STRATEGIES
from onetape.runtimes.flink.options import add_flink_options
from onetape.runtimes.replay import parse_date, parse_zero_or_more
from onetape.runtimes.run.on import add_on_options
from onetape.runtimes.schema import add_registry_options
from onetape.runtimes.settings import add_options
from onetape.tape.checkpoint_keep import DEFAULT, Retention
from onetape.tape.inspect import is_open

DESCRIPTION = """\
Run a pipeline at the edge: the compiled loop puts each read of the source on the tape, runs it and
publishes the rows; a journal thread makes the tape durable. The source is a recorded ITCH file, at
a multiple of its own pace (--speed) or as fast as it goes; or a live feed (--udp): MoldUDP64 on one
or more lines that carry the same numbers, missing messages asked for again (--rerequest), rows sent
on at once as datagrams (--send); or a Kafka topic (--kafka, --topic), rows written to another
(--topic-out) exactly once. The tape in DIR can be replayed and verified ever after: onetape
verify PIPELINE DIR. While it runs, `onetape top DIR` shows what it does.

A live run ends with the venue's session, after --seconds, or by Ctrl-C, and tells its figures: exit
status 0. A file that Ctrl-C cuts short is 130: go on with --resume.
"""
EXAMPLES = """\
examples:
  onetape run pipeline.py --file day.itch --tape tape/ --out out/
  onetape run pipeline.py --simulate --seconds 5 --seed 1
  onetape run standard --kafka 127.0.0.1:9092 --topic itch --topic-out rows --tape tape/
  onetape run standard --udp 239.192.0.1:5000 --udp 239.192.0.2:5000 --tape tape/ \\
      --rerequest 127.0.0.1:5001 --send alert=127.0.0.1:9000
  onetape run standard --nats nats://127.0.0.1:4222 --stream DAY --stream-out ROWS --tape tape/
  onetape run pipeline.py --on sail --file day.itch --out out/ --shards 4

Wait strategies: sleep (a datagram wakes the loop: near no processor while idle, some microseconds
more latency), yield, spin (least latency, one processor all of the time: leave another for the
journal). --cpu and --realtime help on machines with processors to spare and hurt on others.
"""


CHECKPOINT_S = 30

# What an option is when it is not given, of those that only a file or only a live feed has.
OF_FILE: dict[str, Any] = {"speed": None}
BLOCKS = "blocks"
OF_NATS = {"stream": None, "stream_out": None, "subject": None}
OF_LIVE: dict[str, Any] = {
    "rerequest": None,
    "send": [],
    "interface": LOOPBACK,
    "receive_buffer": RECEIVE_BUFFER_BYTES,
    "wait": "sleep",
    "commit_every": 0,
    "cpu": None,
    "realtime": None,
    "seconds": None,
}


def add_run_parser(subparsers: Any, run: Callable[[argparse.Namespace], int]) -> None:
    parser = subparsers.add_parser(
        "run",
        help="run a pipeline at the edge, on a tape",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    parser.add_argument("pipeline", metavar="PIPELINE", help="a Python file, or 'standard'")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--file",
        action="append",
        metavar="FILE",
        help="ITCH 5.0 to feed, or FIX 4.4 of a drop copy; of several feeds NAME=FILE, again for "
        "each (--file fix=drop.fix --file itch=day.itch)",
    )
    source.add_argument(
        "--udp",
        action="append",
        default=None,
        metavar="ADDRESS",
        help="listen to a line of a live feed: HOST:PORT, a group or an address of this machine; "
        "again for its second line",
    )
    source.add_argument(
        "--simulate",
        action="store_true",
        help="the simulated twin of the venues that the pipeline names (binance:BTCUSDT)",
    )
    source.add_argument(
        "--kafka", metavar="BROKERS", help="read a topic (--topic) of the brokers HOST:PORT,..."
    )
    source.add_argument(
        "--from-lake", metavar="URL", help="with --on: a tape table, in a folder or at s3://..."
    )
    source.add_argument(
        "--nats", metavar="URL", help="blocks of a stream of NATS: nats://HOST:4222, tls://..."
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of --simulate (default: 1)")
    parser.add_argument(
        "--tape", type=Path, metavar="DIR", help="a new folder; only --simulate goes without"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="Parquet files of the outputs")
    parser.add_argument(
        "--speed",
        type=parse_zero_or_more,
        help="x the input's own pace; 0: as fast as it goes (default: 0; with --simulate: 1)",
    )
    parser.add_argument("--date", type=parse_date, metavar="YYYY-MM-DD", help="trading date")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was interrupted, same options"
    )
    parser.add_argument(
        "--checkpoint",
        type=parse_zero_or_more,
        default=None,
        metavar="S",
        help=f"seconds between checkpoints (default: {CHECKPOINT_S}, on Flink 1; 0: none)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="URL",
        help="bring them to s3://BUCKET/PREFIX too, beside the tape's folder",
    )
    parser.add_argument(
        "--retain",
        type=parse_retention,
        default=DEFAULT,
        metavar="N[,HOURS[,DAYS]]",
        help="keep the newest N checkpoints, and the last of each hour and day (default: 4,24,7)",
    )
    add_registry_options(parser)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parts = parser.add_argument_group(
        "in parts, over recorded input: the same rows on several cores"
    )
    parts.add_argument("--partitions", type=int, metavar="N", help="parts by key, a thread each")
    parts.add_argument(
        "--partition-by", default=BY, metavar="FIELD", help="the key (default: %(default)s)"
    )
    add_topic_options(parser.add_argument_group("from a Kafka topic, and into others"))
    live = parser.add_argument_group("a live feed")
    live.add_argument("--rerequest", metavar="ADDRESS", help="ask here for what is missing")
    live.add_argument(
        "--send", action="append", default=[], metavar="OUTPUT=ADDRESS", help="send its rows here"
    )
    live.add_argument(
        "--interface", default=LOOPBACK, metavar="IP", help="of groups (default: %(default)s)"
    )
    live.add_argument(
        "--receive-buffer",
        type=int,
        default=RECEIVE_BUFFER_BYTES,
        metavar="BYTES",
        help="of each line's socket (default: %(default)s)",
    )
    live.add_argument("--wait", choices=STRATEGIES, default="sleep", help="(default: %(default)s)")
    live.add_argument(
        "--commit-every",
        type=float,
        default=0,
        metavar="MS",
        help="of the journal, at most (default: as often as the disk allows)",
    )
    live.add_argument("--cpu", type=int, metavar="N", help="keep the loop on this processor")
    live.add_argument("--realtime", type=int, metavar="PRIORITY", help="1 to 99 (SCHED_FIFO)")
    live.add_argument("--seconds", type=parse_zero_or_more, metavar="S", help="end after this time")
    nats = parser.add_argument_group("blocks of NATS JetStream (onetape nats publish makes them)")
    nats.add_argument("--stream", metavar="NAME", help="where they are; it has one shard")
    nats.add_argument(
        "--stream-out", metavar="NAME", help="where the rows of all outputs go, as blocks"
    )
    nats.add_argument(
        "--subject", metavar="SUBJECT", help="of one event a message: some of the stream"
    )
    add_on_options(parser)
    add_flink_options(parser)
    parser.set_defaults(run=run)


def add_topic_options(group: Any) -> None:
    """Those of --kafka; docs/KAFKA.md tells what they mean together."""
    encodings = ("blocks", *ENCODINGS)
    group.add_argument("--topic", metavar="TOPIC", help="to read")
    group.add_argument("--topic-out", metavar="TOPIC", help="to write the rows to")
    group.add_argument(
        "--encoding",
        choices=encodings,
        default="blocks",
        help="of --topic or --stream: blocks, or one event a record (default: %(default)s)",
    )
    group.add_argument(
        "--encoding-out",
        choices=encodings,
        default="blocks",
        help="of the rows; one event a record goes to a topic an output, TOPIC.OUTPUT",
    )
    group.add_argument(
        "--dead-letters", metavar="TOPIC", help="for records that cannot be read, with the reason"
    )
    group.add_argument("--to-end", action="store_true", help="end where --topic ends now")
    group.add_argument(
        "--transaction",
        type=float,
        default=50,
        metavar="MS",
        help="between commits of the rows (default: %(default)s); 0: blocks go out as soon as they "
        "are made, without transactions",
    )
    group.add_argument(
        "--kafka-options", type=Path, metavar="FILE", help="lines NAME = VALUE for librdkafka"
    )


def check_needed(tape: Path | None, *, has_input: bool) -> None:
    """All that is missing, said at once."""
    missing = []
    if not has_input:
        missing.append(
            "there is nothing to run on: give a file (--file FILE) or the lines of a live feed "
            "(--udp HOST:PORT), or name one in the pipeline: source('itch:FILE') or "
            "source('itch+udp://HOST:PORT')"
        )
    if tape is None:
        missing.append("there is no folder for the tape: give a new one (--tape DIR)")
    if missing:
        raise OperatorError("; ".join(missing))


OF_TOPIC: dict[str, Any] = {
    "topic": None,
    "topic_out": None,
    "encoding": "blocks",
    "encoding_out": "blocks",
    "dead_letters": None,
    "to_end": False,
    "transaction": 50,
    "kafka_options": None,
}


def check_topic_options(args: argparse.Namespace) -> None:
    """Options of --kafka without it, and of others with it, would do nothing: refused."""
    if args.kafka is None:
        of_others = {n: d for n, d in OF_TOPIC.items() if n != "encoding" or not args.nats}
        said = "is of a Kafka topic (--kafka BROKERS --topic TOPIC)"
    else:
        of_others = {n: d for n, d in (OF_FILE | OF_LIVE).items() if n != "seconds"}
        of_others |= {"partitions": None, "date": None, "seed": None}
        said = "does not go with --kafka"
        if args.topic is None:
            raise OperatorError(
                "--kafka says where the brokers are; say what to read: --topic TOPIC"
            )
    for name, default in of_others.items():
        if getattr(args, name) != default:
            raise OperatorError(f"--{name.replace('_', '-')} {said}; leave it out")
    if args.kafka is None:
        return
    if args.encoding == "blocks" and (args.dead_letters or args.to_end):
        raise OperatorError(
            "--dead-letters and --to-end are of topics with one event a record (--encoding json, "
            "avro, protobuf): a block is whole or an error, and a stream of blocks says its end"
        )
    if not 0 <= args.transaction <= 60_000:
        raise OperatorError(f"--transaction was {args.transaction:g} ms; expected 0 to 60000")
    if args.transaction == 0 and (args.encoding, args.encoding_out) != ("blocks", "blocks"):
        raise OperatorError(
            "--transaction 0 is for blocks in and out: they are numbered, so rows that come again "
            "are known; one event a record needs a transaction (50 ms, if it is left out)"
        )


def check_options(args: argparse.Namespace, *, is_live: bool) -> None:
    """An option that would do nothing is refused."""
    if args.seed is not None:
        raise OperatorError("--seed is of a simulated run (--simulate); leave it out")
    for name, default in (OF_FILE if is_live else OF_LIVE).items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(
                f"{option} is of a recorded file (--file); a live feed comes at its own pace"
                if is_live
                else f"{option} is of a live feed (--udp); with a file it would do nothing, so "
                "leave it out" + (" (rows go to --out DIR)" if name == "send" else "")
            )


def check_not_nats(args: argparse.Namespace) -> None:
    """Without --nats its options would do nothing."""
    for name, default in OF_NATS.items():
        if getattr(args, name) != default:
            raise OperatorError(f"--{name.replace('_', '-')} is of NATS; say where it is (--nats)")


def check_tape(tape: Path, resume: bool) -> None:
    """Before anything is compiled: can there be a new tape, or this one go on?"""
    if is_open(str(tape)):
        pid = (tape / "lock").read_text().strip()
        raise OperatorError(
            f"{tape} is the tape of a run that goes on (pid {pid}): watch it with onetape top "
            f"{tape}, end it with kill {pid}, or give a new folder"
        )
    if tape.exists() and not tape.is_dir():
        raise OperatorError(f"--tape {tape} is a file; give a new folder")
    if not resume and (tape / "manifest").exists():
        raise OperatorError(f"{tape} holds a tape; give a new folder, or go on with it (--resume)")
    if not resume and tape.is_dir() and any(tape.iterdir()):
        raise OperatorError(f"--tape {tape} is not empty; give a new folder")


def given(files: list[str] | None) -> Any:
    """What --file says: None, a path, or {source: path}."""
    if not files:
        return None
    if len(files) == 1 and ("=" not in files[0] or Path(files[0]).exists()):
        return Path(files[0])
    pairs = [text.partition("=") for text in files]
    if bad := [name for name, equals, path in pairs if not (name and equals and path)]:
        raise OperatorError(f"--file was {bad[0]!r} among several; expected NAME=FILE for each")
    return {name: Path(path) for name, _, path in pairs}


def saving(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a node that are about checkpoints."""
    if args.checkpoints and not args.checkpoint:
        raise OperatorError("--checkpoint 0 makes none, and --checkpoints says where they go")
    return {
        "checkpoint_every_s": args.checkpoint,
        "retention": args.retain,
        "checkpoints": args.checkpoints,
    }


def _sink(text: str) -> tuple[str, Address]:
    output, equals, address = text.partition("=")
    if not equals or "//" in output:
        raise OperatorError(f"--send was {text!r}; expected OUTPUT=HOST:PORT")
    if "//" in address:
        raise OperatorError(
            f"--send was {text!r}, and sends datagrams, to HOST:PORT; rows go to a web address "
            f"from the pipeline itself: {output}=stream >> ot.webhook({address!r})"
        )
    return output, parse_address(address)


def sends(texts: list[str]) -> dict[str, Address]:
    pairs = [_sink(text) for text in texts]
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise OperatorError(
            f"--send was given twice for {twice[0]}; expected one address an output: a multicast "
            "group has any number of listeners"
        )
    return dict(pairs)


def parse_retention(text: str) -> Retention:
    numbers = text.split(",")
    if not 1 <= len(numbers) <= 3 or not all(n.isdecimal() for n in numbers) or int(numbers[0]) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected N[,HOURS[,DAYS]], N at least 1")
    return Retention(*[int(n) for n in [*numbers, "0", "0"][:3]])
