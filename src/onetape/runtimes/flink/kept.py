"""What Flink keeps of a shard: a base, and the blocks that came since.

A turn changes a large part of a book's pages and takes in some ten kilobytes, so the input is the
smaller thing to write. When what came since outgrows the base, a new base is written in its place:
each byte of state is written twice at most for a byte of input. To restore is to load the base and
run what came since, whose rows are out already.

All of it is in one map from numbers to bytes. It is written before a turn's rows are handed over,
so whenever Flink takes a checkpoint the map and the rows agree.
"""

import json
from typing import Any, Protocol

from onetape.runtimes.code import Code
from onetape.runtimes.worker import Worker

META, CODE, SINCE = -1, -2, 1 << 32  # keys; from 0 the pieces of the base, from SINCE the blocks
SINCE_BYTES = 8 << 20  # of blocks, before there is a base at all


class State(Protocol):
    """A map in Flink's care, of the shard that is at work; or a dict."""

    def get(self, key: int, /) -> bytes | None: ...
    def put(self, key: int, value: bytes, /) -> None: ...
    def remove(self, key: int, /) -> None: ...


class Kept:
    """A shard at work: `worker` is the working copy, made of what is kept, and kept up with.

    code  of the pipeline that runs; what another version has kept is taken over, where its layout
          is the same
    """

    def __init__(self, worker: Worker, state: State, code: Code) -> None:
        self.worker = worker
        self.folds = 0
        self._pieces = self._blocks = self._base_bytes = self._since_bytes = 0
        self._code = code
        said = state.get(META)
        if said is None:
            state.put(CODE, code.text().encode())
            self._note(state)
        else:
            self._restore(state, json.loads(said))

    @property
    def size_bytes(self) -> int:
        """Of the base and the blocks since."""
        return self._base_bytes + self._since_bytes

    def turn(self, block: bytes, state: State) -> list[bytes]:
        """As `Worker.turn`; when it returns, `state` holds what the worker has come to."""
        was = self.worker.next_ordinal
        made = self.worker.turn(block)
        if self.worker.next_ordinal == was:
            return made  # it had come before
        state.put(SINCE + self._blocks, block)
        self._blocks += 1
        self._since_bytes += len(block)
        if self._since_bytes > max(self._base_bytes, SINCE_BYTES):
            self._fold(state)
        return made

    def _fold(self, state: State) -> None:
        base = self.worker.save()
        for n, piece in enumerate(base):
            state.put(n, piece)
        for n in range(len(base), self._pieces):
            state.remove(n)
        for n in range(self._blocks):
            state.remove(SINCE + n)
        self._pieces, self._base_bytes = len(base), sum(map(len, base))
        self._blocks = self._since_bytes = 0
        self.folds += 1
        self._note(state)

    def _note(self, state: State) -> None:
        """What the base is. How many blocks there are since is found by looking for them."""
        state.put(META, json.dumps([self._pieces, self._code.name]).encode())

    def _restore(self, state: State, facts: list[Any]) -> None:
        self._pieces, name = facts
        base = [self._found(state, n) for n in range(self._pieces)]
        since: list[bytes] = []
        while (block := state.get(SINCE + len(since))) is not None:
            since.append(block)
        self._blocks = len(since)
        self._base_bytes, self._since_bytes = sum(map(len, base)), sum(map(len, since))
        if name == self._code.name:
            _resume(self.worker, base, since)
            return
        before = Worker(Code(**json.loads(self._found(state, CODE))).pipeline())
        _resume(before, base, since)
        self.worker.restore(before.save(), upgrade=True)
        state.put(CODE, self._code.text().encode())
        self._fold(state)

    @staticmethod
    def _found(state: State, key: int) -> bytes:
        value = state.get(key)
        assert value is not None, f"entry {key} of a shard's state is gone"
        return value


def _resume(worker: Worker, base: list[bytes], since: list[bytes]) -> None:
    if base:
        worker.restore(base, since)
    else:
        for block in since:
            worker.turn(block)
