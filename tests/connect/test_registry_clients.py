"""Confluent's own client reads what we write through a registry, and we read what it writes."""

import json
import warnings

import pytest
from tests import servers

import onetape as ot
from onetape.codecs.event import decoder, encoder
from onetape.codecs.event.protobuf import message_class
from onetape.connect.registry import Registry
from onetape.records import block_of
from onetape.records.schemas import avro_schema, json_schema, protobuf_text

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its own imports warn of
    needs = "pip install 'confluent-kafka[avro,protobuf,json]'"
    client = pytest.importorskip("confluent_kafka.schema_registry", reason=needs)
    avro = pytest.importorskip("confluent_kafka.schema_registry.avro", reason=needs)
    protobuf = pytest.importorskip("confluent_kafka.schema_registry.protobuf", reason=needs)
    json_schemas = pytest.importorskip("confluent_kafka.schema_registry.json_schema", reason=needs)
    from confluent_kafka.serialization import MessageField, SerializationContext

assert servers  # a test of a real server


@ot.record
class Jump:
    ts_event_ns: ot.i64
    instrument_id: ot.u32
    ticks: ot.i64
    weight: ot.f64
    ids: ot.Array[ot.u32, 2]
    side: ot.u8 = 66


ROW = (1_767_600_000_000_000_001, 4_000_000_000, -7, 0.25, (1, 2), 65)
ROWS = block_of(Jump, [ROW])
TOLD = dict(zip(Jump._fields, ROW, strict=True)) | {"ids": [1, 2]}


def context(topic):
    return SerializationContext(topic, MessageField.VALUE)


@pytest.fixture
def url(registry):
    return f"{registry.address}/apis/ccompat/v7"


@pytest.fixture
def theirs(url):
    with client.SchemaRegistryClient({"url": url}) as one:
        yield one


def test_avro(url, theirs):
    ours = Registry(url)
    schema_id = ours.register("clients-avro-value", avro_schema(Jump))
    (message,) = encoder(Jump, "avro", schema_id=schema_id)(ROWS)

    assert avro.AvroDeserializer(theirs)(message, context("clients-avro")) == TOLD

    text = json.dumps(avro_schema(Jump))
    write = avro.AvroSerializer(theirs, text)
    written = write(TOLD, context("clients-avro"))
    assert written == message
    assert decoder(Jump, "avro", schema_of=ours.schema)(written) == ROW


def test_protobuf(url, theirs):
    ours = Registry(url)
    schema_id = ours.register("clients-protobuf-value", protobuf_text(Jump), "PROTOBUF")
    (message,) = encoder(Jump, "protobuf", schema_id=schema_id)(ROWS)
    message_of = message_class(Jump)
    settings = {"use.deprecated.format": False}

    # Without the registry: this reader asks for serialized schemas, which Apicurio has not.
    read = protobuf.ProtobufDeserializer(message_of, settings)
    assert read(message, context("clients-protobuf")) == message_of(**TOLD)

    write = protobuf.ProtobufSerializer(message_of, theirs, settings)
    written = write(message_of(**TOLD), context("clients-protobuf-theirs"))
    decode = decoder(Jump, "protobuf", schema_of=ours.schema)
    assert written[5:] == message[5:]
    assert decode(written) == ROW
    assert decode.rows([written])[0].tobytes() == ROWS.tobytes()


def test_json(url, theirs):
    ours = Registry(url)
    schema_id = ours.register("clients-json-value", json_schema(Jump), "JSON")
    (message,) = encoder(Jump, "json", schema_id=schema_id)(ROWS)
    text = json.dumps(json_schema(Jump))

    read = json_schemas.JSONDeserializer(text, schema_registry_client=theirs)
    assert read(message, context("clients-json")) == TOLD  # checked against the schema, too

    write = json_schemas.JSONSerializer(text, theirs)
    written = write(TOLD, context("clients-json"))
    assert decoder(Jump, "json", schema_of=ours.schema)(written) == ROW
