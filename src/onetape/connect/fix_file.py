"""A file of FIX messages, as the log of a session has them: one behind the other, plain or gzip.

What stands between messages (line ends, time stamps) comes with the message behind it; the decoder
passes over it.
"""

import gzip
import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onetape.codecs.fix44.spec import MESSAGE_BYTES_MAX
from onetape.codecs.fix44.values import BAD, time_ns
from onetape.records import OperatorError, PeerError

_HEAD = re.compile(rb"8=FIX[^\x01=]{0,12}\x019=(\d{1,6})\x01")
_TIME = re.compile(rb"\x01(60|52)=([^\x01]{17,27})\x01")


class FixFile:
    """Iterate for (event time in ns, bytes): each message, with what stands before it.

    A message without a time has that of the one before. OperatorError: the file cannot be opened;
    PeerError: there is no FIX message in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with _mapped(self.path) as data:
            if _HEAD.search(data) is None:
                raise PeerError(
                    f"{path} is no log of FIX messages: it begins with {bytes(data[:24])!r}; "
                    "expected 8=FIX.4.4, fields that end in the byte 1"
                )

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        with _mapped(self.path) as data:
            yield from messages_in(data)


def messages_in(data: Any) -> Iterator[tuple[int, bytes]]:
    """(event time, bytes) of each message in bytes or a map of them; nothing is left out."""
    at = last_ns = 0
    while at < len(data):
        found = _HEAD.search(data, at)
        end = len(data) if found is None else _end_of(data, found)
        piece = bytes(data[at:end])
        last_ns = max(last_ns, time_of(piece))
        yield last_ns, piece
        at = end


def _end_of(data: Any, head: re.Match[bytes]) -> int:
    """Where the message ends, or, if its length is not true, where the next may begin."""
    end = head.end() + int(head[1]) + 7
    if int(head[1]) <= MESSAGE_BYTES_MAX and data[end - 7 : end - 4] == b"10=":
        return end
    following = _HEAD.search(data, head.end())
    return len(data) if following is None else int(following.start())


def time_of(message: bytes) -> int:
    """TransactTime of a message, else SendingTime; 0 where there is neither."""
    times = dict(_TIME.findall(message))
    text = np.frombuffer(times.get(b"60") or times.get(b"52") or b"", np.uint8)
    found = int(time_ns(text, 0, len(text)))
    return 0 if found == BAD else found


class _mapped:
    """The bytes of a file: mapped, or, of gzip, read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: Any = None

    def __enter__(self) -> Any:
        try:
            with open(self._path, "rb") as file:
                if file.read(2) == b"\x1f\x8b":
                    return gzip.decompress(self._path.read_bytes())
                if file.seek(0, 2) == 0:
                    raise OperatorError(f"{self._path} is empty; expected FIX messages")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                return self._map
        except OSError as why:
            raise OperatorError(f"{self._path} cannot be opened: {why.strerror or why}") from None
        except (EOFError, zlib.error) as why:
            raise PeerError(f"{self._path} is damaged: {why}; fetch it again") from None

    def __exit__(self, *_: Any) -> None:
        if self._map is not None:
            self._map.close()
