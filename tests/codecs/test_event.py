"""One row a message: what is written is read again, libraries agree, damage has a reason."""

import io
import json
import math
import zlib
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codecs.made_records import records_and_rows, tuples

import onetape as ot
from onetape.codecs.event import ENCODINGS, decoder, encoder
from onetape.codecs.event.protobuf import message_class
from onetape.codecs.fix44.values import text_word
from onetape.records import UNSET, DeclarationError, PeerError, block_of, market
from onetape.records.schemas import avro_schema, json_schema, protobuf_text

fastavro = pytest.importorskip("fastavro", reason="pip install 'onetape[schemas]'")
pytest.importorskip("google.protobuf", reason="pip install 'onetape[schemas]'")


@ot.record
class Small:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    order_id: ot.u64
    weight: ot.f64
    ids: ot.Array[ot.u64, 2]
    instrument_id: ot.u32
    side: ot.u8
    flags: ot.u8 = 3


ROW = (1_700_000_000_123_456_789, -12_345, 2**64 - 1, 0.5, (2**63, 7), 2**32 - 1, 66, 1)
ROWS = block_of(Small, [ROW])


def same(found, expected):
    """Equal, and NaN is NaN."""
    return repr(found) == repr(expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(records_and_rows())
def test_what_is_written_is_read_again(encoding, made):
    of, rows = made

    messages = encoder(of, encoding)(rows)
    decode = decoder(of, encoding)
    found, reasons = decode.rows(messages)

    assert len(messages) == len(rows)
    assert not reasons
    assert found.tobytes() == rows.tobytes()
    assert [decode(message) for message in messages] == tuples(rows)


@given(records_and_rows())
def test_avro_is_what_fastavro_writes(made):
    of, rows = made
    schema = fastavro.parse_schema(avro_schema(of))

    for message, values in zip(encoder(of, "avro")(rows), tuples(rows), strict=True):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, dict(zip(of._fields, _signed(of, values))))
        assert message == out.getvalue()


def _signed(of, values):
    for field, value in zip(of.fields.values(), values, strict=True):
        if field.code == "<u8":
            one = np.array(value, np.uint64).view(np.int64).tolist()
            yield list(one) if field.length else one
        else:
            yield list(value) if field.length else value


@given(records_and_rows())
def test_protobuf_is_what_the_library_writes(made):
    of, rows = made
    message_of = message_class(of)

    for message, values in zip(encoder(of, "protobuf")(rows), tuples(rows), strict=True):
        theirs = message_of(**dict(zip(of._fields, values, strict=True)))
        assert message == theirs.SerializeToString()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_records_of_a_feed_at_their_bounds(encoding):
    for name in ("MarketEvent", "Trade", "TopOfBook", "Depth", "Vwap", "Bar", "Alert", "Gap"):
        of = getattr(market, name)
        rows = np.zeros(3, of.dtype)
        for field in of._fields:
            bounds = np.iinfo(of.fields[field].code)
            rows[field][0], rows[field][1] = bounds.min, bounds.max
        messages = encoder(of, encoding, schema_id=9)(rows)
        schema_of = {9: avro_schema(of)}.__getitem__
        found, reasons = decoder(of, encoding, schema_of=schema_of).rows(messages)

        assert not reasons
        assert found.tobytes() == rows.tobytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_many_rows_go_in_several_pieces(encoding):
    rows = np.zeros(30_000, Small.dtype)
    rows["ts_event_ns"] = np.arange(len(rows)) * 999_999_937
    rows["order_id"] = np.arange(len(rows), dtype=np.uint64) * np.uint64(11400714819323198485)

    messages = encoder(Small, encoding)(rows)
    found, _ = decoder(Small, encoding).rows(messages)

    assert found.tobytes() == rows.tobytes()


def test_the_header_is_the_registrys():
    (avro,) = encoder(Small, "avro", schema_id=258)(ROWS)
    (json_, bare) = encoder(Small, "json", schema_id=258)(ROWS)[0], encoder(Small, "json")(ROWS)[0]
    (protobuf,) = encoder(Small, "protobuf", schema_id=258)(ROWS)

    assert avro[:5] == json_[:5] == protobuf[:5] == b"\x00\x00\x00\x01\x02"
    assert protobuf[5] == 0
    assert json_[5:] == bare


def test_json_is_plain():
    (message,) = encoder(Small, "json")(ROWS)

    assert json.loads(message) == {
        "ts_event_ns": 1_700_000_000_123_456_789,
        "price_ticks": -12_345,
        "order_id": 2**64 - 1,
        "weight": 0.5,
        "ids": [2**63, 7],
        "instrument_id": 2**32 - 1,
        "side": 66,
        "flags": 1,
    }


def test_json_for_readers_whose_numbers_are_floats_and_prices_decimals():
    (message,) = encoder(Small, "json", tick="0.0025", ids_as_text=True)(ROWS)

    told = json.loads(message)
    assert told["order_id"] == "18446744073709551615"
    assert told["ids"] == ["9223372036854775808", "7"]
    assert told["price"] == "-30.8625"
    assert "price_ticks" not in told
    found, reasons = decoder(Small, "json", tick="0.0025").rows([message])
    assert (found.tobytes(), reasons) == (ROWS.tobytes(), {})


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(["0.0001", "0.25", "5", "1e2", "3"]))
def test_a_decimal_is_exact(ticks, tick):
    rows = block_of(Small, [(0, ticks, 0, 0.0, (0, 0), 0, 0, 0)])
    (message,) = encoder(Small, "json", tick=tick)(rows)

    price = Fraction(json.loads(message)["price"])
    assert price == Fraction(Decimal(tick)) * ticks
    assert decoder(Small, "json", tick=tick)(message)[1] == ticks


def test_what_json_has_no_number_for():
    rows = block_of(Small, [ROW] * 4)
    rows["price_ticks"][0] = UNSET
    rows["weight"] = [math.nan, math.inf, -math.inf, 1e300]

    messages = encoder(Small, "json")(rows)

    told = [json.loads(message) for message in messages]
    assert told[0]["price_ticks"] is None
    assert [one["weight"] for one in told] == [None, "Infinity", "-Infinity", 1e300]
    found, _ = decoder(Small, "json").rows(messages)
    assert same(found["weight"].tolist(), rows["weight"].tolist())
    assert found["price_ticks"][0] == UNSET


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (b"", "the bytes are no JSON"),
        (b"\xff\xfe", "the bytes are no JSON"),
        (b"[" * 100_000, "the bytes are no JSON"),
        (b'{"price_ticks": ' + b"9" * 5000 + b"}", "the bytes are no JSON"),
        (b'{"weight": NaN}', "NaN is no JSON"),
        (b"[1]", "was [1]; expected an object"),
        ({"price_ticks": ...}, "Small.price_ticks as json: is missing"),
        ({"price_ticks": 1.5}, "price_ticks as json: was 1.5; expected a whole number"),
        ({"price_ticks": 2**63}, "expected a whole number from -9223372036854775808 to"),
        ({"price_ticks": "12x"}, "price_ticks as json: was '12x'; expected a whole number"),
        ({"side": 256}, "side as json: was 256; expected a whole number from 0 to 255"),
        ({"side": "BUY"}, "side as json: was the text 'BUY', which this field does not hold"),
        ({"side": None}, "side as json: was None"),
        ({"weight": "much"}, "weight as json: was 'much'; expected a number"),
        ({"weight": [1]}, "weight as json: was [1]; expected a number"),
        ({"ids": [1]}, "ids as json: has 1 values; expected 2"),
        ({"ids": 7}, "ids as json: was 7; expected 2 values"),
        ({"ids": [1, {}]}, "ids as json: was {}; expected a whole number"),
    ],
)
def test_json_that_cannot_be_read_has_a_reason(told, reason):
    if isinstance(told, dict):
        (good,) = encoder(Small, "json")(ROWS)
        told = json.dumps(
            {k: v for k, v in (json.loads(good) | told).items() if v is not ...}
        ).encode()
    decode = decoder(Small, "json")

    with pytest.raises(PeerError) as why:
        decode(told)

    assert reason in str(why.value)
    assert decode.rows([told])[1] == {0: str(why.value)}


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("1.001", "is between two ticks"),
        ("abc", "expected a decimal"),
        ("NaN", "is no price"),
        ("1e1000000000", "is no price"),
        (True, "expected a decimal"),
        ([], "expected a decimal"),
    ],
)
def test_a_decimal_that_is_no_price_has_a_reason(price, reason):
    (good,) = encoder(Small, "json", tick="0.01")(ROWS)

    with pytest.raises(PeerError, match=reason):
        decoder(Small, "json", tick="0.01")(
            json.dumps(json.loads(good) | {"price": price}).encode()
        )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("schema_id", [None, 7])
def test_a_message_cut_short_anywhere_has_a_reason(encoding, schema_id):
    (message,) = encoder(Small, encoding, schema_id=schema_id)(ROWS)
    schema_of = None if schema_id is None else lambda _: avro_schema(Small)
    decode = decoder(Small, encoding, schema_of=schema_of)
    # The end of a Protobuf message may be a field that has a default.
    at_most = len(message) - (2 if encoding == "protobuf" else 0)
    pieces = [message[:end] for end in range(at_most)]

    found, reasons = decode.rows([*pieces, message, None])

    assert found.tobytes() == ROWS.tobytes()
    assert sorted(reasons) == [*range(at_most), at_most + 1]
    assert all(
        f" as {encoding}: " in why or "registry" in why or "message" in why
        for why in reasons.values()
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.fuzz
@given(st.data())
def test_damaged_bytes_are_read_or_refused_and_both_ways_agree(encoding, data):
    (message,) = encoder(Small, encoding, schema_id=7)(ROWS)
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        cut = data.draw(st.integers(0, 2))
        damaged[at : at + cut] = data.draw(st.binary(max_size=12))
    decode = decoder(Small, encoding, schema_of=lambda _: avro_schema(Small))

    rows, reasons = decode.rows([bytes(damaged)])

    assert len(rows) + len(reasons) == 1
    try:
        values = decode(bytes(damaged))
    except PeerError as why:
        assert reasons == {0: str(why)}
    else:
        assert same(tuples(rows), [values])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.fuzz
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(encoding, noise):
    rows, reasons = decoder(Small, encoding).rows([noise])

    assert len(rows) + len(reasons) == 1


def test_bytes_behind_an_avro_message_are_refused():
    (message,) = encoder(Small, "avro")(ROWS)

    with pytest.raises(PeerError, match="Small as avro: 3 bytes are left behind the last field"):
        decoder(Small, "avro")(message + b"\0\0\0")


THEIRS = {
    "type": "record",
    "name": "Quote",
    "namespace": "com.example",
    "fields": [
        {"name": "note", "type": ["null", "string"]},
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "symbol", "type": "string"},
        {
            "name": "px",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {"name": "buyer", "type": {"type": "enum", "name": "Side", "symbols": ["B", "S"]}},
        {"name": "size", "type": ["null", "int"], "default": None},
        {"name": "tags", "type": {"type": "map", "values": "string"}},
    ],
}


@ot.record
class Quote:
    ts_event_ns: ot.i64
    price_ticks: ot.i64
    symbol_word: ot.u64
    instrument_id: ot.u32
    side: ot.u8
    qty_lots: ot.i64
    venue: ot.u16 = 9


COLUMNS = {"ts_event_ns": "time", "price_ticks": "px", "symbol_word": "symbol"}
COLUMNS |= {"instrument_id": "symbol", "side": "buyer", "qty_lots": "size"}


def quote(**other):
    told = {"note": "x", "time": 1_700_000_000_000_001, "symbol": "AAPL", "px": b"\xff\x38"}
    told |= {"buyer": "S", "size": None, "tags": {"a": "b"}}
    out = io.BytesIO()
    plain = json.loads(json.dumps(THEIRS).replace('"logicalType"', '"was"'))
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain), told | other)
    return b"\0\0\0\0\5" + out.getvalue()


def test_a_topic_of_others_becomes_rows():
    decode = decoder(Quote, "avro", schema_of={5: THEIRS}.__getitem__, columns=COLUMNS)

    rows, reasons = decode.rows([quote(), quote(size=12, px=b"\x01\x00")])

    assert not reasons
    assert tuples(rows[:1]) == [
        (
            1_700_000_000_000_001_000,
            -200,
            int.from_bytes(b"AAPL    ", "big"),
            zlib.crc32(b"AAPL"),
            83,
            UNSET,
            9,
        )
    ]
    assert rows["qty_lots"][1] == 12
    assert rows["price_ticks"][1] == 256


def test_a_word_is_that_of_fix_messages():
    decode = decoder(Quote, "avro", schema_of=lambda _: THEIRS, columns=COLUMNS)
    for text in ("A", "12345678", "a-longer-name"):
        word = text_word(np.frombuffer(text.encode(), np.uint8), 0, len(text))

        assert np.uint64(decode(quote(symbol=text))[2]) == np.int64(word).view(np.uint64)


def test_each_schema_id_is_read_by_its_own_schema():
    @ot.record
    class Old:
        ts_event_ns: ot.i64
        px_ticks: ot.i64
        gone: ot.f64

    @ot.record(was={"price_ticks": "px_ticks"})
    class New:
        price_ticks: ot.i64
        ts_event_ns: ot.i64
        lots: ot.u16 = 8

    schemas = {1: avro_schema(Old), 2: json.dumps(avro_schema(New)), 3: {"type": "string"}}
    old = encoder(Old, "avro", schema_id=1)(block_of(Old, [(5, 6, 0.5)]))
    new = encoder(New, "avro", schema_id=2)(block_of(New, [(1, 2, 3)]))
    third = [b"\0\0\0\0\3\0"]

    rows, reasons = decoder(New, "avro", schema_of=schemas.get).rows(old + new + third + old)

    assert tuples(rows) == [(6, 5, 8), (1, 2, 3), (6, 5, 8)]
    assert list(reasons) == [2]
    assert "expected an Avro record" in reasons[2]


def test_a_field_that_nobody_has_is_named():
    other = {"type": "record", "name": "Small", "fields": [{"name": "x", "type": "map"}]}
    decode = decoder(Small, "avro", schema_of=lambda _: other)

    with pytest.raises(PeerError, match=r"Small\.ts_event_ns as avro: is not in the writer's sch"):
        decode(b"\0\0\0\0\1")


def test_an_unknown_id_is_asked_for_again():
    known = {}

    def schema_of(schema_id):
        if schema_id not in known:
            raise PeerError(f"no schema has the id {schema_id}")
        return known[schema_id]

    decode = decoder(Small, "avro", schema_of=schema_of)
    messages = encoder(Small, "avro", schema_id=4)(ROWS)
    _, before = decode.rows(messages)
    known[4] = avro_schema(Small)
    rows, after = decode.rows(messages)

    assert before == {0: "no schema has the id 4"}
    assert (rows.tobytes(), after) == (ROWS.tobytes(), {})


def test_protobuf_messages_of_others():
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    about = file.message_type.add(name="Tick")
    for number, (name, kind) in enumerate({"at": 3, "px": 3, "sym": 9, "w": 1}.items(), 1):
        about.field.add(name=name, number=number * 10, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    tick_of = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Tick"))

    @ot.record
    class Tick:
        ts_event_ns: ot.i64
        price_ticks: ot.i64
        symbol_word: ot.u64
        w: ot.f64
        side: ot.u8 = 78

    columns = {"ts_event_ns": "at", "price_ticks": "px", "symbol_word": "sym"}
    decode = decoder(Tick, "protobuf", columns=columns, message=tick_of)

    assert decode(tick_of(at=7, sym="AB").SerializeToString()) == (
        7,
        0,
        int.from_bytes(b"AB      ", "big"),
        0.0,
        78,
    )
    with pytest.raises(DeclarationError, match=r"Tick\.w is not in t\.Tick"):
        decoder(Tick, "protobuf", columns=columns | {"w": "weight"}, message=tick_of)


def test_protobuf_fields_that_are_missing_are_not_zero():
    message_of = message_class(Small)
    (whole,) = encoder(Small, "protobuf")(ROWS)
    part = message_of.FromString(whole)
    part.ClearField("flags")
    decode = decoder(Small, "protobuf")
    assert decode(part.SerializeToString())[-1] == 3  # its default
    part.ClearField("order_id")

    with pytest.raises(PeerError, match=r"Small\.order_id as protobuf: is missing"):
        decode(part.SerializeToString())


def test_another_message_of_a_protobuf_schema_is_refused():
    (message,) = encoder(Small, "protobuf", schema_id=1)(ROWS)
    decode = decoder(Small, "protobuf", schema_of=lambda _: protobuf_text(Small))

    assert decode(message[:5] + b"\2\0" + message[6:]) == ROW
    with pytest.raises(PeerError, match="expected 00"):
        decode(message[:5] + b"\2\2" + message[6:])


def test_the_proto_file_says_what_is_written():
    assert protobuf_text(Small).splitlines() == [
        'syntax = "proto2";',
        "package onetape;",
        "",
        "message Small {",
        "  optional sint64 ts_event_ns = 1;",
        "  optional sint64 price_ticks = 2;",
        "  optional uint64 order_id = 3;",
        "  optional double weight = 4;",
        "  repeated uint64 ids = 5;",
        "  optional uint32 instrument_id = 6;",
        "  optional uint32 side = 7;",
        "  optional uint32 flags = 8 [default = 3];",
        "}",
    ]


def test_the_json_schema_says_what_is_written():
    schema = json_schema(Small)

    assert schema["properties"]["price_ticks"] == {"type": ["integer", "null"]}
    assert schema["properties"]["ids"]["maxItems"] == 2
    assert schema["properties"]["flags"] == {"type": "integer", "default": 3}
    assert schema["required"] == list(Small._fields[:-1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: encoder(Small, "xml"), "the encoding was 'xml'; expected one of avro, json"),
        (lambda: decoder(Small, "csv"), "the encoding was 'csv'"),
        (lambda: encoder(Small, "avro", tick="0.01"), "tick is of JSON"),
        (lambda: encoder(Small, "json", tick="cent"), "tick was 'cent'; expected what one tick is"),
        (lambda: encoder(Small, "json", tick="0"), "tick was '0'"),
        (lambda: encoder(Small, "json", tick=0.01), "tick was 0.01"),
    ],
)
def test_what_cannot_be_is_said_at_once(make, said):
    with pytest.raises(DeclarationError) as why:
        make()

    assert said in str(why.value)
