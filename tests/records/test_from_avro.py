"""Records from Avro schemas: our own come back whole, others by a table, the rest is refused."""

import json

import pytest
from hypothesis import given
from tests.codecs.made_records import records

import onetape as ot
from onetape.records import DeclarationError, is_record, market
from onetape.records.schemas import avro_schema


def of(kind, **more):
    return {"type": "record", "name": "a.b.Their", "fields": [{"name": "x", "type": kind} | more]}


@given(records())
def test_a_record_comes_back_from_its_schema(made):
    schema = json.loads(json.dumps(avro_schema(made)))

    again = ot.record_of(schema)

    assert again.fields == made.fields
    assert again.dtype == made.dtype
    assert again._field_defaults == made._field_defaults
    assert avro_schema(again)["fields"] == schema["fields"]


def test_the_records_of_a_feed_come_back():
    for name, thing in vars(market).items():
        if is_record(thing):
            again = ot.record_of(avro_schema(thing))
            assert (again.__name__, again.dtype) == (name, thing.dtype)


def test_old_names_come_back():
    @ot.record(was={"x": ("y", "z")})
    class Moved:
        x: ot.i64

    assert ot.record_of(avro_schema(Moved)).fields["x"].was == ("y", "z")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("boolean", "u8"),
        ("int", "i32"),
        ("long", "i64"),
        ("float", "f64"),
        ("double", "f64"),
        ("string", "u64"),
        ({"type": "string"}, "u64"),
        ({"type": "enum", "name": "Side", "symbols": ["B"]}, "u64"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "i64"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "i64"),
        (
            {"type": "fixed", "name": "F", "size": 4, "logicalType": "decimal", "precision": 9},
            "i64",
        ),
        (["null", "int"], "i64"),
        (["double", "null"], "f64"),
        (["null", "string"], "u64"),
        (["long"], "i64"),
    ],
)
def test_what_a_type_of_others_becomes(kind, field):
    assert ot.record_of(of(kind)).fields["x"].word == field


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("bytes", "is bytes, which no field holds"),
        ("null", "is null, which no field holds"),
        ({"type": "map", "values": "long"}, "is a map, which no field holds"),
        ({"type": "record", "name": "R", "fields": []}, "is a record, which no field holds"),
        ({"type": "fixed", "name": "F", "size": 4}, "is a fixed, which no field holds"),
        ({"type": "array", "items": "long"}, "is an array of any length"),
        ({"type": "array", "items": "string"}, "is an array of what is no number"),
        (["int", "string"], "is a union of several types"),
        (["null", {"type": "map", "values": "int"}], "is a map"),
    ],
)
def test_a_type_that_no_field_holds_is_refused_by_name(kind, why):
    with pytest.raises(DeclarationError) as said:
        ot.record_of(of(kind))

    assert f"Their.x {why}" in str(said.value)
    assert "record_of(schema, only=" in str(said.value)


def test_a_named_type_is_known_again():
    side = {"type": "enum", "name": "com.x.Side", "symbols": ["B"]}
    schema = {"type": "record", "name": "T", "fields": [
        *({"name": n, "type": t} for n, t in (("a", side), ("b", "Side"), ("c", "com.x.Side")))
    ]}  # fmt: skip

    assert [field.word for field in ot.record_of(schema).fields.values()] == ["u64"] * 3


def test_only_some_fields():
    schema = of("long")
    schema["fields"].append({"name": "tags", "type": {"type": "map", "values": "string"}})

    assert ot.record_of(schema, only=["x"])._fields == ("x",)
    with pytest.raises(DeclarationError, match=r"Their\.y is none of its fields: it has x, tags"):
        ot.record_of(schema, only=["y"])


@pytest.mark.parametrize("schema", ["long", {"type": "array", "items": "long"}, None, 7])
def test_what_is_no_record(schema):
    with pytest.raises(DeclarationError, match="expected an Avro record"):
        ot.record_of(schema)


def test_a_name_that_no_field_can_have():
    schema = {"type": "record", "name": "T", "fields": [{"name": "dtype", "type": "long"}]}

    with pytest.raises(DeclarationError, match=r"T\.dtype: no field of a record can have this"):
        ot.record_of(schema)
