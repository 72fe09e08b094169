"""Protobuf by numbers: which records may follow which."""

import pytest

import onetape as ot
from onetape.records.protobuf_places import place_problems
from onetape.records.schemas import protobuf_text


def row(*, was=None, **described):
    body = {"__annotations__": described, "__module__": __name__}
    return ot.record(type("Row", (), body), was=was)


FIRST = row(a=ot.i64, b=ot.u16)
BEFORE = [(4, protobuf_text(FIRST))]


@pytest.mark.parametrize(
    ("after", "fields"),
    [
        (FIRST, []),
        (row(a=ot.i64, b=ot.u16, c=ot.f64), []),
        (row(a=ot.i64), []),
        (row(a=ot.i64, b=ot.u8), []),  # the same on the wire
        (row(a=ot.i64, d=ot.u16, was={"d": "b"}), []),
        (row(a=ot.i64, d=ot.u16), ["Row.d"]),
        (row(a=ot.i64, b=ot.i64), ["Row.b"]),
        (row(b=ot.u16, a=ot.i64), ["Row.b", "Row.a"]),
        (row(b=ot.u16), ["Row.b"]),
        (row(c=ot.i64, a=ot.i64, b=ot.u16), ["Row.c", "Row.a"]),
    ],
)
def test_a_number_is_of_one_field(after, fields):
    found = place_problems(after, BEFORE)

    assert [one.field for one in found] == fields
    assert all("in version 4" in one.says for one in found)


def test_every_version_before_counts_and_a_new_name_is_proposed():
    before = [(1, protobuf_text(row(a=ot.i64, c=ot.u16))), (2, protobuf_text(row(a=ot.i64)))]

    (found,) = place_problems(FIRST, before)

    assert (found.version, found.field) == (1, "Row.b")
    assert found.says.endswith("if it was called 'c': @ot.record(was={'b': 'c'})")
