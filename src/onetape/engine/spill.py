"""State larger than memory: what was not seen for long is put away, and comes back when it is seen.

    Sums(deals, memory="256MB", capacity={"keys": 50_000_000})

A node holds as many keys as fit into its `memory`; the others' state lies in a store. Before an
event may touch any state the driver looks whether its key is at hand. If it may be in the store,
the driver returns (FETCH), the key is brought with those that the same frame asks for next, and the
driver goes on with the same event. When there is no room (AT_CAPACITY), the eighth that was not
seen for longest is put away. The answer is that of a run in which everything fits: where a key lies
is no part of it.

A filter knows which keys may have been put away: 16 bits a key, of which four are set. So a key
that is new costs no look into the store, but for one in some hundred. Keys with a timer stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from onetape.compiled.bits import mix, shift_right
from onetape.compiled.index import COUNT, LIMIT, find, held_slots
from onetape.compiled.kernel import kernel
from onetape.engine.keyed import DIRECT, give_back, slot_known, slot_only
from onetape.records.declare import raw_rows

SPILLED, WANTED, IS_ABSENT, ABSENT = range(4)  # words of a node
WORDS = 8
FILTER_BITS = 16  # a key
AHEAD_SHARE, AWAY_SHARE = 4, 8  # of the keys at hand: at most brought at once; put away at once
LEAST_KEYS = 16
CHUNK_KEYS = 1 << 14


class Store(Protocol):
    """Rows of bytes by key, outside of the engine's memory."""

    def put(self, keys: Any, rows: Any) -> None:
        """Keep a row a key: int64[n], uint8[n, size]."""

    def get(self, keys: Any) -> tuple[Any, Any]:
        """(keys, rows) of those that are there."""

    def chunks(self, count: int) -> Iterator[tuple[Any, Any]]:
        """All of it, at most `count` keys at a time."""

    def clear(self) -> None:
        """Nothing is there any more."""


class DictStore:
    """A store in memory: where no other is given, as in tests."""

    def __init__(self, size: int) -> None:
        self.size, self.rows = size, dict[int, bytes]()

    def put(self, keys: Any, rows: Any) -> None:
        self.rows |= zip(keys.tolist(), map(bytes, rows), strict=True)

    def get(self, keys: Any) -> tuple[Any, Any]:
        return self._block([key for key in keys.tolist() if key in self.rows])

    def chunks(self, count: int) -> Iterator[tuple[Any, Any]]:
        keys = list(self.rows)
        for at in range(0, len(keys), count):
            yield self._block(keys[at : at + count])

    def clear(self) -> None:
        self.rows.clear()

    def _block(self, keys: list[int]) -> tuple[Any, Any]:
        data = b"".join(self.rows[key] for key in keys)
        rows = np.frombuffer(data, np.uint8).reshape(len(keys), self.size)
        return np.array(keys, np.int64), rows


def filter_words(keys: int) -> int:
    """int64 words of the filter of a node that may know `keys` keys: whole groups of eight."""
    return 8 * -(-keys * FILTER_BITS // 512)


def bytes_for(node: Any, keys: int) -> int:
    """Memory in which `keys` keys of an operator are at hand."""
    each = node.spec.state.itemsize + 8 + 8 + 128 + (32 if node.is_timed() else 0)
    return int(8 * DIRECT + 8 * filter_words(node.capacity["keys"]) + keys * each)


def row_and_keys(node: Any) -> tuple[int, int]:
    """Bytes of a key's state, and how many keys the node may know."""
    return node.spec.state.itemsize, node.capacity["keys"]


def keys_at_hand(node: Any) -> int:
    """How many keys fit into the node's memory, of those that it may know; 0: not even a few."""
    fixed = bytes_for(node, 0)
    fit = (node.keeping.memory_bytes - fixed) // (bytes_for(node, 1) - fixed)
    return min(node.capacity["keys"], fit) if fit >= LEAST_KEYS else 0


class Spill:
    """One node's keys at hand (its arrays) and those in its store."""

    def __init__(self, engine: Any, number: int, store: Store) -> None:
        self.engine, self.store = engine, store
        self.node = engine.plan.pipeline.nodes[number]
        names = ("direct", "index", "keys", "state", "seen", "filter", "spill")
        arrays = (engine.arrays[f"n{number}_{name}"] for name in names)
        self.direct, self.index, self.keys, self.state, self.seen, self.filter, self.words = arrays
        self.timers = engine.arrays.get(f"n{number}_timers")
        self.most = len(self.keys) - keys_at_hand(self.node)  # new keys that one root can bring

    def make_room(self) -> bool:
        """Put some away for the next event; False: there is no room left, here or in all."""
        return self.has_room() and self._put_away(self.most)

    def has_room(self) -> bool:
        """May it know more keys, wherever they lie?"""
        known = int(self.index[COUNT]) + int(self.words[SPILLED])
        return known <= int(self.node.capacity["keys"])

    def fetch(self, ahead: Any) -> bool:
        """Bring the key that is wanted, and some that are asked for next; False: no room."""
        wanted, now = int(self.words[WANTED]), int(self.engine.run["events"][0])
        at_hand = np.zeros(len(ahead), np.int64)
        find_all(self.index, ahead, at_hand)
        self.seen[at_hand[at_hand >= 0]] = now - 1  # these are not put away now
        some = ahead[at_hand < 0]
        some = some[some != wanted][: len(self.keys) // AHEAD_SHARE]
        keys, rows = self.store.get(np.array([wanted, *np.unique(some).tolist()], np.int64))
        if not len(keys) or keys[0] != wanted:
            self.words[ABSENT], self.words[IS_ABSENT] = wanted, 1
        if not len(keys):
            return True
        if not self._put_away(len(keys) + self.most):
            keys, rows = keys[:1], rows[:1]
            if not self._put_away(1):
                return False
        slots = np.zeros(len(keys), np.int64)
        add_all(self.direct, self.index, self.keys, keys, slots)
        self._bytes()[slots] = rows
        self.seen[slots] = np.where(keys == wanted, now, now - 1)
        self.words[SPILLED] -= len(keys)
        return True

    def chunks(self) -> Iterator[tuple[Any, Any]]:
        """(keys, states) of those that are put away."""
        for keys, rows in self.store.chunks(CHUNK_KEYS):
            at_hand = np.zeros(len(keys), np.int64)
            find_all(self.index, keys, at_hand)
            away = at_hand < 0  # of the others an old state lies there
            yield keys[away], np.ascontiguousarray(rows[away]).view(self.state.dtype).reshape(-1)

    def saved(self) -> tuple[Any, Any]:
        """All that is put away, as arrays."""
        found = [*self.chunks(), (np.zeros(0, np.int64), self.state[:0])]
        states = np.concatenate([raw_rows(s) for _, s in found]).view(self.state.dtype)
        return np.concatenate([k for k, _ in found]), states

    def put_back(self, keys: Any, states: Any) -> None:
        """The store has exactly these."""
        self.store.clear()
        if len(keys):
            self.store.put(keys, states.view(np.uint8).reshape(len(keys), -1))

    def _put_away(self, needed: int) -> bool:
        """Room for `needed` keys; puts away an eighth, or more, of those that may."""
        lacking = needed - int(self.index[LIMIT] - self.index[COUNT])
        if lacking <= 0:
            return True
        slots = held_slots(self.index)
        if self.timers is not None:
            slots = slots[self.timers["place"][slots] == 0]
        slots = slots[self.seen[slots] < int(self.engine.run["events"][0])]
        if len(slots) < lacking:
            return False
        count = max(lacking, len(slots) // AWAY_SHARE)
        if count < len(slots):
            slots = slots[np.argpartition(self.seen[slots], count - 1)[:count]]
        keys = self.keys[slots]
        self.store.put(keys, self._bytes()[slots])
        take_all(self.direct, self.index, self.keys, self.filter, slots)
        self.words[SPILLED] += len(slots)
        self.words[IS_ABSENT] = 0
        return True

    def _bytes(self) -> Any:
        return self.state.view(np.uint8).reshape(len(self.state), -1)


@kernel
def lacks(direct, index, filter, words, key):
    """May the key's state be in the store, and is it not at hand?"""
    if words[SPILLED] == 0 or slot_known(direct, index, key) >= 0:
        return False
    if words[IS_ABSENT] == 1 and words[ABSENT] == key:
        return False
    return may_hold(filter, key)


@kernel
def may_hold(filter, key):
    """False: it was never put away."""
    scattered = mix(key)
    base = shift_right(scattered, 36) % (filter.shape[0] // 8) * 8
    for i in range(4):
        bit = shift_right(scattered, 9 * i) & 511
        if shift_right(filter[base + bit // 64], min(bit % 64, 62)) & 1 == 0:
            return False
    return True


@kernel
def find_all(index, keys, slots):
    """The slot of each key, or -1."""
    for i in range(keys.shape[0]):
        slots[i] = find(index, keys[i])


@kernel
def add_all(direct, index, held, keys, slots):
    """A slot for each key."""
    for i in range(keys.shape[0]):
        slots[i] = slot_only(direct, index, held, keys[i])


@kernel
def take_all(direct, index, held, filter, slots):
    """The keys of these slots are not at hand any more; the filter knows them."""
    for i in range(slots.shape[0]):
        scattered = mix(held[slots[i]])
        base = shift_right(scattered, 36) % (filter.shape[0] // 8) * 8
        for j in range(4):
            bit = shift_right(scattered, 9 * j) & 511
            filter[base + bit // 64] |= 1 << min(bit % 64, 62)  # never the sign
        give_back(direct, index, held, slots[i])
