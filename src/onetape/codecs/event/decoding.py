"""What decoders have in common: one message to a tuple, many to a block."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onetape.codecs.event.values import Take
from onetape.codecs.event.wire import HEADER, schema_id_of
from onetape.records import PeerError, empty_block
from onetape.records.declare import raw_rows


class Decoder:
    """Messages to rows of one record."""

    def __init__(self, of: Any, encoding: str, schema_of: Callable[[int], Any] | None) -> None:
        self.of, self.encoding, self._schema_of = of, encoding, schema_of

    def __call__(self, message: bytes) -> tuple[Any, ...]:
        """The values of one message. PeerError: the reason; it is about this message alone."""
        raise NotImplementedError

    def rows(self, messages: Sequence[bytes]) -> tuple[Any, dict[int, str]]:
        """(a block of the messages that can be read, in order; {index: reason} of the others)."""
        if not messages:
            return empty_block(self.of, 0), {}
        messages = [message or b"" for message in messages]  # Kafka's may have no value
        block = empty_block(self.of, len(messages))
        is_good = self._take_plain(messages, block)
        reasons: dict[int, str] = {}
        for i in np.flatnonzero(~is_good).tolist():
            try:
                block[i] = self(messages[i])
                is_good[i] = True
            except PeerError as why:
                reasons[i] = str(why)
        if reasons:
            block = raw_rows(block)[is_good].view(self.of.dtype)
        return block, reasons

    def _take_plain(self, messages: Sequence[bytes], block: Any) -> Any:
        """Fill in what can be read quickly; which those are."""
        return np.zeros(len(messages), np.bool_)

    def _body(self, message: bytes) -> bytes:
        """Without the registry's header, where there is one."""
        if self._schema_of is None:
            return message
        schema_id_of(message)
        return message[HEADER.size :]

    def _because(self, why: Any, field: str = "") -> PeerError:
        of = f"{self.of.__name__}.{field}" if field else self.of.__name__
        return PeerError(f"{of} as {self.encoding}: {why}")

    def _taken(self, told: dict[str, Any], takers: list[tuple[str, str, Take]]) -> tuple[Any, ...]:
        """Values in the record's order: of each (field, its name in `told` or none, taker)."""
        values = []
        for field, name, take in takers:
            try:
                values.append(take(told[name] if name else None))
            except ValueError as why:
                raise self._because(why, field) from None
        return tuple(values)
