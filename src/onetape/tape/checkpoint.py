"""A checkpoint: named arrays and a little JSON, as they were at one offset of the tape.

    byte 0   magic, length of the JSON, its crc32c, 0     4 x u32
         16  JSON: position, offset, header, and for each array its layout, runs and crc32c
             the arrays' bytes, one array after the other, 64 KiB of zeros left out wherever
             they are whole: state is reserved generously and mostly untouched

Written under another name, synced and renamed, so a checkpoint is there whole or not at all. One
that is damaged is left aside for the one before it, and a longer stretch of tape is replayed.
"""

import json
import os
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from onetape.compiled.crc32c import crc32c
from onetape.native import files
from onetape.records.errors import IntegrityError
from onetape.tape.layout import CHECKPOINTS, checksum, remove, replace_with

PAGE_BYTES = 1 << 16
SUFFIX = ".checkpoint"
KEEP = 2
_MAGIC = 0x4B504331
_HEAD = struct.Struct("<4I")


class Checkpoint(NamedTuple):
    """All state of a pipeline, before frame `offset` (at tape position `position`) is run."""

    position: int
    offset: int
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Latest(NamedTuple):
    checkpoint: Checkpoint | None
    damaged: list[str]  # newer ones that cannot be used, and why


def write(
    folder: str | os.PathLike[str],
    arrays: dict[str, np.ndarray],
    header: dict[str, Any],
    *,
    position: int,
    offset: int,
    keep: int = KEEP,
) -> str:
    """Write a checkpoint of the tape in `folder`; returns its path. Keeps the newest `keep`.

    arrays  contiguous, of plain or structured dtypes without objects; must not change meanwhile

    O(bytes of all arrays) to find the zeros, O(bytes that are not) to write. OSError if the disk
    is full: then nothing has changed.
    """
    base = os.path.join(os.path.abspath(folder), CHECKPOINTS)
    entries, parts = [], []
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        runs = _runs(data)
        crc = 0
        for begin, end in runs:
            crc = int(crc32c(crc, data, begin, end - begin))
            parts.append(data[begin:end])
        descr = np.lib.format.dtype_to_descr(array.dtype)
        entries.append(
            {"name": name, "dtype": descr, "shape": array.shape, "runs": runs, "crc32c": crc}
        )
    said = {"position": position, "offset": offset, "header": header, "arrays": entries}
    line = json.dumps(said, sort_keys=True).encode()
    head = _HEAD.pack(_MAGIC, len(line), checksum_of(line), 0)
    for name in files.disk.listdir(base):
        if name.endswith(f"{SUFFIX}.new"):  # one that a crash cut short
            remove(os.path.join(base, name))
    path = os.path.join(base, f"{offset:020d}{SUFFIX}")
    replace_with(path, [head, line, *parts])
    for old in offsets(folder)[: -max(keep, 1)]:
        remove(os.path.join(base, f"{old:020d}{SUFFIX}"))
    return path


def offsets(folder: str | os.PathLike[str]) -> list[int]:
    """Offsets of the checkpoints that are there, oldest first; not checked."""
    names = files.disk.listdir(os.path.join(os.path.abspath(folder), CHECKPOINTS))
    return sorted(int(n.removesuffix(SUFFIX)) for n in names if n.endswith(SUFFIX))


def read(folder: str | os.PathLike[str], offset: int) -> Checkpoint:
    """Read and check one checkpoint; IntegrityError if it is not what was written."""
    path = os.path.join(os.path.abspath(folder), CHECKPOINTS, f"{offset:020d}{SUFFIX}")
    fd = files.disk.open(path, os.O_RDONLY)
    try:
        size = files.disk.size(fd)
        if size < _HEAD.size:
            raise _damaged(path, f"it has {size} bytes, expected at least {_HEAD.size}")
        data = files.disk.map(fd, size)
    finally:
        files.disk.close(fd)
    magic, length, crc, zero = _HEAD.unpack(data[: _HEAD.size].tobytes())
    line = data[_HEAD.size : _HEAD.size + length].tobytes()
    if magic != _MAGIC or zero or len(line) != length or checksum_of(line) != crc:
        raise _damaged(path, "its header's checksum does not fit")
    said = json.loads(line)
    arrays, at = {}, _HEAD.size + length
    for entry in said["arrays"]:
        dtype = np.lib.format.descr_to_dtype(_as_descr(entry["dtype"]))
        array = np.zeros(entry["shape"], dtype)
        bytes_of = array.reshape(-1).view(np.uint8)
        crc = 0
        for begin, end in entry["runs"]:
            if at + end - begin > size:
                raise _damaged(path, f"array {entry['name']} is cut short: {size} bytes in all")
            crc = int(crc32c(crc, data, at, end - begin))
            bytes_of[begin:end] = data[at : at + end - begin]
            at += end - begin
        if crc != entry["crc32c"]:
            raise _damaged(
                path,
                f"array {entry['name']}: checksum was {crc:08x}, expected {entry['crc32c']:08x}",
            )
        arrays[entry["name"]] = array
    if at != size:
        raise _damaged(path, f"it has {size} bytes, expected {at}")
    return Checkpoint(said["position"], said["offset"], said["header"], arrays)


def latest_valid(folder: str | os.PathLike[str], at_most: int | None = None) -> Latest:
    """The newest checkpoint that can be used, and the newer ones that cannot.

    at_most  ignore checkpoints beyond this offset (the durable one: a checkpoint may be ahead of
             a tape that lost its undurable end)
    """
    damaged = []
    for offset in reversed(offsets(folder)):
        if at_most is not None and offset > at_most:
            damaged.append(f"checkpoint at {offset} is ahead of the tape, which ends at {at_most}")
            continue
        try:
            return Latest(read(folder, offset), damaged)
        except IntegrityError as why:
            damaged.append(str(why))
    return Latest(None, damaged)


def checksum_of(line: bytes) -> int:
    """CRC-32C of the JSON; compiled for a long one."""
    if len(line) < 4096:
        return checksum(line)
    return int(crc32c(0, np.frombuffer(bytearray(line), np.uint8), 0, len(line)))


def _runs(data: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of the stretches of pages that are not all zero."""
    whole = len(data) // PAGE_BYTES
    used = [bool(page.any()) for page in _pages(data[: whole * PAGE_BYTES])]
    if len(data) > whole * PAGE_BYTES:
        used.append(bool(data[whole * PAGE_BYTES :].any()))
    runs: list[tuple[int, int]] = []
    for n, is_used in enumerate(used):
        if is_used:
            begin, end = n * PAGE_BYTES, min((n + 1) * PAGE_BYTES, len(data))
            if runs and runs[-1][1] == begin:
                runs[-1] = (runs[-1][0], end)
            else:
                runs.append((begin, end))
    return runs


def _pages(data: np.ndarray) -> Iterator[np.ndarray]:
    words = data.view(np.uint64)  # any() over words is eight times as fast
    step = PAGE_BYTES // 8
    for at in range(0, len(words), step):
        yield words[at : at + step]


def _as_descr(found: Any) -> Any:
    """JSON has no tuples: make the fields of a structured dtype tuples again."""
    if isinstance(found, str):
        return found
    if found and all(isinstance(part, list) for part in found):
        return [tuple([field[0], *map(_as_inner, field[1:])]) for field in found]
    return found


def _as_inner(part: Any) -> Any:
    if isinstance(part, list) and part and isinstance(part[0], list):
        return _as_descr(part)
    return tuple(part) if isinstance(part, list) else part


def _damaged(path: str, problem: str) -> IntegrityError:
    return IntegrityError(
        f"{path}: {problem}: the checkpoint is not what was written; the one before it is used, "
        "and more of the tape replayed; remove this file"
    )
