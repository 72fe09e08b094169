"""Make the folder of a tape, all at once; and hold its lock, so that it has one writer."""

import os
import secrets
from contextlib import suppress
from errno import EEXIST, ENOTEMPTY

from onetape.native import files
from onetape.records.errors import OperatorError
from onetape.tape import layout


def make_folder(path: str, facts: layout.Facts) -> None:
    """Make an empty tape at `path`, where nothing or an empty folder is.

    It is built under a name of its own and renamed: half a tape never has the name of one, and
    nothing left behind by an attempt that failed, perhaps not on disk, is ever built upon. Of
    several processes that make the same one, one does, the others get an OperatorError.
    """
    fresh = f"{path}.creating-{secrets.token_hex(4)}"
    try:
        if _names(path):
            raise _not_empty(path)
        for sub in (layout.CODE, layout.CHECKPOINTS):
            files.disk.makedirs(os.path.join(fresh, sub), exist_ok=True)
        layout.write_watermark(fresh, facts, layout.Watermark(1, 0, 0, 0))
        layout.write_facts(fresh, facts)
        files.disk.replace(fresh, path)
        layout.sync_folder(os.path.dirname(path))
    except OSError as why:
        _discard(fresh)
        if why.errno in (ENOTEMPTY, EEXIST):  # somebody was quicker
            raise _not_empty(path) from None
        raise OperatorError(
            f"{path}: a tape cannot be made there: {why.strerror}; name another folder, or make "
            "room for it"
        ) from why


def take_lock(path: str) -> int:
    """The descriptor that holds the tape's lock until it is closed; OperatorError if it is taken.

    The kernel drops the lock with the process, however that ends: there is nothing to clean up.
    """
    fd: int = files.disk.open(os.path.join(path, layout.LOCK), os.O_RDWR | os.O_CREAT, 0o644)
    if not files.disk.lock(fd):
        holder = layout.read_all(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        files.disk.close(fd)
        raise OperatorError(
            f"{path} is being written by another process (pid {holder}): stop that one first, or "
            "only read the tape, which needs no lock"
        )
    files.disk.ftruncate(fd, 0)
    layout.write_all(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _not_empty(path: str) -> OperatorError:
    return OperatorError(
        f"{path} is not empty; a tape is made in a folder of its own: name another; a tape that "
        "is there goes on with --resume"
    )


def _discard(fresh: str) -> None:
    """Remove what was begun, as far as it is there."""
    for folder in (
        os.path.join(fresh, layout.CODE),
        os.path.join(fresh, layout.CHECKPOINTS),
        fresh,
    ):
        with suppress(OSError):
            for name in files.disk.listdir(folder):
                files.disk.unlink(os.path.join(folder, name))
            files.disk.rmdir(folder)


def _names(path: str) -> list[str]:
    try:
        return list(files.disk.listdir(path))
    except FileNotFoundError:
        return []
