"""The topics of a job, looked at from here before it begins: what stream it is, where rows go."""

import time
from typing import Any

from onetape.codecs.block import MANIFEST, read_header, told_of
from onetape.connect.kafka.settings import Settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.connect.kafka.topics import Admin, last_record
from onetape.records import OperatorError

MANIFEST_S = 5.0


def manifest_in(known: Settings, topic: str) -> dict[str, Any] | None:
    """The manifest at the beginning of the topic; None: nothing has been written to it yet.

    OperatorError: there is no such topic, or it does not begin with a manifest.
    """
    partitions = Admin(known).existing(topic)
    with Subscriber(known, topic) as incoming:
        incoming.assign(dict.fromkeys(range(partitions)))
        end_s = time.monotonic() + MANIFEST_S
        while time.monotonic() < end_s and len(incoming.at_end) < partitions:
            for taken in incoming.take(0.1, at_most=1):
                if taken.offset == 0 and read_header(taken.value).kind != MANIFEST:
                    raise OperatorError(
                        f"topic {topic} does not begin with the manifest of a stream; a job reads "
                        "topics of blocks (onetape publish, docs/BLOCKS.md)"
                    )
                return told_of(taken.value) if taken.offset == 0 else None
    return None


def make_output(
    known: Settings, topic: str, manifest: dict[str, Any] | None, *, begins: bool
) -> None:
    """The topic for rows is there, with a partition for each shard if it is new.

    begins  the job starts from the beginning: OperatorError if rows are there, for they would come
            twice
    """
    admin = Admin(known)
    if admin.make(topic, manifest["shards"] if manifest else 1, exact=False) or not begins:
        return
    for partition in range(admin.partitions(topic)):
        if last_record(known, topic, partition) is not None:
            raise OperatorError(
                f"topic {topic} holds records, and the job would begin anew: what is there would "
                "come twice; go on with --from SAVEPOINT (or a checkpoint), or give another "
                "--topic-out"
            )
