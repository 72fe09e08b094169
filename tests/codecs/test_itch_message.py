"""The table of message types, the field-exact codec made from it, and the writing kernels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codecs.itch_driver import bodies, messages
from tests.naive import itch as naive

from onetape.codecs.itch50 import write
from onetape.codecs.itch50.message import MESSAGE_CLASSES, decode_message, encode_message
from onetape.codecs.itch50.spec import BODY_BYTES, BY_LETTER, MESSAGES, view_dtype
from onetape.records import PeerError
from onetape.records.market import ASK, BID


def test_the_table_has_every_type_with_the_length_of_the_specification():
    assert {m.letter: m.size_bytes for m in MESSAGES} == naive.LENGTHS
    assert {chr(i): int(n) for i, n in enumerate(BODY_BYTES) if n} == naive.LENGTHS


@pytest.mark.parametrize("letter", BY_LETTER)
@given(data=st.data())
def test_every_type_comes_back_as_it_was_written(letter, data):
    message = data.draw(messages(letter))

    body = encode_message(message)

    assert decode_message(body) == message
    assert encode_message(decode_message(body)) == body


@given(st.binary(max_size=60))
def test_any_bytes_come_back_or_are_refused(body):
    try:
        message = decode_message(body)
    except PeerError:
        known = len(body) > 0 and BODY_BYTES[body[0]] == len(body)
        assert not known
    else:
        assert encode_message(message) == body


@given(bodies)
def test_the_view_reads_what_the_codec_reads(body):
    message = decode_message(body)
    of = BY_LETTER[chr(body[0])]

    (seen,) = np.frombuffer(body, view_dtype(of))

    assert seen.dtype.itemsize == of.size_bytes
    ts_ns = int(seen["timestamp_ns_high"]) << 32 | int(seen["timestamp_ns_low"])
    assert ts_ns == message.timestamp_ns
    for field in of.fields:
        if field.name != "timestamp_ns":
            value = seen[field.name]
            value = value.tobytes() if field.kind == "alpha" else int(value)
            assert value == getattr(message, field.name), field.name


def test_errors_say_what_was_expected():
    with pytest.raises(PeerError, match=r"type was b'Z' \(3 bytes\); expected one of SRH"):
        decode_message(b"Zab")
    with pytest.raises(PeerError, match=r"type was b''"):
        decode_message(b"")
    with pytest.raises(PeerError, match=r"D \(OrderDelete\) was 18 bytes long; expected 19"):
        decode_message(b"D" + bytes(17))
    delete = MESSAGE_CLASSES["D"](b"D", 1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"stock_locate was 65536; expected 0 to 65535"):
        encode_message(delete._replace(stock_locate=65536))
    with pytest.raises(ValueError, match=r"OrderDelete.message_type was b'DD'"):
        encode_message(delete._replace(message_type=b"DD"))
    with pytest.raises(ValueError, match=r"OrderDelete.message_type was b'X'"):
        encode_message(delete._replace(message_type=b"X"))
    halt = MESSAGE_CLASSES["H"](b"H", 1, 2, 3, b"AAPL", b"T", b" ", b"    ")
    with pytest.raises(ValueError, match=r"stock was b'AAPL'; expected 8 bytes"):
        encode_message(halt)


WORD = write.stock_word("AAPL")
HEAD = (7, 3, 34_200 * 10**9 + 5)
WRITTEN = [
    (write.write_system_event, (ord("Q"),), "S", {"event_code": b"Q"}),
    (
        write.write_directory,
        (WORD, ord("Q"), ord("N"), 100),
        "R",
        {
            "stock": b"AAPL    ",
            "market_category": b"Q",
            "financial_status": b"N",
            "round_lot_size": 100,
            "round_lots_only": b"N",
            "issue_classification": b"C",
            "issue_sub_type": b"Z ",
            "authenticity": b"P",
            "short_sale_threshold": b"N",
            "ipo_flag": b"N",
            "luld_tier": b"1",
            "etp_flag": b"N",
            "etp_leverage_factor": 0,
            "inverse_indicator": b"N",
        },
    ),
    (
        write.write_trading_action,
        (WORD, ord("T")),
        "H",
        {"stock": b"AAPL    ", "trading_state": b"T", "reserved": b" ", "reason": b"    "},
    ),
    (
        write.write_add,
        (2**63 - 1, ASK, 2**32 - 1, WORD, 10_001),
        "A",
        {
            "order_reference": 2**63 - 1,
            "side": b"S",
            "shares": 2**32 - 1,
            "stock": b"AAPL    ",
            "price": 10_001,
        },
    ),
    (
        write.write_add_mpid,
        (11, BID, 12, WORD, 10_001, int.from_bytes(b"ABCD", "big")),
        "F",
        {
            "order_reference": 11,
            "side": b"B",
            "shares": 12,
            "stock": b"AAPL    ",
            "price": 10_001,
            "attribution": b"ABCD",
        },
    ),
    (
        write.write_executed,
        (11, 12, 13),
        "E",
        {"order_reference": 11, "executed_shares": 12, "match_number": 13},
    ),
    (
        write.write_executed_price,
        (11, 12, 13, ord("N"), 14),
        "C",
        {
            "order_reference": 11,
            "executed_shares": 12,
            "match_number": 13,
            "printable": b"N",
            "execution_price": 14,
        },
    ),
    (write.write_cancel, (11, 12), "X", {"order_reference": 11, "cancelled_shares": 12}),
    (write.write_delete, (-1,), "D", {"order_reference": 2**64 - 1}),
    (
        write.write_replace,
        (11, 12, 13, 14),
        "U",
        {"original_order_reference": 11, "new_order_reference": 12, "shares": 13, "price": 14},
    ),
    (
        write.write_trade,
        (11, ord("S"), 12, WORD, 13, 14),
        "P",
        {
            "order_reference": 11,
            "side": b"S",
            "shares": 12,
            "stock": b"AAPL    ",
            "price": 13,
            "match_number": 14,
        },
    ),
]


@pytest.mark.parametrize(("kernel", "arguments", "letter", "fields"), WRITTEN)
def test_a_writing_kernel_writes_every_byte_of_its_type(kernel, arguments, letter, fields):
    buffer = np.full(80, 0xEE, np.uint8)

    size = kernel(buffer, 9, *HEAD, *arguments)

    body = buffer[9 : 9 + size].tobytes()
    expected = MESSAGE_CLASSES[letter](letter.encode(), *HEAD, **fields)
    assert decode_message(body) == expected
    assert (np.delete(buffer, range(9, 9 + size)) == 0xEE).all()


def test_a_stock_word_is_the_symbol_padded():
    assert write.stock_word("AAPL").to_bytes(8, "big") == b"AAPL    "
    assert write.stock_word("").to_bytes(8, "big") == b" " * 8
    with pytest.raises(ValueError, match="9 letters"):
        write.stock_word("ABCDEFGHI")
