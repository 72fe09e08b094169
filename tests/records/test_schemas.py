"""The same declaration for Arrow and for Avro: nothing is lost on the way and back."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.records import Array, f64, i32, i64, is_record, market, record, u8, u16, u32, u64
from onetape.records.schemas import arrow_schema, avro_schema
from onetape.records.types import UNSET


@record(version=2)
class Everything:
    """One field of every kind."""

    ts_event_ns: i64
    level: i32
    order_id: u64
    instrument_id: u32
    rule: u16
    side: u8
    price: f64
    ids: Array[u64, 3]
    sizes: Array[i32, 2]


RECORDS = [Everything, *(thing for thing in vars(market).values() if is_record(thing))]


def to_table(of, block):
    schema = arrow_schema(of)
    columns = []
    for field in schema:
        values = np.ascontiguousarray(block[field.name])
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(values.reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, field.type.list_size))
        else:
            columns.append(pa.array(values))
    return pa.Table.from_arrays(columns, schema=schema)


def from_table(of, table):
    block = np.zeros(len(table), of.dtype)
    for name in of._fields:
        values = np.array(table[name].to_pylist(), of.dtype[name].base)
        block[name] = values.reshape(block[name].shape)
    return block


@st.composite
def blocks(draw):
    def value(field):
        kind = np.dtype(field.code)
        if kind.kind == "f":
            return st.floats(allow_nan=False)
        bounds = np.iinfo(kind)
        return st.one_of(
            st.sampled_from([bounds.min, bounds.max]), st.integers(bounds.min, bounds.max)
        )

    rows = draw(st.integers(0, 4))
    block = np.zeros(rows, Everything.dtype)
    for name, field in Everything.fields.items():
        for i in range(rows):
            length = field.length or 1
            drawn = draw(st.lists(value(field), min_size=length, max_size=length))
            block[name][i] = drawn if field.length else drawn[0]
    return block


@given(blocks())
def test_arrow_and_parquet_give_back_what_was_put_in(block):
    file = io.BytesIO()

    pq.write_table(to_table(Everything, block), file)
    table = pq.read_table(file)

    assert table.schema.equals(arrow_schema(Everything), check_metadata=False)
    assert from_table(Everything, table).tobytes() == block.tobytes()


def test_undefined_stays_undefined_in_arrow():
    block = np.zeros(1, Everything.dtype)
    block["ts_event_ns"] = UNSET

    assert to_table(Everything, block)["ts_event_ns"].to_pylist() == [-(2**63)]


def test_arrow_metadata_names_the_record_and_its_version():
    schema = arrow_schema(Everything, {"digest": "abc"})

    assert schema.metadata == {b"record": b"Everything", b"version": b"2", b"digest": b"abc"}
    assert schema.field("ids").type == pa.list_(pa.uint64(), 3)
    assert schema.field("side").type == pa.uint8()


AVRO_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@pytest.mark.parametrize("of", RECORDS, ids=lambda of: of.__name__)
def test_avro_schemas_are_what_the_specification_allows(of):
    schema = json.loads(json.dumps(avro_schema(of)))

    assert schema["type"] == "record"
    assert schema["namespace"] == "onetape"
    assert AVRO_NAME.fullmatch(schema["name"])
    assert schema["doc"] and "\n" not in schema["doc"]
    assert [field["name"] for field in schema["fields"]] == list(of._fields)
    for field in schema["fields"]:
        assert AVRO_NAME.fullmatch(field["name"])
        kind = field["type"]
        if isinstance(kind, dict):
            assert kind["type"] == "array"
            kind = kind["items"]
        assert kind in ("int", "long", "double")


def test_an_avro_type_holds_every_value_of_its_field():
    """int has 32 bits and long 64, both signed; u64 is an id, kept as the long of its bits."""
    held = {"int": 31, "long": 63, "double": 0}
    for field in avro_schema(Everything)["fields"]:
        declared = Everything.fields[field["name"]]
        kind = np.dtype(declared.code)
        scalar = field["type"]["items"] if declared.length else field["type"]
        needed = {"f": 0, "i": kind.itemsize * 8 - 1, "u": min(kind.itemsize * 8, 63)}[kind.kind]
        assert (scalar == "double") == (kind.kind == "f")
        assert held[scalar] >= needed, field


def test_a_record_without_a_docstring_is_described_by_its_name():
    @record
    class BareOne:
        ts_event_ns: i64

    assert avro_schema(BareOne)["doc"] == "bare_one"
