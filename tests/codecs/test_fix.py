"""FIX 4.4 reports: against a plain reading, with every kind of damage, in sessions with gaps."""

import gzip
import re
from datetime import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.codecs.fix_driver import Reader, admin, report
from tests.naive import fix as naive

from onetape import market as mk
from onetape import testing
from onetape.codecs.feed import word_of
from onetape.codecs.fix44.message import FixMessage, decode_message, encode_message
from onetape.codecs.fix44.spec import DATA_OF
from onetape.codecs.fix44.write import report_of
from onetape.market.instruments import id_of
from onetape.records import UNSET, PeerError

SAID = ("order_id", "qty_lots", "price_ticks", "leaves_lots", "action")
DIGITS = st.text("0123456789", min_size=1, max_size=20).map(str.encode)
DECIMALS = st.from_regex(rb"-?[0-9]{0,15}(\.[0-9]{0,7})?", fullmatch=True)
TEXTS = st.binary(min_size=1, max_size=20).filter(lambda b: b"\x01" not in b)
TIMES = st.one_of(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2120, 1, 1)).map(
        lambda t: t.strftime("%Y%m%d-%H:%M:%S.%f").encode()
    ),
    st.sampled_from([b"20260229-10:00:00", b"20240229-23:59:60.9", b"20261301-00:00:00"]),
    st.from_regex(rb"2026[01][0-9][0-3][0-9]-[012][0-9]:[0-6][0-9]:[0-6][0-9]", fullmatch=True),
)
VALUES = {
    37: st.one_of(DIGITS, TEXTS), 150: st.sampled_from([b"0", b"F", b"4", b"5", b"8", b"C", b"A"]),
    1: st.one_of(TEXTS, st.none()), 55: TEXTS, 54: st.one_of(st.sampled_from(b"1258GZ"), TEXTS),
    38: st.one_of(DIGITS, st.none()), 44: st.one_of(DECIMALS, st.none()),
    32: st.one_of(DIGITS, st.none()), 31: st.one_of(DECIMALS, st.none()),
    151: st.one_of(DIGITS, DECIMALS, st.none()), 14: DIGITS, 60: TIMES,
    527: st.one_of(st.none(), DIGITS, TEXTS),
}  # fmt: skip


@st.composite
def reports(draw, sequence=1):
    """A sound report in which some fields are anything."""
    fields = {}
    for tag in draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=4)):
        value = draw(VALUES[tag])
        fields[f"t{tag}"] = bytes([value]) if isinstance(value, int) else value or None
    return report(sequence, draw(st.sampled_from([b"0", b"F", b"4", b"5"])), **fields)


@given(message=reports())
@example(report(1, b"F", t31=b"-0.00010000"))
@example(report(1, t44=b"."))
@example(report(1, t44=b"5.", t38=b"100.000"))
@example(report(1, t60=b"19700101-00:00:00"))
def test_a_report_says_what_a_plain_reading_says(message):
    expected = naive.Session()
    expected.read(message)

    found = Reader().read(message)

    assert told(found) == expected.orders
    assert sum(found.refused.values()) == len(expected.refused)
    assert list(found.refused) == expected.refused


def told(reader):
    """Orders without what the plain reading does not say."""
    return [{n: v for n, v in order.items() if n != "ts_recv_ns"} for order in reader.orders]


def said(order):
    return (*(order[name] for name in SAID[:-1]), chr(order["action"]))


KINDS = [
    (b"0", (1001, 100, 123400, 60, "A")),
    (b"F", (1001, 40, 123399, 60, "F")),
    (b"4", (1001, 60, 123400, 60, "C")),
    (b"3", (1001, 60, 123400, 60, "C")),
    (b"5", (1001, 100, 123400, 60, "M")),
    (b"8", (1001, 100, 123400, 60, "J")),
    (b"6", (1001, 100, 123400, 60, "N")),
]


@pytest.mark.parametrize(("kind", "expected"), KINDS)
def test_what_each_kind_of_report_does(kind, expected):
    (order,) = Reader().read(report(1, kind)).orders

    assert said(order) == expected
    assert order["ts_event_ns"] == 1767623400_500_000_000
    assert order["account_id"].to_bytes(8, "big") == b"ACC1    "
    assert order["symbol_word"].to_bytes(8, "big") == b"AAPL    "
    assert order["instrument_id"] == id_of("AAPL")
    assert order["ts_recv_ns"] == 5


MISTAKES = [
    (report(1).replace(b"38=100", b"38=101"), "bad checksum"),
    (report(1).replace(b"\x019=", b"\x019=1"), "truncated"),
    (re.sub(rb"\x019=\d+", b"\x019=150", report(1)), "bad packet"),
    (report(1)[:-1], "truncated"),
    (report(1)[3:], "bad packet"),
    (report(1, begin=b"FIX.4.2"), "unknown type"),
    (report(1, t37=None), "field missing"),
    (report(1, t151=None), "field missing"),
    (report(1, t34=None), "field missing"),
    (report(1, t54=b"Z"), "bad side"),
    (report(1, t44=b"1.00001"), "price out of range"),
    (report(1, t38=b"0.5"), "quantity out of range"),
    (report(1, t60=b"20260229-00:00:00"), "time out of day"),
    (report(1, t150=b"00"), "bad field"),
    (report(1, head=[(37, b"2")]), "bad field"),
    (report(1, head=[(58, b"")]), "bad field"),
    (report(1, head=[(95, b"9"), (96, b"short")]), "bad field"),
]


@pytest.mark.parametrize(("message", "reason"), MISTAKES)
def test_what_is_not_sound_is_refused_and_what_follows_is_stale(message, reason):
    reader = Reader().read(report(0)).read(message)

    assert reader.refused == {reason: 1}
    assert len(reader.orders) == 1
    assert reader.feed["stale"][0] == 1


def test_the_bytes_of_raw_data_may_be_anything():
    raw = b"8=FIX.4.4\x019=5\x0135=0\x01"

    reader = Reader().read(report(1, head=[(95, b"%d" % len(raw)), (96, raw)]) + report(2))

    assert [order["sequence"] for order in reader.orders] == [1, 2]
    assert reader.refused == {}


def test_what_a_log_has_between_messages_is_passed_over():
    reader = Reader().read(b"20260105 in  " + report(1) + b"\r\n\n" + report(2) + b"\n")

    assert [order["sequence"] for order in reader.orders] == [1, 2]
    assert reader.refused == {}


# --- sessions -------------------------------------------------------------------------------------


def test_a_number_left_out_is_a_gap_at_once_and_old_numbers_are_dropped():
    reader = Reader().read(report(7) + report(10) + report(8, t43=b"Y") + report(10, t43=b"Y"))

    assert [order["sequence"] for order in reader.orders] == [7, 10]
    assert reader.gaps == [(8, 2)]
    feed = reader.feed[0]
    assert (feed["gaps"], feed["gap_messages"], feed["stale"]) == (1, 2, 1)
    assert (feed["after_loss"], feed["duplicates"]) == (1, 1)


def test_a_gap_that_the_session_fills_is_none():
    fill = admin(2, b"4", t123=b"Y", t36=b"5", t43=b"Y")

    reader = Reader().read(report(1) + fill + report(5) + admin(6, b"0") + report(7))

    assert [order["sequence"] for order in reader.orders] == [1, 5, 7]
    assert reader.gaps == []
    assert reader.feed["stale"][0] == 0


def test_a_reset_loses_what_it_leaves_out_and_a_new_session_begins_at_one():
    again = admin(1, b"A", t141=b"Y")

    reader = Reader().read(report(3) + admin(4, b"4", t36=b"9") + report(9) + again + report(2))

    assert [order["sequence"] for order in reader.orders] == [3, 9, 2]
    assert reader.gaps == [(4, 5)]


def test_only_the_side_that_sends_reports_is_read():
    other = encode_message(
        FixMessage(b"FIX.4.4", ((35, b"D"), (49, b"DESK"), (56, b"VENUE"), (34, b"900")))
    )

    reader = Reader().read(admin(1, b"A") + other + report(2) + other + report(3))

    assert [order["sequence"] for order in reader.orders] == [2, 3]
    assert reader.gaps == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.integers(0, 12)),
        st.tuples(st.just("admin"), st.integers(0, 12)),
        st.tuples(st.just("fill"), st.integers(0, 12)),
        st.tuples(st.just("reset"), st.integers(0, 12)),
        st.tuples(st.just("logon"), st.integers(0, 3)),
        st.tuples(st.just("damaged"), st.integers(0, 12)),
    ),
    max_size=12,
)


def session(steps):
    made = []
    for what, n in steps:
        if what == "report":
            made.append(report(n))
        elif what == "admin":
            made.append(admin(n, b"0"))
        elif what == "fill":
            made.append(admin(n, b"4", t123=b"Y", t36=b"%d" % (n + 3)))
        elif what == "reset":
            made.append(admin(1, b"4", t36=b"%d" % n))
        elif what == "logon":
            made.append(admin(n, b"A", t141=b"Y"))
        else:
            made.append(report(n).replace(b"55=AAPL", b"55=AAPM"))
    return made


@given(steps=STEPS, cuts=st.sets(st.integers(0, 12)))
def test_any_session_in_any_pieces_is_what_a_plain_reading_says(steps, cuts):
    messages = session(steps)
    expected, found = naive.Session(), Reader()
    for message in messages:
        expected.read(message)

    ends = [*sorted(cut for cut in cuts if cut < len(messages)), len(messages)]
    begin = 0
    for end in ends:
        found.read(b"".join(messages[begin:end]))
        begin = end

    assert [o["sequence"] for o in found.orders] == [o["sequence"] for o in expected.orders]
    assert found.gaps == expected.lost
    assert sum(found.refused.values()) == len(expected.refused)
    assert bool(found.feed["stale"][0]) == expected.stale


# --- the message codec ----------------------------------------------------------------------------

PLAIN = st.tuples(st.integers(1, 99_999).filter(lambda t: t not in DATA_OF), TEXTS)
RAW = st.tuples(st.sampled_from(sorted(DATA_OF)), st.binary(min_size=1, max_size=30)).map(
    lambda r: ((r[0], b"%d" % len(r[1])), (DATA_OF[r[0]], r[1]))
)
FIELDS = st.lists(st.one_of(PLAIN.map(lambda f: (f,)), RAW), min_size=1, max_size=8)


@given(groups=FIELDS, begin=st.sampled_from([b"FIX.4.4", b"FIXT.1.1"]))
def test_every_message_comes_back_as_it_was_written(groups, begin):
    message = FixMessage(begin, tuple(field for group in groups for field in group))

    data = encode_message(message)

    assert decode_message(data) == message
    assert encode_message(decode_message(data)) == data


@given(data=st.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_in_words(data):
    for bad in (data, report(1)[: len(data)], report(1) + data + b"x"):
        with pytest.raises(PeerError):
            decode_message(bad)


ORDERS = st.builds(
    lambda **values: testing.row(mk.OwnOrder, **values),
    ts_event_ns=st.integers(0, 46 * 10**17),
    order_id=st.integers(0, 10**18 - 1),
    account_id=st.sampled_from([word_of("ACC1"), word_of("A B C D")]),
    match_id=st.integers(0, 10**18 - 1),
    symbol_word=st.sampled_from([word_of("AAPL"), word_of("ZVZZTEST")]),
    price_ticks=st.one_of(st.integers(-(2**48), 2**48), st.just(UNSET)),
    qty_lots=st.integers(0, 2**40),
    leaves_lots=st.integers(0, 2**40),
    sequence=st.integers(0, 2**53),
    action=st.sampled_from([mk.ADD, mk.FILL, mk.CANCEL, mk.MODIFY, mk.REJECT]),
    side=st.sampled_from([mk.BID, mk.ASK]),
)


@given(order=ORDERS)
def test_an_order_comes_back_from_its_report(order):
    (found,) = Reader().read(report_of(order)).orders

    left_out = ("ts_recv_ns", "instrument_id", "flags", "kind")
    same = [name for name in mk.OwnOrder._fields if name not in left_out]
    assert [found[n] for n in same] == [getattr(order, n) for n in same]


def logged(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return re.findall(rb"8=FIX[^\x01]*\x019=\d+\x01.*?\x0110=\d{3}\x01", data, re.DOTALL)


@pytest.mark.parametrize(
    ("name", "count", "damaged"),
    [
        ("FIX41_EXEC_BANZAI.fix", 16, 0),
        ("FIXT.1.1-EXEC-BANZAI.messages.log", 94, 2),
        ("FIX.4.2-KOD-BON.messages.log.gz", 2486, 0),
        ("JSE_FIXT11_marketdata_1-5000.fix.gz", 5000, 0),
    ],
)
def test_recorded_sessions_come_back_byte_for_byte(data_file, name, count, damaged):
    messages = logged(data_file(f"fix/sessions/{name}"))
    refused = 0
    for message in messages:
        try:
            assert encode_message(decode_message(message)) == message
        except PeerError:
            refused += 1

    assert (len(messages), refused) == (count, damaged)


def test_reports_of_a_recorded_session_are_read_as_a_plain_reading_says(data_file):
    """The recorded ones are FIX 4.2: their BeginString is changed, and what hangs on it."""
    messages = logged(data_file("fix/sessions/FIX.4.2-KOD-BON.messages.log.gz"))[:400]
    changed = [encode_message(decode_message(m)._replace(begin=b"FIX.4.4")) for m in messages]
    expected, found = naive.Session(), Reader()
    for message in changed:
        expected.read(message)
        found.read(message)

    assert len(expected.orders) > 100
    assert told(found) == expected.orders
    assert sum(found.refused.values()) == len(expected.refused)
