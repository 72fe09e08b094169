"""Blocks in files, each behind its length: into a job without Kafka, and out of it."""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from onetape.codecs.block import END, read_header
from onetape.records import IntegrityError

_LENGTH = struct.Struct("<I")


def write(path: Path, blocks: Iterable[bytes]) -> int:
    """Write a file of blocks, and beside it where each begins; returns how many."""
    at, begins = 0, [0]
    with open(path, "wb") as out:
        for block in blocks:
            out.write(_LENGTH.pack(len(block)))
            out.write(block)
            at += _LENGTH.size + len(block)
            begins.append(at)
    np.array(begins, np.int64).tofile(path.with_suffix(".index"))
    return len(begins) - 1


class BlocksFile:
    """The blocks of a file that `write` made, by number."""

    def __init__(self, path: Path) -> None:
        self._begins = np.fromfile(path.with_suffix(".index"), np.int64)
        self._data = np.memmap(path, np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __getitem__(self, n: int) -> bytes:
        begin, end = int(self._begins[n]) + _LENGTH.size, int(self._begins[n + 1])
        return self._data[begin:end].tobytes()


def read(paths: Iterable[Path]) -> Iterator[bytes]:
    """All blocks of these files, as they stand there. IntegrityError: a file is cut short."""
    for path in paths:
        with open(path, "rb") as file:
            while length := file.read(_LENGTH.size):
                size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
                block = file.read(size)
                if not size or len(block) != size:
                    raise IntegrityError(f"{path} is cut short in the middle of a block")
                yield block


def in_order(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks of each shard and output by their ordinals, END last: tasks write files of their own.

    Holds what came early. What is missing is missing here, too: `Answer` says so.
    """
    early: dict[tuple[int, str], dict[int, bytes]] = {}
    following: dict[tuple[int, str], int] = {}
    ends = []
    for block in blocks:
        header = read_header(block)
        if header.kind == END:
            ends.append(block)
            continue
        where = header.shard, header.name
        expected = following.setdefault(where, 0)
        waiting = early.setdefault(where, {})
        if header.ordinal != expected:
            if header.ordinal < expected or header.ordinal in waiting:
                yield block  # it came twice
                continue
            waiting[header.ordinal] = block
            continue
        yield block
        following[where] = expected + 1
        while (ready := waiting.pop(following[where], None)) is not None:
            yield ready
            following[where] += 1
    for waiting in early.values():
        yield from (waiting[n] for n in sorted(waiting))
    yield from ends
