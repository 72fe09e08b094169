"""From one topic to others: each record taken, what is made of it, and how far it got, together.

    def turn(taken): return [Record("out", taken.value.upper(), taken.partition)]

    with Subscriber(to, "in", group="upper") as incoming, Publisher(to, "upper-1") as outgoing:
        pass_on(incoming, outgoing, turn)

Members of the group may come, go and be killed: a record's offset is committed in the transaction
that has what was made of it, by the one member that the partition is of; so nothing is lost and
nothing doubled. `turn` must hold no state of its own between records, because another member may
take the next one. Where there is state, `onetape run` keeps it, on a tape.
"""

import time
from collections.abc import Callable, Iterable

from onetape.connect.kafka.publisher import Publisher, Record
from onetape.connect.kafka.subscriber import Subscriber, Taken


def pass_on(
    incoming: Subscriber,
    outgoing: Publisher,
    turn: Callable[[Taken], Iterable[Record]],
    *,
    every_s: float = 0.1,
    goes_on: Callable[[], bool] = lambda: True,
) -> int:
    """Until `goes_on` says no; returns how many records were passed on.

    outgoing   with a transactional id of this member alone
    every_s    between commits

    OperatorError: the brokers stay away, or this member was shut out: start it again.
    """
    passed = waiting = 0

    def commit() -> None:
        nonlocal passed, waiting
        if waiting:
            outgoing.commit(incoming.reached(), incoming.group)
            passed, waiting = passed + waiting, 0

    def lost(is_ours: bool) -> None:
        nonlocal waiting
        if is_ours:
            commit()
        elif waiting:
            outgoing.abort()
            waiting = 0

    incoming.subscribe(lost)
    due_s = time.monotonic() + every_s
    while goes_on():
        for taken in incoming.take(min(every_s, 0.05)):
            for record in turn(taken):
                outgoing.put(record)
            waiting += 1
        if time.monotonic() >= due_s:
            commit()
            due_s = time.monotonic() + every_s
    commit()
    return passed
