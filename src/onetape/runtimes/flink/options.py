"""What `onetape run --on flink` takes beside what `run` takes, and what does not go with it."""

import argparse

from onetape.records import OperatorError
from onetape.runtimes.replay import parse_zero_or_more

# Of --kafka at the edge: Flink's own clients read and write, in blocks.
OF_THE_EDGE = {
    "encoding": "blocks",
    "encoding_out": "blocks",
    "dead_letters": None,
    "to_end": False,
    "transaction": 50,
}

CHECKPOINT_S = 1


def add_flink_options(parser: argparse.ArgumentParser) -> None:
    flink = parser.add_argument_group(
        "on a Flink cluster (docs/FLINK.md; first: onetape flink setup)"
    )
    flink.add_argument(
        "--parallelism", type=int, metavar="N", help="slots (default: one a shard of --shards)"
    )
    flink.add_argument(
        "--process", action="store_true", help="Python beside Java, not inside: isolated, slower"
    )
    flink.add_argument(
        "--from", dest="start", metavar="SAVEPOINT", help="or a checkpoint, to go on from"
    )
    flink.add_argument("--name", metavar="NAME", help="of the job (default: the pipeline's)")
    flink.add_argument(
        "--state", metavar="DIR", help="for checkpoints and logs of a cluster of this machine"
    )
    flink.add_argument(
        "--spares", type=int, default=0, metavar="N", help="TaskManagers that wait to take over"
    )
    flink.add_argument(
        "--block-events",
        type=parse_zero_or_more,
        default=0,
        metavar="N",
        help="events of a block made of --file",
    )
    flink.add_argument(
        "-D",
        dest="flink_settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of Flink for the job; again for more",
    )


def check(args: argparse.Namespace) -> None:
    """An option that would do nothing is refused, and what is missing is said."""
    if args.parallelism is None:
        args.parallelism = args.shards
    if args.parallelism < 1:
        raise OperatorError(f"--parallelism was {args.parallelism}; expected 1 or more")
    for name, default in OF_THE_EDGE.items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} is of a topic at the edge; leave it out with --on flink")
    if args.file and (args.kafka or args.topic or args.cluster):
        raise OperatorError(
            "--file runs on a cluster of this machine, without Kafka; for another cluster put the "
            "file's blocks into a topic first, and give --kafka, --topic and --topic-out"
        )
    if not args.file and not (args.kafka and args.topic and args.topic_out):
        raise OperatorError(
            "what shall the job read? --file FILE, or --kafka BROKERS --topic IN --topic-out OUT"
        )


def settings_of(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if bad := [name for name, equals, _ in pairs if not (name and equals)]:
        raise OperatorError(f"-D was {bad[0]!r}; expected KEY=VALUE (state.backend.type=hashmap)")
    return {name.strip(): value.strip() for name, _, value in pairs}
