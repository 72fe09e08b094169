"""A member of a group that passes records on, as a process of its own: to be stopped and killed.

python -m tests.connect.kafka_member BROKERS IN OUT GROUP MEMBER
"""

import signal
import sys
import threading

from onetape.connect.kafka.passing import pass_on
from onetape.connect.kafka.publisher import Publisher, Record
from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Subscriber


def main(brokers, topic, topic_out, group, member):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def turn(taken):
        yield Record(topic_out, taken.value + b" by " + member.encode(), taken.partition)

    to = settings(brokers)
    with Subscriber(to, topic, group=group) as incoming, Publisher(to, member) as outgoing:
        print("ready", flush=True)
        pass_on(incoming, outgoing, turn, goes_on=lambda: not stop.is_set())


if __name__ == "__main__":
    main(*sys.argv[1:])
