"""Topics for tests: names that meet no other test's, and all that is committed in one."""

import itertools
import time

from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.connect.kafka.topics import Admin

WITHIN_S = 60
_numbers = itertools.count()


def made(server, name, partitions=1):
    """A new topic; its whole name."""
    whole = f"{name}-{next(_numbers)}-{time.time_ns()}"
    assert Admin(settings(server.address)).make(whole, partitions)
    return whole


def wait_for(condition, what, within_s=WITHIN_S):
    end_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"{what}: not within {within_s} s"
        time.sleep(0.02)
    return found


def everything(server, topic, partitions=1, *, read_committed=True, to=None):
    """All records that are there now, in order for each partition."""
    with Subscriber(
        to or settings(server.address), topic, read_committed=read_committed
    ) as incoming:
        incoming.assign(dict.fromkeys(range(partitions)))
        found, end_s = [], time.monotonic() + WITHIN_S
        while len(incoming.at_end) < partitions:
            found += incoming.take(0.1)
            assert time.monotonic() < end_s, f"{topic} has no end"
    return found
