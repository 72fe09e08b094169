"""One row a message, for consumers and producers that are not onetape: Avro, JSON, Protobuf.

    encode = encoder(mk.Trade, "avro", schema_id=7)
    messages = encode(rows)                      # a list of bytes, one a row
    decode = decoder(mk.Trade, "avro", schema_of=registry.schema)
    values = decode(messages[0])                 # a tuple; PeerError says why it cannot be read
    rows, reasons = decode.rows(messages)        # the good ones as a block, {index: why} of others

With a schema id a message is as a schema registry's clients write it (`wire.py`); without, it is
the bare encoding. Whole blocks of rows go through compiled code where both sides have the plain
form of Avro or Protobuf; all else through the libraries fastavro and protobuf.
"""

from collections.abc import Callable, Mapping
from typing import Any

from onetape.codecs.event.avro import AvroDecoder, AvroEncoder
from onetape.codecs.event.decoding import Decoder
from onetape.codecs.event.json_rows import JsonDecoder, JsonEncoder
from onetape.codecs.event.protobuf import ProtobufDecoder, ProtobufEncoder
from onetape.records import DeclarationError

ENCODINGS = ("avro", "json", "protobuf")

__all__ = ["ENCODINGS", "Decoder", "decoder", "encoder"]


def encoder(
    of: Any,
    encoding: str,
    *,
    schema_id: int | None = None,
    tick: str | None = None,
    ids_as_text: bool = False,
) -> Callable[[Any], list[bytes]]:
    """What turns a block of rows of the record `of` into messages, one a row.

    schema_id    of the registry; None: bare, without its header
    tick         JSON only: "0.01" writes `price_ticks` 1234 as "price": "12.34"
    ids_as_text  JSON only: 64-bit ids as text, for readers whose numbers are floats
    """
    if encoding == "avro":
        _only_json(encoding, tick=tick, ids_as_text=ids_as_text)
        return AvroEncoder(of, schema_id)
    if encoding == "protobuf":
        _only_json(encoding, tick=tick, ids_as_text=ids_as_text)
        return ProtobufEncoder(of, schema_id)
    if encoding == "json":
        return JsonEncoder(of, schema_id, tick=tick, ids_as_text=ids_as_text)
    raise _unknown(encoding)


def decoder(
    of: Any,
    encoding: str,
    *,
    schema_of: Callable[[int], Any] | None = None,
    columns: Mapping[str, str] | None = None,
    tick: str | None = None,
    message: Any = None,
) -> Decoder:
    """What turns messages into rows of the record `of`.

    schema_of  the schema of an id, as `Registry.schema` gives it; None: messages are bare, and
               those of Avro written with the record's own schema
    columns    {field: what it is called there}, where that is not its own name or an old one
    tick       JSON only: "0.01" reads "price": "12.34" into `price_ticks`
    message    Protobuf only: the message class that others write, if not the record's own

    Fields that are not there take their defaults; what the record does not have is passed over.
    """
    if encoding == "avro":
        _only_json(encoding, tick=tick)
        return AvroDecoder(of, schema_of, columns or {})
    if encoding == "protobuf":
        _only_json(encoding, tick=tick)
        return ProtobufDecoder(of, schema_of, columns or {}, message)
    if encoding == "json":
        return JsonDecoder(of, schema_of, columns or {}, tick=tick)
    raise _unknown(encoding)


def _only_json(encoding: str, **given: Any) -> None:
    for name, value in given.items():
        if value:
            raise DeclarationError(f"{name} is of JSON, and the encoding was {encoding!r}")


def _unknown(encoding: str) -> DeclarationError:
    return DeclarationError(
        f"the encoding was {encoding!r}; expected one of {', '.join(ENCODINGS)}"
    )
