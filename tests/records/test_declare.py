"""Records: one declaration, one layout, and messages that name what cannot be a field."""

import pickle

import numpy as np
import pytest

import onetape as ot
from onetape.records import (
    Array,
    DeclarationError,
    block_of,
    empty_block,
    i32,
    i64,
    is_record,
    market,
    record,
    snake_name,
    u8,
    u16,
)

# Size, and the offset of each field, of every record that is stored or sent. A change here is a
# change of what files hold: it needs a new version of the record, and a test of the migration.
LAYOUTS = {
    "MarketEvent": (64, [0, 8, 16, 24, 32, 40, 48, 56, 60, 61, 62, 63]),
    "Trade": (64, [0, 8, 16, 24, 32, 40, 48, 52, 53, 54, 56, 60]),
    "TopOfBook": (64, [0, 8, 16, 24, 32, 40, 48, 52, 56, 60]),
    "Depth": (344, [0, 8, 16, 96, 176, 256, 336, 340]),
    "Vwap": (48, [0, 8, 16, 24, 32, 36, 40, 44]),
    "Bar": (72, [0, 8, 16, 24, 32, 40, 48, 56, 60, 64, 68]),
    "Alert": (304, [0, 8, 16, 24, 32, 160, 288, 292, 294, 295, 296, 300]),
    "Gap": (48, [0, 8, 16, 24, 32, 40, 44]),
    "OwnOrder": (88, [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 84, 85, 86, 87]),
    "OwnOrderInBook": (
        136,
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 132, 133, 134, 135],
    ),
}


def layout_of(of):
    return of.dtype.itemsize, [of.dtype.fields[name][1] for name in of._fields]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_a_stored_record_is_frozen(name):
    of = getattr(market, name)

    assert layout_of(of) == LAYOUTS[name]
    assert of.version == 1


def test_every_market_record_is_in_the_list():
    declared = {name for name, thing in vars(market).items() if is_record(thing)}

    assert declared == set(LAYOUTS)


@record
class Mixed:
    """Small fields before large ones: the compiler of C would lay it out the same."""

    flag: u8
    ts_event_ns: i64
    level: u16
    sizes: Array[i32, 3]
    last: u8


def test_fields_are_aligned_and_rows_are_whole_words():
    assert layout_of(Mixed) == (40, [0, 8, 16, 20, 32])
    assert Mixed.dtype["sizes"].shape == (3,)
    assert Mixed._fields == ("flag", "ts_event_ns", "level", "sizes", "last")


def test_a_record_is_a_named_tuple_too():
    made = Mixed(1, 2, 3, (4, 5, 6), 7)

    assert made == (1, 2, 3, (4, 5, 6), 7)
    assert made.level == 3
    assert pickle.loads(pickle.dumps(made)) == made
    assert is_record(Mixed)
    assert not is_record(tuple)
    assert not is_record(made)
    assert Mixed.__doc__.startswith("Small fields")


def test_a_version_is_part_of_the_declaration():
    @record(version=3)
    class Later:
        ts_event_ns: i64

    assert Later.version == 3
    assert Mixed.version == 1


def test_names_of_files_and_tables():
    assert snake_name(market.TopOfBook) == "top_of_book"
    assert snake_name(Mixed) == "mixed"


def test_blocks_from_rows():
    block = block_of(Mixed, [(1, 2, 3, (4, 5, 6), 7), Mixed(8, 9, 10, [11, 12, 13], 14)])

    assert block["sizes"].tolist() == [[4, 5, 6], [11, 12, 13]]
    assert block["last"].tolist() == [7, 14]
    assert block.view(np.uint8).reshape(2, 40)[:, [1, 7, 18, 19, 33, 39]].sum() == 0  # padding
    assert not empty_block(Mixed, 3).view(np.uint8).any()
    with pytest.raises(DeclarationError, match="Mixed has 5 fields, row 1 had 2"):
        block_of(Mixed, [(1, 2, 3, (4, 5, 6), 7), (1, 2)])


def test_the_last_fields_may_have_defaults():
    @record
    class Told:
        ts_event_ns: i64
        flags: u8 = 255
        share: ot.f64 = 0.5

    assert Told(1) == (1, 255, 0.5)
    assert Told(1, share=2.0).share == 2.0


def with_defaults(annotations, **defaults):
    return lambda: record(type("Bad", (), {"__annotations__": annotations, **defaults}))


def declared(**annotations):
    return lambda: record(type("Bad", (), {"__annotations__": annotations}))


@pytest.mark.parametrize(
    "declare, message",
    [
        (declared(), "Bad declares no fields"),
        (declared(price=float), "Bad.price: <class 'float'> is not a field type; use one of i64"),
        (declared(side=str), "Bad.side: <class 'str'> is not a field type"),
        (declared(_hidden=i64), "Bad._hidden: a field may not start with _"),
        (with_defaults({"a": i64, "b": i64}, a=1), "Bad.b has no default and stands behind 'a'"),
        (with_defaults({"a": u8}, a=256), "Bad.a: its default 256 does not fit the field"),
        (with_defaults({"a": i64}, a=0.5), "Bad.a: its default 0.5 does not fit"),
        (lambda: Array[i64, 0], r"Array\[.*, 0\]: expected a scalar type and 1 to 65536"),
        (lambda: Array[i64, 65537], "65537"),
        (lambda: Array[int, 3], r"Array\[<class 'int'>, 3\]"),
        (lambda: Array[Array[i64, 2], 2], "expected a scalar type"),
        (lambda: Array[ot.Duration, 2], "expected a scalar type"),
    ],
)
def test_what_cannot_be_a_record_says_why(declare, message):
    with pytest.raises(DeclarationError, match=message):
        declare()


def test_old_names_are_beside_the_layout():
    @record
    class Plain:
        x: i64
        y: u8

    @record(was={"x": "a", "y": ("b", "c")})
    class Plain2:
        x: i64
        y: u8

    assert Plain2.fields == Plain.fields  # state and rows are the same
    assert [field.was for field in Plain2.fields.values()] == [("a",), ("b", "c")]
    assert repr(Plain2.fields) == repr(Plain.fields)


@pytest.mark.parametrize(
    ("was", "said"),
    [
        ({"z": "a"}, r"was=\{'z': \.\.\.\} is of no field; write the new name first, one of x, y"),
        ({"x": "y"}, r"\.x was 'y': expected a name that no field has or had"),
        ({"x": "a", "y": "a"}, r"\.y was 'a': expected a name that no field has or had"),
        ({"x": "a-b"}, r"\.x was 'a-b': expected a name"),
    ],
)
def test_old_names_that_cannot_be(was, said):
    with pytest.raises(DeclarationError, match=said):

        @record(was=was)
        class Wrong:
            x: i64
            y: u8
