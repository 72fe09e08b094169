"""An OwnOrder as the report it came from: for tests, and for feeds that are made."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from onetape.codecs.feed import symbol_of
from onetape.codecs.fix44.message import FixMessage, encode_message
from onetape.records.market import ADD, ASK, BID, CANCEL, FILL, MODIFY, REJECT
from onetape.records.types import UNSET

TICK = Decimal("0.0001")
SENDER, TARGET = b"VENUE", b"DESK"
KINDS = {ADD: b"0", FILL: b"F", CANCEL: b"4", MODIFY: b"5", REJECT: b"8"}
SIDES = {BID: b"1", ASK: b"2"}


def report_of(order: Any) -> bytes:
    """The ExecutionReport that decodes to this order. ValueError: its symbol is not set."""
    symbol = symbol_of(order.symbol_word).encode()
    if not symbol:
        raise ValueError("its symbol_word is not set; word_of('AAPL') makes one")
    is_fill = order.action == FILL
    fields = [
        (35, b"8"), (49, SENDER), (56, TARGET), (34, b"%d" % order.sequence),
        (52, utc_time(order.ts_event_ns)), (37, b"%d" % order.order_id),
        (150, bytes([order.kind]) if order.kind else KINDS.get(order.action, b"I")),
        (1, symbol_of(order.account_id).encode()), (55, symbol),
        (54, SIDES.get(order.side, b"7")), (32 if is_fill else 38, whole(order.qty_lots)),
        (31 if is_fill else 44, price(order.price_ticks)), (151, whole(order.leaves_lots)),
        (14, b"0"), (60, utc_time(order.ts_event_ns)),
        (527, b"%d" % order.match_id if order.match_id else b""),
    ]  # fmt: skip
    return encode_message(FixMessage(b"FIX.4.4", tuple(field for field in fields if field[1])))


def price(ticks: int) -> bytes:
    """Ticks as a decimal; nothing for UNSET."""
    return b"" if ticks == UNSET else f"{ticks * TICK:.4f}".encode()


def whole(lots: int) -> bytes:
    """A quantity; nothing for UNSET."""
    return b"" if lots == UNSET else b"%d" % lots


def utc_time(ts_ns: int) -> bytes:
    """20260105-14:30:00.000000001"""
    seconds, rest = divmod(ts_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d-%H:%M:%S}.{rest:09d}".encode()
