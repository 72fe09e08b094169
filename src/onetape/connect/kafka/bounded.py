"""A call that may never come back, with an end.

`send_offsets_to_transaction` of librdkafka does not look at the time it was given while the group's
coordinator is away (github.com/confluentinc/librdkafka, issues 5456 and 5511). A thread of its own
makes such calls; one that does not return is left behind with what it holds.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any


class Stuck(Exception):
    """The call has not come back; what it was made on is not to be used again."""


class Bounded:
    """`bounded(call, within_s, *arguments)`: what the call returns or raises, or Stuck."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Any] | None = None

    def __call__(self, call: Callable[..., Any], within_s: float, *arguments: Any) -> Any:
        if self._asked is None:
            self._asked = queue.SimpleQueue()
            threading.Thread(target=_answer, args=(self._asked,), daemon=True).start()
        reply: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked.put((call, arguments, reply))
        try:
            made, failed = reply.get(timeout=within_s)
        except queue.Empty:
            self.close()  # the next call has another thread
            raise Stuck from None
        if failed is not None:
            raise failed
        return made

    def close(self) -> None:
        """The thread ends, when its call has."""
        if self._asked is not None:
            self._asked.put(None)
            self._asked = None


def _answer(asked: "queue.SimpleQueue[Any]") -> None:
    while (one := asked.get()) is not None:
        call, arguments, reply = one
        try:
            reply.put((call(*arguments), None))
        except BaseException as why:
            reply.put((None, why))
        del one, call, arguments, reply  # a client that nobody holds any more is closed
