"""Records of any fields, and rows of them, for tests of codecs and schemas."""

import numpy as np
from hypothesis import strategies as st

from onetape.records import block_of
from onetape.records.declare import made_record
from onetape.records.types import Field

CODES = ("<i8", "<i4", "<u8", "<u4", "<u2", "|u1", "<f8")
NAMES = ("ts_event_ns", "price_ticks", "qty_lots", "order_id", "side", "kind", "level", "flags")

fields = st.builds(Field, st.sampled_from(CODES), st.none() | st.integers(1, 3))


def values(field):
    """Of one scalar: anything it holds, its bounds often."""
    if field.code == "<f8":
        return st.floats(allow_nan=False)
    bounds = np.iinfo(field.code)
    low, high = int(bounds.min), int(bounds.max)
    return st.integers(low, high) | st.sampled_from([low, high, 0, 1, 63, 64, 127, 128])


def value_of(field):
    one = values(field)
    if field.length is None:
        return one
    return st.tuples(*[one] * field.length)


@st.composite
def records(draw):
    """A record, whose last fields may have defaults."""
    described = draw(st.dictionaries(st.sampled_from(NAMES), fields, min_size=1, max_size=6))
    given = []
    for field in reversed(described.values()):
        if field.length is not None or not draw(st.booleans()):
            break
        given.insert(0, draw(values(field).filter(np.isfinite)))
    return made_record("Made", described, tuple(given))


@st.composite
def rows_of(draw, of, most=4):
    """A block of rows of `of`."""
    told = st.tuples(*map(value_of, of.fields.values()))
    return block_of(of, draw(st.lists(told, min_size=1, max_size=most)))


@st.composite
def records_and_rows(draw):
    of = draw(records())
    return of, draw(rows_of(of))


def tuples(block):
    """Rows as decoders give them."""
    return [
        tuple(tuple(v.tolist()) if hasattr(v, "tolist") else v for v in row)
        for row in block.tolist()
    ]
