"""Rows whose message is a run of numbers, in one compiled pass: plain Avro, plain Protobuf.

A `Layout` is the numbers of one message in order. Each is a zigzag varint, a plain varint or eight
bytes; it is a field's value, or a constant: a Protobuf tag, the length of an Avro array. Reading
takes a message only if all of it is as laid out, byte for byte; what is not is left to a library.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from onetape.compiled.bits import mul_wrap, shift_right
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64le, load_u32le, store_i64le

ZIGZAG, VARINT, FIXED, FLOAT = 0, 1, 2, 3
VARINT_BYTES = 10  # of 64 bits
CHUNK_BYTES = 1 << 20


class Slot(NamedTuple):
    """One number: of a field (`place`: in an array), of none (`field` empty), or a constant."""

    kind: int
    field: str = ""
    place: int | None = None
    constant: int | None = None


class Layout:
    """The numbers of one message, in order."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self._kinds = np.array([slot.kind for slot in slots], np.int64)
        self._is_constant = np.array([slot.constant is not None for slot in slots], np.bool_)
        self._constants = np.array([slot.constant or 0 for slot in slots], np.int64)

    def encoded(self, rows: Any, header: bytes) -> list[bytes]:
        """A message for each row, `header` before it."""
        bytes_max = len(header) + VARINT_BYTES * len(self.slots)
        step = max(1, CHUNK_BYTES // bytes_max)
        out = np.empty(min(step, len(rows)) * bytes_max, np.uint8)
        before = np.frombuffer(header, np.uint8)
        made: list[bytes] = []
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            ends = np.empty(len(part), np.int64)
            put(self._words(part), self._kinds, before, out, ends)
            raw = out[: int(ends[-1])].tobytes()
            at = 0
            for end in ends.tolist():
                made.append(raw[at:end])
                at = end
        return made

    def decode(self, messages: Sequence[bytes], skip: int, block: Any) -> Any:
        """Fill the fields of `block`, a row a message, past `skip` bytes of header; which rows
        could be: a message that is laid out otherwise, or a value that does not fit, could not."""
        count = len(messages)
        words = np.empty((count, len(self.slots)), np.int64)
        is_good = np.empty(count, np.bool_)
        buffer = np.frombuffer(b"".join(messages), np.uint8)
        ends = np.cumsum(np.fromiter(map(len, messages), np.int64, count))
        take(buffer, ends, skip, self._kinds, self._is_constant, self._constants, words, is_good)
        words[~is_good] = 0
        for at, slot in enumerate(self.slots):
            if slot.field:
                _fill(_target(block, slot), words[:, at], slot.kind, is_good)
        return is_good

    def _words(self, rows: Any) -> Any:
        words = np.empty((len(rows), len(self.slots)), np.int64)
        for at, slot in enumerate(self.slots):
            if slot.constant is not None:
                words[:, at] = slot.constant
                continue
            values = np.ascontiguousarray(_target(rows, slot))
            is_whole_word = values.dtype.itemsize == 8
            words[:, at] = values.view(np.int64) if is_whole_word else values
        return words


def _target(rows: Any, slot: Slot) -> Any:
    return rows[slot.field] if slot.place is None else rows[slot.field][:, slot.place]


def _fill(target: Any, words: Any, kind: int, is_good: Any) -> None:
    values = words
    if kind == FIXED:
        values = words.view(np.float64)
    elif kind == FLOAT:
        values = words.astype(np.uint32).view(np.float32)
    elif target.dtype == np.uint64:
        values = words.view(np.uint64)
    elif target.dtype.kind != "f" and target.dtype != np.int64:
        bounds = np.iinfo(target.dtype)
        is_good &= (words >= bounds.min) & (words <= bounds.max)
        values = words.astype(target.dtype)
    target[:] = values


@kernel
def put(words, kinds, header, out, ends):
    """Write a message for each row of `words`, one behind the other; `ends` of them in `out`."""
    at = 0
    for i in range(len(words)):
        for b in range(len(header)):
            out[at + b] = header[b]
        at += len(header)
        for j in range(len(kinds)):
            word = int(words[i, j])
            if kinds[j] == FIXED:
                store_i64le(out, at, word)
                at += 8
                continue
            if kinds[j] == ZIGZAG:
                word = mul_wrap(word, 2) ^ (word >> 63)
            while word < 0 or word > 127:  # nine times at most
                out[at] = word & 127 | 128
                word = shift_right(word, 7)
                at += 1
            out[at] = word
            at += 1
        ends[i] = at


@kernel
def take(buffer, ends, skip, kinds, is_constant, constants, words, is_good):
    """Read the messages that end at `ends`; a row of `words` each. Not good: it is cut short, goes
    on behind its last number, or has another number where a constant belongs."""
    end = 0
    for i in range(len(ends)):
        at = end + skip
        end = int(ends[i])
        for j in range(len(kinds)):
            after = end_of(buffer, at, end, int(kinds[j]))
            if after < 0:
                at = -1
                break
            word = word_at(buffer, at, after, int(kinds[j]))
            if is_constant[j] and word != constants[j]:
                at = -1
                break
            words[i, j] = word
            at = after
        is_good[i] = at == end


@kernel
def end_of(buffer, at, end, kind):
    """Where the number that begins at `at` ends; -1: not before `end`, or it has over 64 bits."""
    if kind == FIXED or kind == FLOAT:
        after = at + (8 if kind == FIXED else 4)
        return after if after <= end else -1
    for i in range(VARINT_BYTES):
        if at + i >= end:
            return -1
        byte = int(buffer[at + i])
        if byte < 128:
            return -1 if i == VARINT_BYTES - 1 and byte > 1 else at + i + 1
    return -1


@kernel
def word_at(buffer, at, after, kind):
    """The number at buffer[at:after] as a word."""
    if kind == FIXED:
        return load_i64le(buffer, at)
    if kind == FLOAT:
        return load_u32le(buffer, at)
    word = 0
    for i in range(after - at):
        low = int(buffer[after - 1 - i]) & 127
        word = mul_wrap(word, 128) | low
    if kind == ZIGZAG:
        word = shift_right(word, 1) ^ -(word & 1)
    return word
