"""One event a message, as others write them, as blocks of one frame of one row.

So the frames on a tape are the messages, one for one, and a node goes on behind the last it has, as
it does with blocks. Some ten thousand events a second: for more, blocks.
"""

from pathlib import Path
from typing import Any

from onetape.codecs.block import FRAMES, MANIFEST, Header, encode, encode_json
from onetape.codecs.event import decoder
from onetape.connect.nats.link import Link
from onetape.connect.nats.reader import Reader, consumer_of
from onetape.connect.nats.streams import existing
from onetape.engine.frames import FramePacker
from onetape.records import PeerError
from onetape.records.declare import raw_rows


class EventReader:
    """The messages of a subject as rows of the source's record, for `run_blocks`.

    source   of the pipeline
    subject  some of the stream: "trades.>"; ">" is all. A message that cannot be read ends the run
    """

    def __init__(
        self, link: Link, stream: str, subject: str, source: Any, encoding: str, tape: Path
    ) -> None:
        made = existing(link, stream, keeps=False)
        self._reader = Reader(link, stream, subject, consumer_of(tape), made)
        self._decode, self._source = decoder(source.of, encoding), source.name
        self._packer, self._ordinal = FramePacker(), 1
        self.name, self.origin = self._reader.name, {**self._reader.origin, "encoding": encoding}

    def first(self) -> bytes:
        facts = {"framing": {}, "midnight_ns": 0, "sources": [self._source], "shards": 1, "by": ""}
        return encode_json(Header(MANIFEST), facts)

    def begin(self, after: int, ordinal: int) -> None:
        self._ordinal = ordinal
        self._reader.begin(after)

    def read(self, wait_s: float) -> list[tuple[int, bytes]]:
        return [(at, self._block(at, message)) for at, message in self._reader.read(wait_s)]

    def keep(self, position: int) -> None:
        self._reader.keep(position)

    def trouble(self) -> str:
        return self._reader.trouble()

    def close(self) -> None:
        self._reader.close()

    def _block(self, at: int, message: bytes) -> bytes:
        rows, reasons = self._decode.rows([message])
        if reasons:
            raise PeerError(
                f"{self.name}: message {at} cannot be read: {reasons[0]}; what came before is on "
                "the tape. Mend who writes it, and take the message away (nats stream rmm)"
            )
        buffer, _, end = self._packer.data(raw_rows(rows).tobytes())
        header = Header(FRAMES, ordinal=self._ordinal, count=1)
        self._ordinal += 1
        return encode(header, buffer[:end])
