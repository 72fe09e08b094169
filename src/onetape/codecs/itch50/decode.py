"""ITCH 5.0 bytes to market events: the kernel every message passes through.

One message body in, one MarketEvent out, all of its fields written, so the row needs no clearing.
Everything a later step relies on is checked here, once: type and length, time within the day,
side, price and quantity within the specification's range. What fails is counted and refused.

    A F   ADD                            X  CANCEL of qty       D  CANCEL, WHOLE
    U     MODIFY order_id -> other_id    E  FILL, match number in other_id
    C     FILL with HAS_PRICE            P  TRADE               Q  TRADE with CROSS
    R     OTHER, the symbol's word in other_id, and left in feed.symbols
    else  OTHER, only `kind` and the header

Every event has LAST (a message is one event). Price ticks are 0.0001, quantity lots one share.

Types follow each other almost at random, and a branch guessed wrong costs more than all the rest.
So there is no branch on the type: MEANING says for each type which field (of the table in
`spec.py`) becomes what, LAYOUT packs that into one word a type, and the kernel loads from the
offsets in the word and throws away what the type does not have. Cost: 6 to 8 ns a message, framing
included, in any order of types (with branches: 6 in a regular order, 11 in a random one).
"""

from typing import Any

import numpy as np

from onetape.codecs.feed import (
    BAD_PRINTABLE,
    BAD_SIDE,
    EVENT,
    PRICE_OUT_OF_RANGE,
    QTY_OUT_OF_RANGE,
    TIME_OUT_OF_DAY,
    UNKNOWN_TYPE,
    WRONG_LENGTH,
    ZERO_LENGTH,
    refuse,
)
from onetape.codecs.itch50.spec import MESSAGES
from onetape.compiled.kernel import kernel
from onetape.compiled.memory import load_i64be, load_u16be, load_u32be
from onetape.compiled.rows import row
from onetape.records.market import (
    ADD,
    ASK,
    BID,
    CANCEL,
    CROSS,
    FILL,
    HAS_PRICE,
    LAST,
    MODIFY,
    NO_SIDE,
    NOT_PRINTABLE,
    OTHER,
    TRADE,
    WHOLE,
)
from onetape.records.types import UNSET

DAY_NS = 86_400 * 10**9
TIME_MASK = (1 << 48) - 1
PRICE_MAX_TICKS = 2_000_000_000  # 200,000.0000: "maximum price in ITCH", used by market orders

# letter: action, flags, and the fields that become order_id, other_id, side, qty_lots, price_ticks
ORDER, MATCH = "order_reference", "match_number"
OLD, NEW = "original_order_reference", "new_order_reference"
MEANING: dict[str, tuple[Any, ...]] = {
    "A": (ADD, 0, ORDER, None, "side", "shares", "price"),
    "F": (ADD, 0, ORDER, None, "side", "shares", "price"),
    "D": (CANCEL, WHOLE, ORDER, None, None, None, None),
    "X": (CANCEL, 0, ORDER, None, None, "cancelled_shares", None),
    "U": (MODIFY, 0, OLD, NEW, None, "shares", "price"),
    "E": (FILL, 0, ORDER, MATCH, None, "executed_shares", None),
    "C": (FILL, HAS_PRICE, ORDER, MATCH, None, "executed_shares", "execution_price"),
    "P": (TRADE, 0, ORDER, MATCH, "side", "shares", "price"),
    "R": (OTHER, 0, None, "stock", None, None, None),
    "Q": (TRADE, CROSS, None, MATCH, None, None, "cross_price"),  # its shares have 64 bits
}
RARE = "RCQ"  # types with something that no other type has

_R, _C, _Q = (ord(letter) for letter in RARE)
_YES, _NO = b"YN"


def _layout() -> np.ndarray[Any, np.dtype[np.int64]]:
    """One word a letter, a byte each: length, action, flags, the five offsets (0: has none).

    Bit 62 is set for types with a side, bit 63 for those in RARE. 0: the letter is no type.
    """
    words = np.zeros(256, np.int64)
    for of in MESSAGES:
        action, flags, *names = MEANING.get(of.letter, (OTHER, 0, *[None] * 5))
        offsets = {field.name: field.offset for field in of.fields}
        parts = [of.size_bytes, action, flags | LAST]
        parts += [0 if name is None else offsets[name] for name in names]
        word = int.from_bytes(bytes(parts), "little") | ("side" in names) << 62
        words[ord(of.letter)] = word - ((of.letter in RARE) << 63)
    return words


LAYOUT = _layout()
PRICE_MAX = np.where(LAYOUT >> 56 & 0x3F, PRICE_MAX_TICKS, 1 << 32)  # no price: never too high
ORDER_AT, ORDER_END = 13, 21  # behind two bytes of length; of all types that name an order
# Side by the byte on the wire: first for types without a side, then for those with one (0: bad).
SIDES = np.repeat(np.array([NO_SIDE, 0]), 256)
SIDES[256 + ord("B")], SIDES[256 + ord("S")] = BID, ASK


@kernel
def misfit(buffer, at, length):
    """Why a message of `length` bytes at buffer[at:] is none by its type, or -1; as `decode` says.

    For those that wait: damage that shows is found before it can contradict a whole copy.
    """
    if length <= 0:
        return ZERO_LENGTH
    known = LAYOUT[buffer[at]] & 0xFF
    if length != known:
        return UNKNOWN_TYPE if known == 0 else WRONG_LENGTH
    return -1


@kernel
def peek(buffer, at, stop):
    """(the order that the length-prefixed message at buffer[at:stop] speaks of, where the next one
    begins), as a guess and without a check: for hints. What cannot be read gives (0, stop)."""
    if at + ORDER_END > stop:
        return 0, stop
    return load_i64be(buffer, at + ORDER_AT), at + 2 + load_u16be(buffer, at)


@kernel
def decode(feed, buffer, at, length, sequence, ts_recv_ns, events):
    """Read the body at buffer[at:at + length] into events[0].

    feed        row of FeedState; counts and symbols change
    buffer      u8[n], n >= at + length
    sequence    the venue's number of this message
    events      MarketEvent[1], overwritten

    Returns EVENT, or REFUSED with the reason counted (events[0] is then not to be read).
    """
    if length <= 0:
        return refuse(feed, ZERO_LENGTH)
    letter = buffer[at]
    word = LAYOUT[letter]
    if length != word & 0xFF:
        return refuse(feed, UNKNOWN_TYPE if word == 0 else WRONG_LENGTH)
    time_ns = load_i64be(buffer, at + 3) & TIME_MASK  # with the tracking number masked out
    if time_ns >= DAY_NS:
        return refuse(feed, TIME_OUT_OF_DAY)

    # An offset of 0 loads from the header, which every message has, and is then replaced.
    order_at = word >> 24 & 0xFF
    order_id = load_i64be(buffer, at + order_at)
    if order_at == 0:
        order_id = 0
    other_at = word >> 32 & 0xFF
    other_id = load_i64be(buffer, at + other_at)
    if other_at == 0:
        other_id = 0
    side = SIDES[(word >> 54 & 0x100) + buffer[at + (word >> 40 & 0xFF)]]
    qty_at = word >> 48 & 0xFF
    qty_lots = load_u32be(buffer, at + qty_at)
    if qty_at == 0:
        qty_lots = UNSET
    price_at = word >> 56 & 0x3F
    price_ticks = load_u32be(buffer, at + price_at)
    if price_ticks > PRICE_MAX[letter]:
        return refuse(feed, PRICE_OUT_OF_RANGE)
    if price_at == 0:
        price_ticks = UNSET
    if side == 0:
        return refuse(feed, BAD_SIDE)
    flags = word >> 16 & 0xFF
    if word < 0:
        if letter == _Q:
            qty_lots = load_i64be(buffer, at + 11)
            if qty_lots < 0:  # 2**63 shares and more: int64 could not hold them
                return refuse(feed, QTY_OUT_OF_RANGE)
        elif letter == _C:
            printable = buffer[at + 31]
            if printable == _NO:
                flags |= NOT_PRINTABLE
            elif printable != _YES:
                return refuse(feed, BAD_PRINTABLE)
        else:
            feed.symbols[load_u16be(buffer, at + 1)] = load_i64be(buffer, at + 11)

    event = row(events, 0)
    event.ts_event_ns = feed.midnight_ns + time_ns
    event.ts_recv_ns = ts_recv_ns
    event.order_id = order_id
    event.other_id = other_id
    event.price_ticks = price_ticks
    event.qty_lots = qty_lots
    event.sequence = sequence
    event.instrument_id = load_u16be(buffer, at + 1)
    event.action = word >> 8 & 0xFF
    event.side = side
    event.flags = flags
    event.kind = letter
    feed.messages += 1
    feed.by_type[letter] += 1
    return EVENT
