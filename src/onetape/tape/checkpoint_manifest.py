"""The bytes of a checkpoint's manifest: which chunk of which array lies where, and its hash.

    byte 0   magic, format, length of the JSON, number of chunks     4 x u32
         16  sha256 of all other bytes, its first 16
         32  JSON: position, offset, generation, written_ns, header, arrays, packs
             a table of the chunks, rows of CHUNK

A chunk that is not in the table is zero.
"""

import hashlib
import json
import os
import struct
from typing import Any, NamedTuple

import numpy as np

from onetape.native import files
from onetape.records.errors import IntegrityError
from onetape.tape.layout import CHECKPOINTS, read_file

FORMAT = 2
SUFFIX, PACK_SUFFIX = ".checkpoint", ".chunks"
HASH_BYTES = 16
CHUNK = np.dtype(
    [
        ("array", "<u4"),  # its number in `arrays`
        ("number", "<u4"),  # of the chunk in the array's bytes
        ("pack", "<u4"),  # its number in `packs`
        ("size_bytes", "<u4"),
        ("at", "<i8"),  # in the pack
        ("hash", "u1", HASH_BYTES),
    ]
)
_MAGIC = 0x4B504331
_HEAD = struct.Struct("<4I")


class Pack(NamedTuple):
    """A file of chunks, named by what is in it: two of one name are equal."""

    name: str
    generation: int  # of the checkpoint that wrote it
    size_bytes: int


class Manifest(NamedTuple):
    """What a checkpoint consists of. Before frame `offset`, at tape position `position`."""

    position: int
    offset: int
    generation: int  # this many were written before it
    written_ns: int
    header: dict[str, Any]
    arrays: list[dict[str, Any]]  # name, dtype, shape
    packs: list[Pack]
    chunks: Any

    def state_bytes(self) -> int:
        """Bytes of state that are not zero, in whole chunks."""
        return int(self.chunks["size_bytes"].sum(dtype=np.int64))

    def new_bytes(self) -> int:
        """Bytes that this checkpoint wrote."""
        own = [pack.size_bytes for pack in self.packs if pack.generation == self.generation]
        return sum(own) + len(to_bytes(self))


def folder_of(tape: str | os.PathLike[str]) -> str:
    return os.path.join(os.path.abspath(tape), CHECKPOINTS)


def manifest_path(base: str, offset: int) -> str:
    return os.path.join(base, f"{offset:020d}{SUFFIX}")


def offsets_in(base: str) -> list[int]:
    """Offsets of the manifests that are there, oldest first; not checked."""
    names = [n.removesuffix(SUFFIX) for n in files.disk.listdir(base) if n.endswith(SUFFIX)]
    return sorted(int(name) for name in names if name.isdecimal())


def packs_in(base: str) -> list[str]:
    return [name for name in files.disk.listdir(base) if name.endswith(PACK_SUFFIX)]


def hash_of(data: Any) -> bytes:
    return hashlib.sha256(data).digest()[:HASH_BYTES]


def to_bytes(manifest: Manifest) -> bytes:
    said = manifest._asdict()
    line = json.dumps({n: v for n, v in said.items() if n != "chunks"}, sort_keys=True).encode()
    head = _HEAD.pack(_MAGIC, FORMAT, len(line), len(manifest.chunks))
    body = line + manifest.chunks.tobytes()
    return head + hash_of(head + body) + body


def read_manifest(base: str, offset: int) -> Manifest:
    """Read and check a manifest, not the chunks; IntegrityError if it is not what was written."""
    path = manifest_path(base, offset)
    try:
        data = read_file(path)
    except OSError as why:
        raise damaged(path, f"it cannot be read ({why.strerror})") from why
    return from_bytes(data, path)


def from_bytes(data: bytes, path: str) -> Manifest:
    """The manifest in `data`, which came from `path`."""
    body = _HEAD.size + HASH_BYTES
    if len(data) < body:
        raise damaged(path, f"it has {len(data)} bytes, expected at least {body}")
    magic, made_by, length, count = _HEAD.unpack_from(data)
    expected, found = hash_of(data[: _HEAD.size] + data[body:]), data[_HEAD.size : body]
    is_older = found != expected and magic == _MAGIC and data[12:16] == bytes(4)
    if is_older or (found == expected and (magic != _MAGIC or made_by != FORMAT)):
        was = "format 1, or is damaged" if is_older else f"format {made_by}"
        raise IntegrityError(f"{path}: it has {was}; this version of onetape reads {FORMAT}")
    if found != expected:
        raise damaged(path, f"its hash was {found.hex()}, expected {expected.hex()}")
    said = json.loads(data[body : body + length])
    said["packs"] = [Pack(*pack) for pack in said["packs"]]
    chunks = np.frombuffer(data, CHUNK, count, body + length)
    return Manifest(**said, chunks=chunks)


def damaged(path: str, problem: str) -> IntegrityError:
    return IntegrityError(f"{path}: {problem}: the checkpoint is not what was written")
