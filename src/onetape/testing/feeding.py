"""What a test hands to a source, as the bytes the source reads: one piece an event.

Rows of the source's record, blocks of them, and for a feed its messages: bytes as in a file, a
simulated day, or MarketEvents, which are written as the ITCH messages they came from; for a drop
copy FIX messages, or OwnOrders, which are written as the reports they came from.
"""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from onetape.codecs.fix44.write import report_of
from onetape.codecs.itch50.decode import MEANING
from onetape.codecs.itch50.message import MESSAGE_CLASSES, encode_message
from onetape.codecs.itch50.spec import ALPHA, BODY_BYTES, BY_LETTER
from onetape.connect.fix_file import messages_in, time_of
from onetape.connect.itch_file import midnight_ns as midnight_of
from onetape.engine.graph import Source
from onetape.records import DeclarationError, OperatorError, empty_block, is_record
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CROSS,
    FILL,
    HAS_PRICE,
    MODIFY,
    NOT_PRINTABLE,
    TRADE,
    WHOLE,
    MarketEvent,
)
from onetape.records.types import UNSET
from onetape.sim import Simulation, simulate

PREFIX_BYTES = 2  # before each message in a file: its length
TIME_AT = slice(7, 13)  # of a message with its prefix
SIDE_LETTERS = {BID: b"B", ASK: b"S"}


def row(of: Any, **fields: Any) -> Any:
    """A record with these fields; the others are 0. DeclarationError: no such field, or no room.

    ```python
    assert testing.row(mk.Trade, price_ticks=100).price_ticks == 100
    ```
    """
    if not is_record(of):
        raise DeclarationError(f"row was given {of!r}; expected a record, such as mk.Trade")
    for name in fields:
        if name not in of.fields:
            raise DeclarationError(f"{of.__name__} has no field {name!r}{_near(name, of.fields)}")
    empty = {n: 0 if f.length is None else [0] * f.length for n, f in of.fields.items()}
    made = of(**(empty | fields))
    block_of(of, [made], "row")
    return made


def day(
    *,
    seed: int = 7,
    seconds: float = 2.0,
    instruments: int = 5,
    messages_per_s: float | None = None,
    episodes: int = 0,
) -> Simulation:
    """A day of the simulated exchange, to feed to an ITCH source: see `onetape.sim.simulate`.

    ```python
    day = testing.day(seed=7, seconds=1, episodes=1)
    assert len(day.labels) == 1
    ```
    """
    return simulate(
        seed=seed,
        seconds=seconds,
        instruments=instruments,
        messages_per_s=messages_per_s,
        episodes=episodes,
    )


def pieces_of(source: Source, given: Any, midnight_ns: int) -> list[bytes]:
    """The bytes of each event. OperatorError says which one cannot be, and why."""
    where = f"source {source.name}"
    if source.feed == "fix":
        return _reports(given, where)
    if isinstance(given, Simulation):
        given = given.data
    if isinstance(given, bytes | bytearray | memoryview) or _is_bytes(given):
        if not source.feed:
            raise OperatorError(f"{where} takes rows of {source.of.__name__}, was given bytes")
        return split_messages(bytes(given), where)
    if source.feed:
        return [_message(where, i, event, midnight_ns) for i, event in enumerate(given)]
    if not isinstance(given, np.ndarray):
        given = block_of(source.of, list(given), where)
    if given.dtype != source.of.dtype:
        raise OperatorError(
            f"{where} takes blocks of {source.of.__name__} ({source.of.__name__}.dtype), was given "
            f"{given.dtype}"
        )
    data, size = given.tobytes(), given.dtype.itemsize
    return [data[at : at + size] for at in range(0, len(data), size)]


def midnight_in(given: Any, otherwise: int) -> int:
    """Where the messages of a simulated day count their time from."""
    if not isinstance(given, Simulation):
        return otherwise
    return midnight_of(given.options.trading_date)


def times_of(source: Source, pieces: list[bytes], midnight_ns: int) -> list[int]:
    """The event time of each piece."""
    if source.feed == "fix":
        return [time_of(piece) for piece in pieces]
    if source.feed:
        return [midnight_ns + int.from_bytes(piece[TIME_AT], "big") for piece in pieces]
    block = np.frombuffer(b"".join(pieces), source.of.dtype)
    return block["ts_event_ns"].tolist()  # type: ignore[no-any-return]


def block_of(of: Any, rows: list[Any], where: str) -> Any:
    """A block of these rows, each checked."""
    block = empty_block(of, len(rows))
    for i, made in enumerate(rows):
        if not isinstance(made, of):
            raise OperatorError(f"{where}: row {i} was {made!r}; expected a {of.__name__}")
        for name, value in zip(of._fields, made):
            try:
                block[name][i] = value
            except (OverflowError, ValueError, TypeError) as why:
                raise DeclarationError(
                    f"{where}: {of.__name__}.{name} of row {i} was {value!r}: {why}"
                ) from None
    return block


def split_messages(data: bytes, where: str) -> list[bytes]:
    """Messages with their length before them, as in a file, one by one."""
    pieces, at = [], 0
    while at < len(data):
        body = at + PREFIX_BYTES
        length = int.from_bytes(data[at:body], "big")
        if length == 0 and body < len(data):
            length = int(BODY_BYTES[data[body]])
        if length == 0 or body + length > len(data):
            raise OperatorError(
                f"{where}: no whole message at byte {at} of {len(data)}; expected two bytes of "
                "length and the message, as in a file (or give a list of message bodies)"
            )
        pieces.append(data[at : body + length])
        at = body + length
    return pieces


def _reports(given: Any, where: str) -> list[bytes]:
    """FIX messages one by one; of bytes, those in them."""
    if isinstance(given, bytes | bytearray | memoryview) or _is_bytes(given):
        return [piece for _, piece in messages_in(bytes(given))]
    made = []
    for number, order in enumerate(given):
        try:
            made.append(order if isinstance(order, bytes) else report_of(order))
        except (ValueError, AttributeError) as why:
            raise OperatorError(
                f"{where}: event {number} is no own order: {why}; it was {order!r}"
            ) from None
    return made


def _message(where: str, number: int, event: Any, midnight_ns: int) -> bytes:
    """A MarketEvent, a message's body, or a message of codecs/itch50/message.py; with its length"""
    try:
        if isinstance(event, MarketEvent):
            body = _itch(event, midnight_ns)
        else:
            body = event if isinstance(event, bytes) else encode_message(event)
    except (ValueError, KeyError, AttributeError) as why:
        raise OperatorError(
            f"{where}: event {number} is no ITCH message: {why}; it was {event!r}"
        ) from None
    return len(body).to_bytes(PREFIX_BYTES, "big") + body


def _itch(event: Any, midnight_ns: int) -> bytes:
    """The body of the message that decodes to this event."""
    letter = _letter(event)
    meaning = MEANING.get(letter, (None,) * 7)[2:]
    values = (event.order_id, event.other_id, SIDE_LETTERS.get(event.side), event.qty_lots)
    said = dict(zip(meaning, (*values, event.price_ticks)))
    said |= {"message_type": letter.encode(), "stock_locate": event.instrument_id}
    said |= {"timestamp_ns": event.ts_event_ns - midnight_ns}
    said |= {"printable": b"N" if event.flags & NOT_PRINTABLE else b"Y"}
    if letter == "Q":
        said["shares"] = event.qty_lots
    fields = BY_LETTER[letter].fields
    blank = {f.name: b" " * f.size_bytes if f.kind == ALPHA else 0 for f in fields}
    for name, value in said.items():
        if name in blank and (value is None or value == UNSET):
            raise ValueError(f"its {name} is not set")
    return encode_message(MESSAGE_CLASSES[letter](**{n: said.get(n, v) for n, v in blank.items()}))


def _letter(event: Any) -> str:
    flags = event.flags
    letters = {
        ADD: "A",
        CANCEL: "D" if flags & WHOLE else "X",
        MODIFY: "U",
        FILL: "C" if flags & HAS_PRICE else "E",
        TRADE: "Q" if flags & CROSS else "P",
    }
    return letters.get(event.action, "S")  # a system event changes no order


def _is_bytes(given: Any) -> bool:
    return isinstance(given, np.ndarray) and given.dtype == np.uint8


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else f"; it has {', '.join(known)}"
