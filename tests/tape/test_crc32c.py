"""The checksum's three bodies against the polynomial, and against published values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.naive import tape as naive

from onetape.compiled import mode
from onetape.compiled.crc32c import crc32c, crc32c_instruction, crc32c_tables


def bytes_of(data):
    return np.frombuffer(bytearray(data), np.uint8)


# RFC 3720, appendix B.4, and the "check" value of the catalogue of CRC algorithms.
PUBLISHED = [
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
]


@pytest.mark.parametrize(("data", "expected"), PUBLISHED)
@pytest.mark.parametrize("body", [crc32c, crc32c_instruction, crc32c_tables])
def test_published_values(body, data, expected):
    assert body(0, bytes_of(data), 0, len(data)) == expected
    with mode.running("interpreted"):
        assert body(0, bytes_of(data), 0, len(data)) == expected


@given(st.binary(min_size=1, max_size=70), st.integers(0, 2**32 - 1), st.data())
def test_all_bodies_are_equal_on_any_range(data, start, draw):
    at = draw.draw(st.integers(0, len(data)))
    count = draw.draw(st.integers(0, len(data) - at))
    expected = naive.crc32c(data[at : at + count], start)
    buffer = bytes_of(data)

    for body in (crc32c, crc32c_instruction, crc32c_tables):
        assert body(start, buffer, at, count) == expected
        with mode.running("interpreted"):
            assert body(start, buffer, at, count) == expected


@given(st.binary(min_size=2, max_size=40), st.data())
def test_a_checksum_can_be_continued(data, draw):
    cut = draw.draw(st.integers(0, len(data)))
    buffer = bytes_of(data)
    first = crc32c(0, buffer, 0, cut)

    assert crc32c(first, buffer, cut, len(data) - cut) == crc32c(0, buffer, 0, len(data))
