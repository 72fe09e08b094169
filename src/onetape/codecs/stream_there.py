"""Is what stands in a stream the beginning of what is to be written? For who puts inputs there.

A topic says nothing of where its blocks came from, so the input is made again and held against what
is there: the manifest, the last block, and how many there are. So an input with another date is
told from the first, and one that is shorter from one that has arrived.
"""

import json
from dataclasses import dataclass, replace

from onetape.codecs.block import BlockError, Header, decode, json_of, read_header
from onetape.records import OperatorError


@dataclass
class There:
    """One shard of a stream as it was found: its first and last block, or nothing.

    where  for messages: "topic itch"
    first  that which is the oldest there; a topic may have dropped its manifest
    """

    where: str
    first: bytes = b""
    last: bytes = b""

    def __post_init__(self) -> None:
        try:
            ordinals = [read_header(one).ordinal for one in (self.first, self.last) if one]
        except BlockError as why:
            raise OperatorError(
                f"{self.where} holds what another program wrote ({why}); give another name"
            ) from None
        self.ordinal = ordinals[-1] if ordinals else -1  # of the last
        self._ours = -1

    def has(self, block: bytes) -> bool:
        """Is the next block of the input there? OperatorError: another one is."""
        header = read_header(block)
        self._ours = header.ordinal
        if header.ordinal > self.ordinal:
            return False
        for there in (self.first, self.last):
            if read_header(there).ordinal == header.ordinal and _content(there) != _content(block):
                raise OperatorError(
                    f"{self.where} holds another input: {_difference(header, there, block)}; give "
                    "another name, or what it was begun with"
                )
        return True

    def check_end(self) -> None:
        """The input has no more blocks. OperatorError: there are more."""
        if self._ours < self.ordinal:
            raise OperatorError(
                f"{self.where} holds another input: this one ends {self.ordinal - self._ours} "
                f"blocks before its {read_header(self.last).place}; give another name, or what it "
                "was begun with"
            )


def _content(block: bytes) -> tuple[Header, bytes]:
    """All but how it is packed and counted, and when it was sent."""
    header, payload = decode(block)
    return replace(header, ts_made_ns=0, codec="", row_bytes=0, count=0), payload.tobytes()


def _difference(header: Header, there: bytes, block: bytes) -> str:
    if header.ordinal == 0 and read_header(there).kind == header.kind:
        theirs, ours = json_of(there), json_of(block)
        for name in sorted(theirs | ours):
            if theirs.get(name) != ours.get(name):
                said = f"{name} is {json.dumps(theirs.get(name))} there, and "
                said += f"{json.dumps(ours.get(name))} here"
                return said + (" (--date?)" if name == "midnight_ns" else "")
    return f"its {read_header(there).place} differs from that of this one"
