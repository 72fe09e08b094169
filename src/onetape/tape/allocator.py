"""Segments, allocated before they are needed, so that an append never meets a full disk.

The tape may grow to the end of the last allocated segment (control[LIMIT]) and no further. Where
the next one does not fit, control[FULL] says so: once the segments that are there are used up,
`append` refuses, with nothing half taken, and each later look tries again. An error other than a
full disk is not tried again.
"""

import os
from errno import EDQUOT, EFBIG, ENOSPC
from typing import Any

from onetape.compiled.atomics import poke
from onetape.native import files
from onetape.tape.layout import (
    SEGMENT_HEADER_BYTES,
    Facts,
    remove,
    segment_header,
    segment_path,
    sync_folder,
    write_all,
)
from onetape.tape.ring import DURABLE, FULL, HEAD, LIMIT
from onetape.tape.writer import FILES

NO_ROOM = (ENOSPC, EDQUOT, EFBIG)
GIVEN_UP = -1


class Allocator:
    """Keeps `ahead` segments allocated beyond the one being written. One thread uses it."""

    def __init__(
        self, folder: str, facts: Facts, *, control: Any, fds: Any, epoch: int, ahead: int
    ) -> None:
        self.folder, self.facts, self.epoch, self.ahead = folder, facts, epoch, ahead
        self.control, self.fds = control, fds
        self.first = int(control[HEAD]) // facts.segment_bytes  # the oldest that is open
        self.next = self.first  # the one to allocate next
        self.refused = ""  # why the next one cannot be allocated

    def look(self) -> None:
        """Close segments that are durable; allocate what is missing ahead."""
        size = self.facts.segment_bytes
        while self.first < self.next and int(self.control[DURABLE]) >= (self.first + 1) * size:
            files.disk.close(int(self.fds[self.first % FILES]))
            self.fds[self.first % FILES] = -1
            self.first += 1
        wanted = int(self.control[HEAD]) // size + 1 + self.ahead
        if self.ahead == GIVEN_UP:
            return
        while self.next < min(wanted, self.first + FILES):
            try:
                fd = self._allocate(self.next)
            except OSError as why:
                self.refused = f"{why.strerror} for a segment of {size} bytes"
                if why.errno not in NO_ROOM:
                    self.refused += "; not tried again, open the tape anew"
                    self.ahead = GIVEN_UP
                poke(self.control, FULL, 1)
                return
            poke(self.fds, self.next % FILES, fd)
            self.next += 1
            poke(self.control, LIMIT, self.next * size)
        poke(self.control, FULL, 0)

    def close(self) -> None:
        """Close all files; give back what was allocated and not used, down to the byte."""
        head, size = int(self.control[DURABLE]), self.facts.segment_bytes
        for index in range(self.first, self.next):
            fd = int(self.fds[index % FILES])
            if index * size < head < (index + 1) * size:
                files.disk.ftruncate(fd, SEGMENT_HEADER_BYTES + head - index * size)
                files.disk.fsync(fd)
            files.disk.close(fd)
            if index * size >= head:
                remove(segment_path(self.folder, index))

    def abandon(self) -> None:
        """Close all files and leave them as they are."""
        for index in range(self.first, self.next):
            files.disk.close(int(self.fds[index % FILES]))

    def _allocate(self, index: int) -> int:
        path = segment_path(self.folder, index)
        is_new = index * self.facts.segment_bytes >= int(self.control[HEAD])
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if is_new else 0)
        fd = files.disk.open(path, flags, 0o644)
        try:
            files.disk.allocate(fd, SEGMENT_HEADER_BYTES + self.facts.segment_bytes)
            if is_new:
                write_all(fd, segment_header(self.facts, index, self.epoch), 0)
            files.disk.fsync(fd)
            if is_new:
                sync_folder(self.folder)
        except OSError:
            files.disk.close(fd)
            if is_new:
                remove(path)
            raise
        return fd
