"""Digests: equal digests, equal answers.

Over outputs: rows are chained per key, in the order they were made, and the chains are combined by
addition, so the order in which different keys happen to come does not matter. A row counts with
what caused it (the venue's sequence or the timer's time), but not with its place on the tape, which
another framing would change.

Over state: every entry with its key, entries combined by addition; padding is zero by construction.

64-bit words, two independent lanes, 128 bits in all. Not cryptographic: it finds accidents.
"""

from typing import Any

import numpy as np

from onetape.compiled.bits import add_wrap, mix, mul_wrap, shift_right
from onetape.compiled.index import find_or_add, new_index
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le
from onetape.compiled.rows import row

LANE_A, LANE_B = 0x2545F4914F6CDD1D, 0x1D8E4E27C47D124F
KEYS_MAX = 1 << 20


class OutputDigest:
    """The digest of one output stream; feed it blocks in order."""

    def __init__(self, of: Any, key: str | None = None) -> None:
        dtype = of.dtype
        self.key_field = key if key in dtype.names else None
        self.index = new_index(KEYS_MAX if self.key_field else 1)
        self.chains = np.zeros((KEYS_MAX if self.key_field else 1) * 2, np.int64)
        self.rows_count = 0

    def update(self, rows: Any, origins: Any) -> None:
        """Add a block of rows with their origins. About 20 ns a row of 56 bytes."""
        keys = (
            np.ascontiguousarray(rows[self.key_field]).astype(np.int64)
            if self.key_field
            else np.zeros(len(rows), np.int64)
        )
        self.rows_count += len(rows)
        data = np.ascontiguousarray(rows).view(np.uint8).reshape(-1)
        if not chain_rows(
            self.index, self.chains, keys, data, rows.dtype.itemsize, np.ascontiguousarray(origins)
        ):
            raise OverflowError(f"a digest of more than {KEYS_MAX} keys")

    def hexdigest(self) -> str:
        return _hex(*combine(self.index, self.chains, self.rows_count))


def digests_of(plan: Any) -> dict[str, OutputDigest]:
    """One digest an output of a plan, keyed by instrument where the record has one."""
    return {
        name: OutputDigest(stream.of, "instrument_id")
        for name, stream in plan.pipeline.outputs.items()
    }


@kernel
def chain_rows(index, chains, keys, data, size, origins):
    """Chain each row onto its key's two lanes. data: uint8[n * size]; size a multiple of 8."""
    for i in range(keys.shape[0]):
        slot = find_or_add(index, keys[i])
        if slot < 0:
            return False
        origin = row(origins, i)
        cause = mix(mix(origin.sequence) ^ origin.key) ^ (origin.index * 2 + origin.root)
        cause = mix(cause) ^ (origin.node * 256 + origin.source)
        a = chains[2 * slot] ^ cause
        b = add_wrap(chains[2 * slot + 1], cause)
        for at in range(i * size, (i + 1) * size, 8):
            word = load_i64le(data, at)
            a = fold(a ^ word, LANE_A)
            b = fold(add_wrap(b, word), LANE_B)
        chains[2 * slot] = mix(a)
        chains[2 * slot + 1] = mix(b)
    return True


@kernel
def fold(word, odd):
    """One step of a chain: every bit of `word` reaches the high half, and comes down again."""
    word = mul_wrap(word, odd)
    return word ^ shift_right(word, 29)


@kernel
def combine(index, chains, salt):
    """Add up the chains of all keys. (lane a, lane b); O(size of the index)."""
    a = mix(salt)
    b = mix(salt ^ LANE_B)
    base = index[1]
    for at in range(index[0]):
        word = 8 + 2 * (base + at)
        if index[word + 1] > 0:
            key, slot = index[word], index[word + 1] - 1
            a = add_wrap(a, mix(mix(key ^ LANE_A) ^ chains[2 * slot]))
            b = add_wrap(b, mix(mix(key ^ LANE_B) ^ chains[2 * slot + 1]))
    base = index[3]
    for at in range(index[2]):
        word = 8 + 2 * (base + at)
        if index[word + 1] > 0:
            key, slot = index[word], index[word + 1] - 1
            a = add_wrap(a, mix(mix(key ^ LANE_A) ^ chains[2 * slot]))
            b = add_wrap(b, mix(mix(key ^ LANE_B) ^ chains[2 * slot + 1]))
    return a, b


def state_digest(engine: Any) -> str:
    """The digest of all state of an engine: what a checkpoint at this offset must restore."""
    from onetape.engine.state import canonical_state

    total = [0, 0]
    number = -1
    for name, keys, blocks in canonical_state(engine):
        number += name[0] != "+"
        for block in blocks:
            data = np.ascontiguousarray(block).view(np.uint8).reshape(-1)
            size = len(data) // max(len(keys), 1)
            if len(data) == 0:
                continue
            padded = -(-size // 8) * 8
            flat = np.zeros((len(keys), padded), np.uint8)
            flat[:, :size] = data.reshape(len(keys), size)
            salt = (
                int.from_bytes(name.lstrip("+").encode()[:5].ljust(5, b"."), "little") << 16
                | number
            )
            a, b = add_entries(keys, flat.reshape(-1), padded, salt)
            total[0] += int(a)
            total[1] += int(b)
    return _hex(total[0], total[1])


@kernel
def add_entries(keys, data, size, salt):
    """Sum over entries of a hash of (salt, key, bytes)."""
    total_a = 0
    total_b = 0
    for i in range(keys.shape[0]):
        a = mix(keys[i] ^ salt)
        b = mix(add_wrap(keys[i], salt) ^ LANE_B)
        for at in range(i * size, (i + 1) * size, 8):
            word = load_i64le(data, at)
            a = fold(a ^ word, LANE_A)
            b = fold(add_wrap(b, word), LANE_B)
        total_a = add_wrap(total_a, mix(a))
        total_b = add_wrap(total_b, mix(b))
    return total_a, total_b


def _hex(a: Any, b: Any) -> str:
    return f"{int(a) % (1 << 64):016x}{int(b) % (1 << 64):016x}"
