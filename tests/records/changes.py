"""Changes of a record: by hand, with what each rule says of them, and at random."""

from hypothesis import assume
from hypothesis import strategies as st
from tests.codecs.made_records import fields, values

import onetape as ot
from onetape.records.declare import made_record
from onetape.records.schemas import avro_schema
from onetape.records.types import Field


def schema(name="Row", *, was=None, defaults=None, **described):
    """Of a record with these fields: `a=ot.i64`; those with defaults come last."""
    body = {"__annotations__": described, "__module__": __name__, **(defaults or {})}
    return avro_schema(ot.record(type(name, (), body), was=was))


FIRST = schema(a=ot.i64, b=ot.u16)
ADDED = schema(a=ot.i64, b=ot.u16, c=ot.u32)
ADDED_DEFAULT = schema(a=ot.i64, b=ot.u16, c=ot.u32, defaults={"c": 4})
REMOVED = schema(a=ot.i64)
RENAMED = schema(a=ot.i64, d=ot.u16)
RENAMED_WAS = schema(a=ot.i64, d=ot.u16, was={"d": "b"})
WIDER = schema(a=ot.i64, b=ot.i64)
TO_FLOAT = schema(a=ot.i64, b=ot.f64)
NARROWER = schema(a=ot.i64, b=ot.u8)
ARRAY = schema(a=ot.i64, b=ot.Array[ot.u16, 2])
MOVED = schema(b=ot.u16, a=ot.i64)
OTHER_NAME = schema("Other", a=ot.i64, b=ot.u16)

# (before, after): the field that is named under backward, under forward; "": it may follow.
CASES = {
    "nothing changes": (FIRST, FIRST, "", ""),
    "a field is added": (FIRST, ADDED, "Row.c", ""),
    "a field is added with a default": (FIRST, ADDED_DEFAULT, "", ""),
    "a field is removed": (FIRST, REMOVED, "", "Row.b"),
    "a field that had a default is removed": (ADDED_DEFAULT, FIRST, "", ""),
    "a field gets a default": (ADDED, ADDED_DEFAULT, "", ""),
    "a field is renamed": (FIRST, RENAMED, "Row.d", "Row.b"),
    "a field is renamed, with its old name": (FIRST, RENAMED_WAS, "", "Row.b"),
    "a renaming is taken back": (RENAMED_WAS, FIRST, "Row.b", ""),
    "a type becomes wider": (FIRST, WIDER, "", "Row.b"),
    "an integer becomes a float": (FIRST, TO_FLOAT, "", "Row.b"),
    "a float becomes an integer": (TO_FLOAT, FIRST, "Row.b", ""),
    "a type becomes narrower": (FIRST, NARROWER, "Row.b", ""),
    "a field becomes an array": (FIRST, ARRAY, "Row.b", "Row.b"),
    "fields change places": (FIRST, MOVED, "", ""),
    "the record is renamed": (FIRST, OTHER_NAME, "Other", "Other"),
}


changed = st.dictionaries(st.sampled_from("abcd"), fields, min_size=1)


@st.composite
def pairs(draw):
    """(a record, what became of it): fields added, removed, renamed, retyped, with defaults."""
    old = draw(changed)
    new = {k: v for k, v in old.items() if draw(st.integers(0, 3))} | (
        draw(changed) if draw(st.booleans()) else {}
    )
    assume(new)
    made = []
    for described in (old, new):
        free = [name for name in old if name not in described]
        if described is new and free and draw(st.booleans()):
            name = draw(st.sampled_from(list(new)))
            described[name] = Field(new[name].code, new[name].length, was=(free[0],))
        given = []
        for field in reversed(described.values()):
            if field.length is not None or not draw(st.booleans()):
                break
            given.insert(0, draw(values(field).filter(lambda v: abs(v) < 1e300)))
        made.append(made_record("Made", described, tuple(given)))
    return made
