"""Checkpoints: named arrays and a little JSON, as they were at one offset of the tape.

Arrays are cut into chunks of 64 KiB, known by their hash. A checkpoint writes those that no earlier
one of its family has into one file, its pack, and then its manifest, which says where each chunk
lies, in its own pack or an older one (`checkpoint_manifest`). Zeros are not written, and what was
never touched is not even read (`native/pages`).

    00000000000000000700-0b1f...c2.chunks   the pack, by the hash of what is in it
    00000000000000000700.checkpoint         the manifest

There are two families, written in turn, that share no chunk. So a flipped bit, wherever it is,
leaves the checkpoint before the newest whole. And no chunk is relied on for ever: of those that did
not change, one in ROUNDS is written anew each time.

Pack and manifest are written under other names, synced and renamed, the manifest last: a checkpoint
is there whole or not at all. One that is damaged is left aside for the one before it, and a longer
stretch of tape is replayed. Which are kept: `checkpoint_keep`.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from onetape.native import files, pages
from onetape.records.errors import IntegrityError
from onetape.tape import checkpoint_keep
from onetape.tape.checkpoint_keep import Retention
from onetape.tape.checkpoint_manifest import (
    CHUNK,
    PACK_SUFFIX,
    Manifest,
    Pack,
    damaged,
    folder_of,
    hash_of,
    manifest_path,
    offsets_in,
    packs_in,
    read_manifest,
    to_bytes,
)
from onetape.tape.layout import read_all, remove, replace_file, replace_with

CHUNK_BYTES = 1 << 16
ROUNDS = 16
READERS = 4  # threads that read and check at once


class Checkpoint(NamedTuple):
    """All state of a pipeline, before frame `offset` (at tape position `position`) is run."""

    position: int
    offset: int
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Latest(NamedTuple):
    checkpoint: Any  # None: there is none that can be used
    damaged: list[str]  # newer ones that cannot be used: which, why, and what is used instead


def write(
    folder: str | os.PathLike[str],
    arrays: dict[str, np.ndarray],
    header: dict[str, Any],
    *,
    position: int,
    offset: int,
    retention: Retention = checkpoint_keep.DEFAULT,
    written_ns: int | None = None,
) -> Manifest:
    """Write a checkpoint of the tape in `folder`, and remove those that need not be kept.

    arrays      contiguous, of plain or structured dtypes without objects; must not change meanwhile
    written_ns  the time (None: this machine's)

    O(bytes that were ever touched) to hash them; chunks that changed since the last but one, and
    one in ROUNDS of the others, are written. OSError if the disk is full: then nothing has changed.
    """
    base = folder_of(folder)
    for name in files.disk.listdir(base):
        if name.endswith(".new"):  # one that a crash cut short
            remove(os.path.join(base, name))
    before = checkpoint_keep.readable(base)
    generation = before[0].generation + 1 if before else 0
    family = [m for m in before if (generation - m.generation) % 2 == 0]
    packs, known = _to_build_on(base, family[0] if family else None, generation)
    rows, fresh = _table(arrays, known, len(packs))
    if fresh:
        name = f"{offset:020d}-{hash_of(b''.join(fresh)).hex()}{PACK_SUFFIX}"
        replace_with(os.path.join(base, name), fresh.values())
        packs.append(Pack(name, generation, sum(map(len, fresh.values()))))
    manifest = Manifest(
        position=position,
        offset=offset,
        generation=generation,
        written_ns=time.time_ns() if written_ns is None else written_ns,
        header=header,
        arrays=[_described(name, array) for name, array in arrays.items()],
        packs=packs,
        chunks=np.array(rows, CHUNK),
    )
    manifest = _without_unused(manifest)
    replace_file(manifest_path(base, offset), to_bytes(manifest))
    older = [m for m in before if m.offset != offset]
    checkpoint_keep.collect(base, [manifest, *older], retention)
    return manifest


def offsets(folder: str | os.PathLike[str]) -> list[int]:
    """Offsets of the checkpoints that are there, oldest first; not checked."""
    return offsets_in(folder_of(folder))


def read(folder: str | os.PathLike[str], offset: int) -> Checkpoint:
    """Read and check one checkpoint; IntegrityError if it is not what was written."""
    base = folder_of(folder)
    manifest = read_manifest(base, offset)
    arrays = {a["name"]: np.zeros(a["shape"], _dtype(a["dtype"])) for a in manifest.arrays}
    targets = [array.reshape(-1).view(np.uint8) for array in arrays.values()]

    def place(chunk: Any, data: bytes) -> None:
        begin = int(chunk["number"]) * CHUNK_BYTES
        targets[int(chunk["array"])][begin : begin + len(data)] = np.frombuffer(data, np.uint8)

    _each_chunk(base, manifest, place)
    return Checkpoint(manifest.position, manifest.offset, manifest.header, arrays)


def check(folder: str | os.PathLike[str], offset: int) -> Manifest:
    """Check every byte of one checkpoint, as `read`, but keep nothing of it."""
    base = folder_of(folder)
    manifest = read_manifest(base, offset)
    _each_chunk(base, manifest, lambda *_: None)
    return manifest


def latest_valid(
    folder: str | os.PathLike[str], at_most: int | None = None, use: Callable[..., Any] = read
) -> Latest:
    """The newest checkpoint that can be used, and the newer ones that cannot.

    at_most  ignore checkpoints beyond this offset (the durable one: a checkpoint may be ahead of
             a tape that lost its undurable end)
    use      `read` it, or only `check` it
    """
    problems, found = list[str](), None
    for offset in reversed(offsets(folder)):
        if at_most is not None and offset > at_most:
            problems.append(f"checkpoint at {offset} is ahead of the tape, which ends at {at_most}")
            continue
        try:
            found = use(folder, offset)
            break
        except IntegrityError as why:
            problems.append(str(why))
    instead = "the tape is run from its first frame"
    if found is not None:
        instead = f"the one at frame {found.offset} is used, and the tape from there"
    return Latest(found, [f"{problem}; {instead}" for problem in problems])


def _table(
    arrays: dict[str, np.ndarray], known: dict[bytes, tuple[int, int]], pack: int
) -> tuple[list[tuple[Any, ...]], dict[bytes, Any]]:
    """The rows of the manifest, and the chunks to write, by hash, as they will lie in `pack`."""
    rows, fresh, written_bytes = list[tuple[Any, ...]](), dict[bytes, Any](), 0
    for n, array in enumerate(arrays.values()):
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for number in np.flatnonzero(pages.touched(data, CHUNK_BYTES)).tolist():
            part = data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
            if not _has_bits(part):
                continue
            digest = hash_of(part)
            if digest not in known:
                known[digest], fresh[digest] = (pack, written_bytes), part
                written_bytes += len(part)
            place = known[digest]
            found = np.frombuffer(digest, np.uint8)
            rows.append((n, number, place[0], len(part), place[1], found))
    return rows, fresh


def _without_unused(manifest: Manifest) -> Manifest:
    """Leave out the packs of which no chunk is needed any more."""
    used, numbers = np.unique(manifest.chunks["pack"], return_inverse=True)
    manifest.chunks["pack"] = numbers
    return manifest._replace(packs=[manifest.packs[n] for n in used.tolist()])


def _to_build_on(
    base: str, was: Manifest | None, generation: int
) -> tuple[list[Pack], dict[bytes, tuple[int, int]]]:
    """Packs of this family that are there, and where in them each chunk is, by hash.

    Left out are the chunks whose turn it is to be written anew.
    """
    packs, known = list[Pack](), dict[bytes, tuple[int, int]]()
    if was is None:
        return packs, known
    there, turn = packs_in(base), generation // 2 % ROUNDS
    for n, pack in enumerate(was.packs):
        if pack.name in there:
            chunks = was.chunks[was.chunks["pack"] == n]
            for digest, at in zip(chunks["hash"], chunks["at"].tolist(), strict=True):
                if digest[0] % ROUNDS != turn:
                    known[digest.tobytes()] = len(packs), at
            packs.append(pack)
    return packs, known


def _each_chunk(base: str, manifest: Manifest, take: Callable[[Any, bytes], None]) -> None:
    """Read and check each chunk, several at once. IntegrityError names the first that is bad."""
    for n, pack in enumerate(manifest.packs):
        path, chunks = os.path.join(base, pack.name), manifest.chunks[manifest.chunks["pack"] == n]
        try:
            fd = files.disk.open(path, os.O_RDONLY)
        except OSError as why:
            raise damaged(path, f"it cannot be read ({why.strerror})") from why

        def some(part: Any, fd: int = fd, path: str = path) -> None:
            for chunk in part:
                size, at = int(chunk["size_bytes"]), int(chunk["at"])
                where = f"chunk {chunk['number']} of {manifest.arrays[chunk['array']]['name']}"
                try:
                    data = read_all(fd, size, at)
                except OSError as why:
                    raise damaged(path, f"{where} cannot be read ({why.strerror})") from why
                found, expected = hash_of(data), chunk["hash"].tobytes()
                if found != expected:
                    said = f"hash was {found.hex()}, expected {expected.hex()}"
                    raise damaged(path, f"at byte {at}, {where}: {said}")
                take(chunk, data)

        try:
            if len(chunks) < 2 * READERS:
                some(chunks)
            else:
                with ThreadPoolExecutor(READERS) as pool:
                    for _ in pool.map(some, np.array_split(chunks, READERS)):
                        pass
        finally:
            files.disk.close(fd)


def _has_bits(part: Any) -> bool:
    whole = len(part) // 8 * 8  # any() over words is eight times as fast
    return bool(part[:whole].view(np.uint64).any() or part[whole:].any())


def _described(name: str, array: np.ndarray) -> dict[str, Any]:
    descr = np.lib.format.dtype_to_descr(array.dtype)
    return {"name": name, "dtype": descr, "shape": list(array.shape)}


def _dtype(found: Any) -> Any:
    return np.lib.format.descr_to_dtype(_as_descr(found))


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
