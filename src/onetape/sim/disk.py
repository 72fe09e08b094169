"""A disk that loses power on purpose, the same way for the same seed.

It has the calls of `native.files.disk` and takes its place with `files.using(SimDisk(seed))`;
the production writer and recovery then run on it, interpreted. What was not synced is, at the
crash, lost, kept, reordered or torn, sector by sector of 512 bytes, and may be garbage. What was
synced stays: a sector that holds old and new bytes keeps the old ones. A folder keeps, of the
names made, changed and removed since it was synced, the first few.

    capacity       bytes on the disk; beyond, ENOSPC
    power_calls    the power goes at this call from now: PowerCut, from whatever was running
    fail_sync_at   the n-th sync raises EIO and marks a file's bytes clean: a later sync of it
                   succeeds and does not write them (as Linux may); names are kept for a later one
    lies_about     syncs of files whose path contains this return without having written
"""

import errno
import os
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The machine is off; nothing catches this but the simulation."""


@dataclass
class Inode:
    """A file: what the running system sees, what is on the platter, and what is on its way."""

    seen: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: new size


@dataclass
class Folder:
    """Names, in the same three ways; None removes one."""

    seen: dict[str, Any] = field(default_factory=dict)
    platter: dict[str, Any] = field(default_factory=dict)
    writes: list[dict[str, Any]] = field(default_factory=list)

    def change(self, names: dict[str, Any]) -> None:
        _rename(self.seen, names)
        self.writes.append(names)


class SimDisk:
    """See the module. Paths are plain strings; every call is that of `os`, or of `OsDisk`."""

    def __init__(self, seed: int, capacity: int | None = None) -> None:
        self.random = random.Random(seed)
        self.capacity = capacity
        self.power_calls: int | None = None
        self.fail_sync_at: int | None = None
        self.lies_about: str | None = None
        self.calls = 0
        self.syncs = 0
        self.root = Folder()
        self.files: dict[int, tuple[str, Any]] = {}

    def crash(self) -> None:
        """The power is gone: only the platter is left, and some of what was on its way to it."""
        self.files.clear()
        self.power_calls = None
        self._crash(self.root)

    def kill(self) -> None:
        """The process is gone, the machine is not: the system still sees all that was written."""
        self.files.clear()
        self.power_calls = None

    def rot(self, path: str, at: int, bit: int = 0) -> None:
        """Flip one bit of a file, on the platter and in memory."""
        inode = self._find(path)
        inode.seen[at] ^= 1 << bit
        inode.platter[at] ^= 1 << bit

    # --- the calls of the tape --------------------------------------------------------------------

    def open(self, path: str, flags: int, _mode: int = 0o644) -> int:
        folder, name = self._parent(path)
        if path != "/" and name not in folder.seen:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._call()
            folder.change({name: Inode()})
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        node = self._find(path)
        fd = max(self.files, default=2) + 1
        self.files[fd] = path, node
        if flags & os.O_TRUNC:
            self.ftruncate(fd, 0)
        return fd

    def close(self, fd: int) -> None:
        del self.files[fd]

    def size(self, fd: int) -> int:
        return len(self.files[fd][1].seen)

    def pread(self, fd: int, count: int, at: int) -> bytes:
        return bytes(self.files[fd][1].seen[at : at + count])

    def map(self, fd: int, size: int) -> Any:
        return np.frombuffer(bytearray(self.files[fd][1].seen[:size]), np.uint8)

    def pwrite(self, fd: int, data: Any, at: int) -> int:
        self._call()
        inode, part = self.files[fd][1], bytes(data)
        if len(part) > 1 and self.random.random() < 0.1:
            part = part[: self.random.randrange(1, len(part))]  # a short write
        self._take_room(at + len(part) - len(inode.seen))
        inode.writes.append((at, part))
        _store(inode.seen, at, part)
        return len(part)

    def allocate(self, fd: int, size: int) -> None:
        inode = self.files[fd][1]
        if size > len(inode.seen):
            self._take_room(size - len(inode.seen))
            self.ftruncate(fd, size)

    def ftruncate(self, fd: int, size: int) -> None:
        self._call()
        inode = self.files[fd][1]
        inode.writes.append((size, None))
        _store(inode.seen, size, None)

    def fsync(self, fd: int) -> None:
        self._call()
        self.syncs += 1
        path, node = self.files[fd]
        if self.syncs == self.fail_sync_at:
            if isinstance(node, Inode):
                node.writes.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if self.lies_about is not None and self.lies_about in path:
            return
        for write in node.writes:
            if isinstance(node, Folder):
                _rename(node.platter, write)
            else:
                _store(node.platter, *write)
        node.writes.clear()

    fdatasync = fsync

    def replace(self, source: str, target: str) -> None:
        folder, name = self._parent(source)
        other, new_name = self._parent(target)
        assert folder is other, "a rename stays in its folder"
        self._call()
        folder.change({name: None, new_name: folder.seen[name]})

    def unlink(self, path: str) -> None:
        folder, name = self._parent(path)
        if name not in folder.seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._call()
        folder.change({name: None})

    def listdir(self, path: str) -> list[str]:
        return list(self._find(path).seen)

    def makedirs(self, path: str, exist_ok: bool = True) -> None:
        folder = self.root
        for name in path.strip("/").split("/"):
            if name not in folder.seen:
                self._call()
                folder.change({name: Folder()})
            folder = folder.seen[name]

    def rmdir(self, path: str) -> None:
        assert not self.listdir(path), "a folder that is removed is empty"
        self.unlink(path)

    def lock(self, _fd: int) -> bool:
        return True

    # --- inside -----------------------------------------------------------------------------------

    def _call(self) -> None:
        self.calls += 1
        if self.power_calls is not None:
            self.power_calls -= 1
            if self.power_calls < 0:
                raise PowerCut

    def _find(self, path: str) -> Any:
        node: Any = self.root
        for name in path.strip("/").split("/"):
            if name:
                if name not in node.seen:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                node = node.seen[name]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        start, _, name = path.rpartition("/")
        return self._find(start or "/"), name

    def _take_room(self, count: int) -> None:
        if self.capacity is not None and self._used(self.root) + count > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _used(self, node: Any) -> int:
        if isinstance(node, Inode):
            return len(node.seen)
        return sum(self._used(child) for child in node.seen.values())

    def _crash(self, node: Any) -> None:
        if isinstance(node, Folder):
            for names in node.writes[: self.random.randint(0, len(node.writes))]:
                _rename(node.platter, names)
            node.seen = dict(node.platter)
            node.writes.clear()
            for child in node.seen.values():
                self._crash(child)
            return
        kept = self.random.choice((0.0, 0.5, 0.9, 1.0))
        garbled = self.random.choice((0.0, 0.0, 0.3))
        for at, data in node.writes:
            for begin, part in _sectors(at, data):
                if self.random.random() >= kept:
                    continue
                if part is not None and self.random.random() < garbled:
                    part = self.random.randbytes(len(part))
                _store(node.platter, begin, part)
        node.seen[:] = node.platter
        node.writes.clear()


def _sectors(at: int, data: bytes | None) -> list[tuple[int, bytes | None]]:
    """A write, cut where sectors end."""
    if data is None:
        return [(at, None)]
    edges = [at, *range((at // SECTOR_BYTES + 1) * SECTOR_BYTES, at + len(data), SECTOR_BYTES)]
    return [
        (a, data[a - at : b - at]) for a, b in zip(edges, [*edges[1:], at + len(data)], strict=True)
    ]


def _store(target: bytearray, at: int, data: bytes | None) -> None:
    """Write into a file; None sets its size to `at`."""
    size = at if data is None else max(len(target), at + len(data))
    if size < len(target):
        del target[size:]
    else:
        target.extend(bytes(size - len(target)))
    if data is not None:
        target[at : at + len(data)] = data


def _rename(target: dict[str, Any], names: dict[str, Any]) -> None:
    for name, node in names.items():
        if node is None:
            target.pop(name, None)
        else:
            target[name] = node
