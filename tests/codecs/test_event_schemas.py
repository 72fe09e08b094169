"""What the rules of compatibility let through is read, and what they refuse is not read wrongly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.codecs.made_records import rows_of, tuples
from tests.records.changes import pairs

from onetape.codecs.event import decoder, encoder
from onetape.records.compatibility import mismatches
from onetape.records.schemas import avro_schema

fastavro = pytest.importorskip("fastavro", reason="pip install 'onetape[schemas]'")


@given(pairs(), st.data())
def test_what_is_let_through_is_read(made, data):
    """Where we see no problem a decoder of the reader reads all that an encoder has written."""
    writer, reader = made
    written, read = avro_schema(writer), avro_schema(reader)
    rows = data.draw(rows_of(writer))
    decode = decoder(reader, "avro", schema_of=lambda _: written)
    messages = encoder(writer, "avro", schema_id=1)(rows)

    found = list(mismatches(read, written))
    block, reasons = decode.rows(messages)

    if not found:
        assert not reasons
        for name, field in reader.fields.items():
            names = [n for n in (name, *field.was) if n in writer.fields]
            if names:
                assert block[name].tolist() == rows[names[0]].tolist()
            else:
                assert set(block[name].tolist()) == {reader._field_defaults[name]}
    if any(one.kind == "missing" for one in found):
        assert len(reasons) == len(rows)
        assert any(one.reader["name"] in why for one in found for why in reasons.values())
    assert [values for values in tuples(block)] == [
        decode(m) for i, m in enumerate(messages) if i not in reasons
    ]
