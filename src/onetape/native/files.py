"""Files as the tape uses them: two calls for the hot loop, a dozen for the Python beside it.

All of them go through `disk`, whose methods have the names of `os`. `using(other)` puts another
one in its place (`sim/disk.py` loses power on purpose), and then the production code, run
interpreted, writes to that. Compiled code always calls libc.
"""

import fcntl
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EIO
from typing import Any

import numpy as np

from onetape.compiled.kernel import intrinsic

_F_FULLFSYNC = 51


class OsDisk:
    """The machine's own files. What a replacement has to offer."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    ftruncate = staticmethod(os.ftruncate)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    listdir = staticmethod(os.listdir)
    makedirs = staticmethod(os.makedirs)
    rmdir = staticmethod(os.rmdir)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def allocate(self, fd: int, size: int) -> None:
        """Make the file `size` zero bytes long, all on disk. OSError(ENOSPC) if they do not fit."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
            return
        zeros = bytes(1 << 20)  # macOS
        for at in range(0, size, len(zeros)):
            os.pwrite(fd, zeros[: size - at], at)

    def lock(self, fd: int) -> bool:
        """Take the one lock of this file, held until it is closed; False if another has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def map(self, fd: int, size: int) -> Any:
        """uint8[size]: the file as memory. Writable for the caller's eyes only, never stored."""
        return np.frombuffer(mmap.mmap(fd, size, access=mmap.ACCESS_COPY), np.uint8)


class MacDisk(OsDisk):
    """On macOS fsync leaves the bytes in the drive's cache; F_FULLFSYNC does not."""

    def fsync(self, fd: int) -> None:
        fcntl.fcntl(fd, _F_FULLFSYNC)

    def fdatasync(self, fd: int) -> None:
        self.fsync(fd)


disk: Any = MacDisk() if sys.platform == "darwin" else OsDisk()


@contextmanager
def using(other: Any) -> Iterator[Any]:
    """Let `other` stand in for the machine's files inside the block, for the whole process."""
    global disk
    before, disk = disk, other
    try:
        yield other
    finally:
        disk = before


_native = intrinsic(home="onetape.native.calls")


@_native
def pwrite(fd: int, buffer: Any, at: int, count: int, file_offset: int) -> int:
    """Write buffer[at:at + count] to the file. Returns bytes written, maybe fewer, or -errno."""
    if at < 0 or count < 0 or at + count > len(buffer):
        raise IndexError(f"{count} bytes at {at} of a buffer of {len(buffer)}")
    try:
        return int(disk.pwrite(int(fd), memoryview(buffer)[at : at + count], int(file_offset)))
    except OSError as why:
        return -(why.errno or EIO)


@_native
def fdatasync(fd: int) -> int:
    """Wait until the file's bytes survive a power cut. Returns 0 or -errno."""
    try:
        disk.fdatasync(int(fd))
    except OSError as why:
        return -(why.errno or EIO)
    return 0
