"""What may follow what: each rule, the sentence that names the field, and that decoders agree."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.codecs.made_records import fields, rows_of, tuples, values

import onetape as ot
from onetape.codecs.event import decoder, encoder
from onetape.records import DeclarationError
from onetape.records.compatibility import MODES, mismatches, problems
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_a_change_under_a_rule(case, mode):
    before, after, backward, forward = CASES[case]

    found = problems(after, [(3, before)], mode)

    expected = set()
    if mode.startswith(("backward", "full")) and backward:
        expected.add((backward, "backward"))
    if mode.startswith(("forward", "full")) and forward:
        expected.add((forward, "forward"))
    assert {(one.field, one.rule) for one in found} == expected
    assert all(one.says.startswith(one.field) and "version 3" in one.says for one in found)


@pytest.mark.parametrize(
    ("before", "after", "mode", "says"),
    [
        (FIRST, ADDED, "backward", "is new and has no default, so what was written with version 3 "
         "cannot be read; give it one (c: ot.u32 = 0)"),
        (FIRST, RENAMED, "backward", "or, if it was called 'b': @ot.record(was={'d': 'b'})"),
        (FIRST, REMOVED, "forward", "is gone, and who reads with version 3 needs it: it has no "
         "default there; keep it, or first deploy a version in which it has a default"),
        (FIRST, RENAMED_WAS, "forward", "is called 'd' now, and who reads with version 3 needs it"),
        (FIRST, WIDER, "forward", "was u16 in version 3 and is i64: who reads with version 3 "
         "cannot read it; keep it as it was"),
        (FIRST, NARROWER, "backward", "was u16 in version 3 and is u8: what was written with "
         "version 3 cannot be read"),
        (FIRST, OTHER_NAME, "backward", "Other was called Row in version 3"),
        (REMOVED, ARRAY, "backward", "an array can have none; put it into a record of its own"),
    ],
)  # fmt: skip
def test_a_problem_says_what_to_do(before, after, mode, says):
    (found,) = problems(after, [(3, before)], mode)

    assert says in found.says


def test_only_the_transitive_rules_look_further_back_than_the_last():
    before = [(1, FIRST), (2, ADDED_DEFAULT), (3, ADDED)]
    after = schema(a=ot.i64, b=ot.u16, c=ot.u32, d=ot.i64, defaults={"d": 0})

    assert problems(after, before, "backward") == []
    (found,) = problems(after, before, "backward_transitive")
    assert (found.field, found.version) == ("Row.c", 1)
    assert problems(after, before, "forward_transitive") == []
    assert len(problems(after, before, "full_transitive")) == 1
    assert problems(after, [], "full_transitive") == []


def test_a_name_that_both_a_field_and_an_old_one_have_is_refused():
    (found,) = problems(RENAMED_WAS, [(1, schema(a=ot.i64, b=ot.u16, d=ot.u16))], "backward")

    assert (found.field, found.kind) == ("Row.d", "ambiguous")


def test_a_rule_that_is_none():
    with pytest.raises(DeclarationError, match="compatibility was 'sideways'; expected one of"):
        problems(FIRST, [(1, FIRST)], "sideways")


BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "i32": -31, "i64": -63, "f64": 0}


@pytest.mark.parametrize(("writer", "reader"), itertools.product(BITS, BITS))
def test_which_type_may_become_which(writer, reader):
    """A reader has room for what was written; a u64 is read as such alone, whatever holds it."""
    old, new = schema(x=getattr(ot, writer)), schema(x=getattr(ot, reader))
    w, r = BITS[writer], BITS[reader]

    if reader == "f64":
        may = writer != "u64"
    elif writer == "f64":
        may = False
    else:
        may = w == r or (w > 0 and abs(r) >= w and (r > 0 or -r >= w)) or (w < 0 and r <= w)
    assert (not problems(new, [(1, old)], "backward")) == may


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
