"""All message types of ITCH 5.0, in one table. Everything else is derived from it.

How to add a message type: add one `message(...)` to MESSAGES with its letter, its name and its
fields, each with the offset the specification prints. The length check of the hot
decoder, the Python codec in `message.py`, the NumPy view and the tests follow from the table, and
the type arrives as an event with action OTHER. Only if it changes an order or reports a trade,
give it a line in MEANING of `decode.py` too. The twin in `tests/naive/itch.py` is written by hand:
its length there, and a branch for what has a MEANING. `pytest tests/codecs` says what is missing.

Source: "NASDAQ TotalView-ITCH 5.0", sections 1.1 to 1.7 (field tables). Numbers are big-endian
and unsigned; a price has 4 or 8 implied decimals; alpha fields are ASCII, padded with spaces on
the right; times are nanoseconds since midnight in New York.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

UINT, PRICE4, PRICE8, ALPHA, TIMESTAMP48 = "uint", "price4", "price8", "alpha", "timestamp48"


@dataclass(frozen=True)
class Field:
    """One field: where it is, how many bytes it has and how they are read."""

    name: str
    offset: int
    size_bytes: int
    kind: str


@dataclass(frozen=True)
class MessageType:
    """One message type: its letter, its name, and its fields in the order of their offsets."""

    letter: str
    name: str
    fields: tuple[Field, ...]

    @property
    def size_bytes(self) -> int:
        """Length of the body, from the letter to the last field."""
        return self.fields[-1].offset + self.fields[-1].size_bytes


def uint(name: str, offset: int, size_bytes: int) -> Field:
    return Field(name, offset, size_bytes, UINT)


def alpha(name: str, offset: int, size_bytes: int = 1) -> Field:
    return Field(name, offset, size_bytes, ALPHA)


def price4(name: str, offset: int) -> Field:
    return Field(name, offset, 4, PRICE4)


def price8(name: str, offset: int) -> Field:
    return Field(name, offset, 8, PRICE8)


HEADER = (
    alpha("message_type", 0),
    uint("stock_locate", 1, 2),
    uint("tracking_number", 3, 2),
    Field("timestamp_ns", 5, 6, TIMESTAMP48),
)


def message(letter: str, name: str, *fields: Field) -> MessageType:
    return MessageType(letter, name, HEADER + fields)


MESSAGES = (
    message("S", "SystemEvent", alpha("event_code", 11)),
    message(
        "R",
        "StockDirectory",
        alpha("stock", 11, 8),
        alpha("market_category", 19),
        alpha("financial_status", 20),
        uint("round_lot_size", 21, 4),
        alpha("round_lots_only", 25),
        alpha("issue_classification", 26),
        alpha("issue_sub_type", 27, 2),
        alpha("authenticity", 29),
        alpha("short_sale_threshold", 30),
        alpha("ipo_flag", 31),
        alpha("luld_tier", 32),
        alpha("etp_flag", 33),
        uint("etp_leverage_factor", 34, 4),
        alpha("inverse_indicator", 38),
    ),
    message(
        "H",
        "StockTradingAction",
        alpha("stock", 11, 8),
        alpha("trading_state", 19),
        alpha("reserved", 20),
        alpha("reason", 21, 4),
    ),
    message("Y", "RegShoRestriction", alpha("stock", 11, 8), alpha("reg_sho_action", 19)),
    message(
        "L",
        "MarketParticipantPosition",
        alpha("mpid", 11, 4),
        alpha("stock", 15, 8),
        alpha("primary_market_maker", 23),
        alpha("market_maker_mode", 24),
        alpha("market_participant_state", 25),
    ),
    message(
        "V", "MwcbDeclineLevel", price8("level_1", 11), price8("level_2", 19), price8("level_3", 27)
    ),
    message("W", "MwcbStatus", alpha("breached_level", 11)),
    message(
        "K",
        "IpoQuotingPeriod",
        alpha("stock", 11, 8),
        uint("ipo_quotation_release_time_s", 19, 4),
        alpha("ipo_quotation_release_qualifier", 23),
        price4("ipo_price", 24),
    ),
    message(
        "J",
        "LuldAuctionCollar",
        alpha("stock", 11, 8),
        price4("reference_price", 19),
        price4("upper_price", 23),
        price4("lower_price", 27),
        uint("extension", 31, 4),
    ),
    message(
        "h",
        "OperationalHalt",
        alpha("stock", 11, 8),
        alpha("market_code", 19),
        alpha("operational_halt_action", 20),
    ),
    message(
        "A",
        "AddOrder",
        uint("order_reference", 11, 8),
        alpha("side", 19),
        uint("shares", 20, 4),
        alpha("stock", 24, 8),
        price4("price", 32),
    ),
    message(
        "F",
        "AddOrderMpid",
        uint("order_reference", 11, 8),
        alpha("side", 19),
        uint("shares", 20, 4),
        alpha("stock", 24, 8),
        price4("price", 32),
        alpha("attribution", 36, 4),
    ),
    message(
        "E",
        "OrderExecuted",
        uint("order_reference", 11, 8),
        uint("executed_shares", 19, 4),
        uint("match_number", 23, 8),
    ),
    message(
        "C",
        "OrderExecutedWithPrice",
        uint("order_reference", 11, 8),
        uint("executed_shares", 19, 4),
        uint("match_number", 23, 8),
        alpha("printable", 31),
        price4("execution_price", 32),
    ),
    message(
        "X",
        "OrderCancel",
        uint("order_reference", 11, 8),
        uint("cancelled_shares", 19, 4),
    ),
    message("D", "OrderDelete", uint("order_reference", 11, 8)),
    message(
        "U",
        "OrderReplace",
        uint("original_order_reference", 11, 8),
        uint("new_order_reference", 19, 8),
        uint("shares", 27, 4),
        price4("price", 31),
    ),
    message(
        "P",
        "Trade",
        uint("order_reference", 11, 8),
        alpha("side", 19),
        uint("shares", 20, 4),
        alpha("stock", 24, 8),
        price4("price", 32),
        uint("match_number", 36, 8),
    ),
    message(
        "Q",
        "CrossTrade",
        uint("shares", 11, 8),
        alpha("stock", 19, 8),
        price4("cross_price", 27),
        uint("match_number", 31, 8),
        alpha("cross_type", 39),
    ),
    message("B", "BrokenTrade", uint("match_number", 11, 8)),
    message(
        "I",
        "NetOrderImbalance",
        uint("paired_shares", 11, 8),
        uint("imbalance_shares", 19, 8),
        alpha("imbalance_direction", 27),
        alpha("stock", 28, 8),
        price4("far_price", 36),
        price4("near_price", 40),
        price4("current_reference_price", 44),
        alpha("cross_type", 48),
        alpha("price_variation_indicator", 49),
    ),
    message("N", "RetailInterest", alpha("stock", 11, 8), alpha("interest_flag", 19)),
    message(
        "O",
        "DirectListingPriceDiscovery",
        alpha("stock", 11, 8),
        alpha("open_eligibility_status", 19),
        price4("minimum_allowable_price", 20),
        price4("maximum_allowable_price", 24),
        price4("near_execution_price", 28),
        uint("near_execution_time", 32, 8),
        price4("lower_price_range_collar", 40),
        price4("upper_price_range_collar", 44),
    ),
)

BY_LETTER = {m.letter: m for m in MESSAGES}

# Length of a body by its letter's byte; 0 where the letter is no message type. Kernels read it.
BODY_BYTES = np.zeros(256, np.int64)
for _m in MESSAGES:
    BODY_BYTES[ord(_m.letter)] = _m.size_bytes
BODY_BYTES.flags.writeable = False


def view_dtype(of: MessageType) -> np.dtype[Any]:
    """The body as a packed NumPy record, to view many bodies of one type at once.

    Numbers are big-endian; alpha fields are raw bytes (V); a time is two fields, `_high` (16 bits)
    and `_low` (32 bits).
    """
    members: list[tuple[str, str]] = []
    for field in of.fields:
        if field.kind == TIMESTAMP48:
            members += [(f"{field.name}_high", ">u2"), (f"{field.name}_low", ">u4")]
        elif field.kind == ALPHA:
            members.append((field.name, f"V{field.size_bytes}"))
        else:
            members.append((field.name, f">u{field.size_bytes}"))
    return np.dtype(members)


# The table is contiguous: each field begins where the one before it ends.
for _m in MESSAGES:
    for _before, _after in zip(_m.fields, _m.fields[1:]):
        assert _before.offset + _before.size_bytes == _after.offset, (_m.letter, _after.name)
