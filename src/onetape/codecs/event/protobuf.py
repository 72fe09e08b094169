"""Protobuf: one row a message. Fields are numbered by their place in the record, from 1.

Every field is written, zeros too, so a field that is not there is told from one that is 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onetape.codecs.event.decoding import Decoder
from onetape.codecs.event.values import Take, names_of, taker
from onetape.codecs.event.wire import (
    FIRST_MESSAGE,
    HEADER,
    after_message_index,
    header,
    schema_id_of,
)
from onetape.codecs.event.words import FIXED, VARINT, ZIGZAG, Layout, Slot
from onetape.records import DeclarationError, OperatorError
from onetape.records.schemas import protobuf_type

_KINDS = {"sint64": ZIGZAG, "sint32": ZIGZAG, "uint64": VARINT, "uint32": VARINT, "double": FIXED}
_WIRE_FIXED64 = 1


class ProtobufEncoder:
    def __init__(self, of: Any, schema_id: int | None) -> None:
        self._layout, self._header = layout_of(of), header(schema_id, FIRST_MESSAGE)

    def __call__(self, rows: Any) -> list[bytes]:
        return self._layout.encoded(rows, self._header)


class ProtobufDecoder(Decoder):
    """`message`: the class of messages that others write; its fields are found by name."""

    def __init__(
        self,
        of: Any,
        schema_of: Callable[[int], Any] | None,
        columns: Mapping[str, str],
        message: Any = None,
    ) -> None:
        super().__init__(of, "protobuf", schema_of)
        self._layout = layout_of(of) if message is None and not columns else None
        self._message = message_class(of) if message is None else message
        known = self._message.DESCRIPTOR.fields_by_name
        self._fields: list[tuple[str, Any, Take]] = []
        for name, field in of.fields.items():
            there = [known[n] for n in names_of(of, columns, name) if n in known]
            found = there[0] if there else None
            if found is None and name not in of._field_defaults:
                raise DeclarationError(
                    f"{of.__name__}.{name} is not in {self._message.DESCRIPTOR.full_name}, and has "
                    f"no default; columns={{{name!r}: ...}} says what it is called there"
                )
            if found is not None and found.message_type is not None:
                raise DeclarationError(
                    f"{of.__name__}.{name}: {found.full_name} is a message, which no field holds"
                )
            self._fields.append((name, found, taker(field)))

    def __call__(self, message: bytes) -> tuple[Any, ...]:
        from google.protobuf.message import DecodeError

        body = message
        if self._schema_of is not None:
            schema_id_of(message)
            body = message[after_message_index(message) :]
        try:
            told = self._message.FromString(body)
        except DecodeError as why:
            raise self._because(f"the bytes are no message ({why})") from None
        values = []
        for name, field, take in self._fields:
            try:
                values.append(self._value(told, name, field, take))
            except ValueError as why:
                raise self._because(why, name) from None
        return tuple(values)

    def _value(self, told: Any, name: str, field: Any, take: Take) -> Any:
        if field is not None and self.of.fields[name].length is not None:
            found = getattr(told, field.name)
            return take(found if isinstance(found, int | float | str | bytes) else list(found))
        if field is None or (field.has_presence and not told.HasField(field.name)):
            if name not in self.of._field_defaults:
                raise ValueError("is missing")
            return self.of._field_defaults[name]
        return take(getattr(told, field.name))

    def _take_plain(self, messages: Sequence[bytes], block: Any) -> Any:
        if self._layout is None:
            return super()._take_plain(messages, block)
        if self._schema_of is None:
            return self._layout.decode(messages, 0, block)
        at = HEADER.size
        starts = (m[:1] == b"\0" and m[at : at + 1] == FIRST_MESSAGE for m in messages)
        is_ours = np.fromiter(starts, np.bool_, len(messages))
        return self._layout.decode(messages, at + len(FIRST_MESSAGE), block) & is_ours


def layout_of(of: Any) -> Layout:
    slots: list[Slot] = []
    for number, (name, field) in enumerate(of.fields.items(), 1):
        kind = _KINDS[protobuf_type(field)]
        tag = Slot(VARINT, constant=number << 3 | (_WIRE_FIXED64 if kind == FIXED else 0))
        places = [None] if field.length is None else range(field.length)
        for index in places:
            slots += [tag, Slot(kind, name, index)]
    return Layout(slots)


def message_class(of: Any, package: str = "onetape") -> Any:
    """The record as a class of the library protobuf, the same that `protobuf_text` describes."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise OperatorError(
            "Protobuf takes the library protobuf, which is not installed; install it: "
            "pip install 'onetape[schemas]'"
        ) from None
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}/{of.__name__}.proto", package=package, syntax="proto2"
    )
    about = file.message_type.add(name=of.__name__)
    for number, (name, field) in enumerate(of.fields.items(), 1):
        one = about.field.add(name=name, number=number)
        one.type = getattr(one, f"TYPE_{protobuf_type(field).upper()}")
        one.label = one.LABEL_OPTIONAL if field.length is None else one.LABEL_REPEATED
        if name in of._field_defaults:
            one.default_value = str(of._field_defaults[name])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindMessageTypeByName(f"{package}.{of.__name__}")
    return message_factory.GetMessageClass(found)
