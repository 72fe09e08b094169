"""The topics of a job, looked at from here before it begins: what stream it is, where rows go."""

import time
from typing import Any

from onetape.codecs.block import END, MANIFEST, BlockError, read_header, told_of
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
                if taken.offset == 0 and not _is_manifest(taken.value):
                    raise OperatorError(
                        f"topic {topic} does not begin with the manifest of a stream; a job reads "
                        "topics of blocks (onetape publish, docs/BLOCKS.md)"
                    )
                return told_of(taken.value) if taken.offset == 0 else None
    return None


def _is_manifest(record: bytes) -> bool:
    try:
        return read_header(record).kind == MANIFEST
    except BlockError:
        return False


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


class Ends:
    """Which shards have ended, as the topic of the rows says: END is the last of a shard.

    told  {shard: what its END says}
    """

    def __init__(self, known: Settings, topic: str) -> None:
        self._known, self._topic = known, topic
        self._at: dict[int, int | None] = dict.fromkeys(range(Admin(known).partitions(topic)))
        self.told: dict[int, dict[str, Any]] = {}
        self._shards = 0  # not known yet

    def look(self) -> bool:
        """Have all ended? OperatorError: no broker answers.

        It is in the last committed record of each partition, which is some 10 ms each. Of shards
        that share a partition all is read, once.
        """
        for partition in self._at:
            last = last_record(self._known, self._topic, partition)
            if last is not None:
                self._note(last.value())
        if self._shards > len(self._at):
            self._read()
        return 0 < self._shards == len(self.told)

    def _read(self) -> None:
        with Subscriber(self._known, self._topic) as incoming:
            incoming.assign(self._at)
            while len(incoming.at_end) < len(self._at):
                for taken in incoming.take():
                    self._note(taken.value)
            self._at |= incoming.next_offsets

    def _note(self, block: bytes) -> None:
        header = read_header(block)
        self._shards = header.shards
        if header.kind == END:
            self.told[header.shard] = told_of(block)
