"""Avro binary: one row a message, under the schema of its record or of whoever wrote it.

A field is found under its name or an old one (`@record(was=...)`), wherever it stands; one that the
writer did not have takes its default; what the record does not have is passed over.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onetape.codecs.event.decoding import Decoder
from onetape.codecs.event.values import Take, names_of, taker
from onetape.codecs.event.wire import HEADER, header, schema_id_of
from onetape.codecs.event.words import FIXED, FLOAT, VARINT, ZIGZAG, Layout, Slot
from onetape.records import DeclarationError, OperatorError, PeerError
from onetape.records.from_avro import Reading, readings_of
from onetape.records.schemas import avro_schema

_WORD = (1 << 64) - 1
_KINDS = {"int": ZIGZAG, "long": ZIGZAG, "boolean": VARINT, "double": FIXED, "float": FLOAT}


class AvroEncoder:
    def __init__(self, of: Any, schema_id: int | None) -> None:
        _, readings = readings_of(avro_schema(of))
        layout = layout_of(readings, dict(zip(of.fields, of.fields)))
        assert layout is not None  # a record is numbers alone
        self._layout, self._header = layout, header(schema_id)

    def __call__(self, rows: Any) -> list[bytes]:
        return self._layout.encoded(rows, self._header)


@dataclass
class Plan:
    """How messages under one schema are read.

    takers    (field, its name there or none, what checks its values)
    defaults  of fields that are not there
    layout    where the schema is plain numbers
    writer    the schema
    parsed    the same for fastavro, once it was needed
    """

    takers: list[tuple[str, str, Take]]
    defaults: dict[str, Any]
    layout: Layout | None
    writer: Any
    parsed: Any = None


class AvroDecoder(Decoder):
    def __init__(
        self, of: Any, schema_of: Callable[[int], Any] | None, columns: Mapping[str, str]
    ) -> None:
        super().__init__(of, "avro", schema_of)
        self._columns = columns
        self._plans: dict[int | None, Plan | str] = {}

    def __call__(self, message: bytes) -> tuple[Any, ...]:
        plan = self._plan(None if self._schema_of is None else schema_id_of(message))
        body = io.BytesIO(self._body(message))
        told = self._read(body, plan)
        left = len(body.getbuffer()) - body.tell()
        if left:
            raise self._because(f"{left} bytes are left behind the last field")
        return self._taken(told, plan.takers)

    def _take_plain(self, messages: Sequence[bytes], block: Any) -> Any:
        is_good = np.zeros(len(messages), np.bool_)
        skip = 0 if self._schema_of is None else HEADER.size
        for start, places in _by_start(messages, skip).items():
            try:
                plan = self._plan(schema_id_of(start) if skip else None)
            except PeerError:
                continue  # the reason comes with each message
            if plan.layout is None:
                continue
            is_whole = len(places) == len(messages)
            part = block if is_whole else block[places]
            for name, value in plan.defaults.items():
                part[name] = value
            chosen = messages if is_whole else [messages[i] for i in places]
            is_good[places] = plan.layout.decode(chosen, skip, part)
            if not is_whole:
                block[places] = part
        return is_good

    def _plan(self, schema_id: int | None) -> Plan:
        plan = self._plans.get(schema_id)
        if plan is None:
            writer = self._writer(schema_id)
            try:
                plan = self._planned(writer)
            except PeerError as why:
                plan = str(why)  # of all messages that have this id
            self._plans[schema_id] = plan
        if isinstance(plan, str):
            raise PeerError(plan)
        return plan

    def _writer(self, schema_id: int | None) -> Any:
        if schema_id is None or self._schema_of is None:
            return avro_schema(self.of)
        found = self._schema_of(schema_id)
        try:
            return json.loads(found) if isinstance(found, str) else found
        except ValueError:
            return found  # no Avro: `readings_of` says so

    def _planned(self, writer: Any) -> Plan:
        try:
            _, readings = readings_of(writer)
        except DeclarationError as why:
            raise self._because(why) from None
        takers: list[tuple[str, str, Take]] = []
        defaults: dict[str, Any] = {}
        columns: dict[str, str] = {}
        for name, field in self.of.fields.items():
            there = [n for n in names_of(self.of, self._columns, name) if n in readings]
            if not there:
                if name not in self.of._field_defaults:
                    raise self._because("is not in the writer's schema, and has no default", name)
                defaults[name] = self.of._field_defaults[name]
                takers.append((name, "", _always(defaults[name])))
                continue
            reading = readings[there[0]]
            if isinstance(reading, str):
                raise self._because(reading, name)
            takers.append((name, there[0], _taker(field, reading)))
            columns[there[0]] = name
        is_shared = len(columns) + len(defaults) < len(takers)  # one number for two fields
        layout = None if is_shared else layout_of(readings, columns, self.of)
        return Plan(takers, defaults, layout, writer)

    def _read(self, body: io.BytesIO, plan: Plan) -> dict[str, Any]:
        try:
            import fastavro
        except ImportError:
            raise OperatorError(
                "Avro of others takes the library fastavro, which is not installed; install it: "
                "pip install 'onetape[schemas]'"
            ) from None
        try:
            if plan.parsed is None:
                plan.parsed = fastavro.parse_schema(_without_logic(plan.writer))
            told = fastavro.schemaless_reader(body, plan.parsed, None)
        except Exception as why:  # whatever the library makes of damaged bytes
            said = f"{type(why).__name__}{f': {why}' if str(why) else ''}"
            raise self._because(f"the bytes are none of its schema ({said[:200]})") from None
        return told if isinstance(told, dict) else {}


def layout_of(
    readings: Mapping[str, Reading | str], columns: Mapping[str, str], of: Any = None
) -> Layout | None:
    """The numbers of a message, those in `columns` for a field of `of`; None: there is more than
    numbers, or a field that holds others."""
    slots: list[Slot] = []
    for name, reading in readings.items():
        if isinstance(reading, str) or not reading.is_plain:
            return None
        kind, field = _KINDS[reading.avro], columns.get(name, "")
        if field and of is not None and not _fits(of.fields[field], reading):
            return None
        if reading.field.length is None:
            slots.append(Slot(kind, field))
            continue
        length = reading.field.length
        slots.append(Slot(ZIGZAG, constant=length))
        slots += [Slot(kind, field, i if field else None) for i in range(length)]
        slots.append(Slot(ZIGZAG, constant=0))
    return Layout(slots)


def _fits(field: Any, reading: Reading) -> bool:
    is_float = reading.avro in ("double", "float")
    return field.length == reading.field.length and (field.code == "<f8" or not is_float)


def _always(value: Any) -> Take:
    return lambda _: value


def _taker(field: Any, reading: Reading) -> Take:
    take = taker(field)
    if reading.kind == "time":
        return lambda value: take(value if value is None else value * reading.unit_ns)
    if reading.kind == "decimal":
        return lambda raw: take(None if raw is None else int.from_bytes(raw, "big", signed=True))
    if field.code == "<u8" and reading.kind == "number":
        return lambda value: take(_bits(value))
    return take


def _bits(value: Any) -> Any:
    """A long as the u64 of the same bits."""
    if isinstance(value, list):
        return [_bits(one) for one in value]
    return value & _WORD if isinstance(value, int) else value


def _without_logic(schema: Any) -> Any:
    """The schema without logical types: values come as they are on the wire, exact."""
    if isinstance(schema, list):
        return [_without_logic(one) for one in schema]
    if isinstance(schema, dict):
        return {k: _without_logic(v) for k, v in schema.items() if k != "logicalType"}
    return schema


def _by_start(messages: Sequence[bytes], size: int) -> dict[bytes, list[int]]:
    """Which messages begin with which `size` bytes; those that are too short in none."""
    found: dict[bytes, list[int]] = {}
    for i, message in enumerate(messages):
        if len(message) >= size:
            found.setdefault(message[:size], []).append(i)
    return found
