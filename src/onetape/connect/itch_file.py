"""Open a file of ITCH 5.0, whatever it is: plain or gzip, messages with lengths, or a capture.

    file = open_itch("01302019.NASDAQ_ITCH50.gz")
    for ts_recv_ns, payload in file:
        ...

The format is found in the content, not in the name. Memory is bounded: a plain file is mapped and
its chunks are views into the map, a gzip file is read a megabyte at a time, a capture packet by
packet. Iterating again begins again.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from onetape.codecs import pcap
from onetape.codecs.itch50 import files
from onetape.records import OperatorError, PeerError

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 20
PAYLOADS_LOOKED_AT = 1000  # of a capture, to find out whether it has MoldUDP64 in it
LENGTH_PREFIXED, MOLDUDP64 = "length_prefixed", "moldudp64"
NEW_YORK = "America/New_York"
EPOCH = date(1970, 1, 1)


class ItchFile:
    """A file of ITCH. Iterate for (ts_recv_ns or None, payload as u8 array or bytes).

    framing          "length_prefixed": a payload is a run of whole messages, without a time
                     "moldudp64": a payload is one datagram, with its capture time
    trading_date     as given, else from the name, else from the first capture time, else 1970
    midnight_ns      UTC ns of its midnight in New York
    skipped          packets of the capture that were left out, by reason, after an iteration
    """

    def __init__(
        self, path: Path, framing: str, trading_date: date, chunk_bytes: int, port: int | None
    ) -> None:
        self.path = path
        self.framing = framing
        self.trading_date = trading_date
        self.midnight_ns = midnight_ns(trading_date)
        self.skipped: Counter[str] = Counter()
        self._chunk_bytes = chunk_bytes
        self._port = port

    def __iter__(self) -> Iterator[tuple[int | None, Any]]:
        if self.framing == MOLDUDP64:
            self.skipped.clear()
            with _open(self.path) as stream:
                yield from pcap.udp_payloads(_reader(stream, self.path), self.skipped, self._port)
        else:
            for chunk in files.chunks(_blocks(self.path), self._chunk_bytes):
                yield None, chunk


def open_itch(
    path: str | Path,
    *,
    trading_date: date | None = None,
    chunk_bytes: int = files.CHUNK_BYTES,
    port: int | None = None,
) -> ItchFile:
    """Find out what `path` is and make it ready to iterate.

    OperatorError: it cannot be opened, or is empty. PeerError: it is no ITCH 5.0. `port` picks one
    UDP destination port of a capture, where it holds several feeds.
    """
    path = Path(path)
    with _open(path) as stream:
        head = _reader(stream, path)(4096)
    if not head:
        raise OperatorError(f"{path} is empty; expected a file of ITCH 5.0")
    day = trading_date or files.trading_date(path.name)
    if len(head) >= 4 and pcap.is_capture(head):
        first_ns = _look_for_moldudp64(path, port)
        if day is None and first_ns is not None:
            day = datetime.fromtimestamp(first_ns // 10**9, _new_york()).date()
        return ItchFile(path, MOLDUDP64, day or EPOCH, chunk_bytes, port)
    if not files.is_length_prefixed(head):
        raise PeerError(
            f"{path} is not ITCH 5.0: it begins with {head[:16].hex(' ')}; expected a two-byte "
            "length (or zero) and a message type, or a pcap or pcapng capture; each may be gzip"
        )
    return ItchFile(path, LENGTH_PREFIXED, day or EPOCH, chunk_bytes, port)


def midnight_ns(day: date) -> int:
    """UTC ns of midnight in New York at the beginning of `day`."""
    return int(datetime(day.year, day.month, day.day, tzinfo=_new_york()).timestamp()) * 10**9


def today() -> date:
    """The date in New York now: a live feed's trading date."""
    return datetime.now(_new_york()).date()


def _new_york() -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(NEW_YORK)
    except ZoneInfoNotFoundError:
        raise OperatorError(
            f"this system knows no time zone {NEW_YORK}; install tzdata (pip install tzdata)"
        ) from None


def _look_for_moldudp64(path: Path, port: int | None) -> int | None:
    """Capture time of the first MoldUDP64 packet; PeerError when the capture has none in front."""
    skipped: Counter[str] = Counter()
    seen = 0
    with _open(path) as stream:
        payloads = pcap.udp_payloads(_reader(stream, path), skipped, port)
        for ts_ns, payload in islice(payloads, PAYLOADS_LOOKED_AT):
            if files.is_moldudp64(payload):
                return ts_ns
            seen += 1
    left_out = ", ".join(f"{n} {reason}" for reason, n in skipped.items()) or "none"
    raise PeerError(
        f"{path} is a capture without ITCH 5.0 over MoldUDP64: looked at {seen} UDP payloads; "
        f"packets left out: {left_out}"
    )


def _open(path: Path) -> IO[bytes]:
    try:
        with open(path, "rb") as stream:
            zipped = stream.read(2) == GZIP_MAGIC
        return gzip.open(path, "rb") if zipped else open(path, "rb")  # type: ignore[return-value]
    except OSError as error:
        raise OperatorError(f"{path} cannot be opened: {error.strerror or error}") from None


def _reader(stream: IO[bytes], path: Path) -> pcap.Read:
    """`stream.read`, its troubles said in our words."""

    def read(count: int) -> bytes:
        try:
            return stream.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise PeerError(f"{path} is damaged: {error}; fetch it again") from None
        except OSError as error:
            raise OperatorError(f"{path} cannot be read: {error}") from None

    return read


def _blocks(path: Path) -> Iterator[Any]:
    """The file as u8 arrays: all of it mapped when plain, a megabyte at a time when gzip."""
    with _open(path) as stream:
        if not isinstance(stream, gzip.GzipFile):
            yield np.asarray(np.memmap(path, np.uint8, "r"))
            return
        read = _reader(stream, path)
        while block := read(READ_BYTES):
            yield np.frombuffer(block, np.uint8)
