"""Words, rows and counts: what compiled code does, plain Python does too, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.compiled import counts, kernel, memory, mode
from onetape.compiled.bits import add_wrap, bit_length, mix, mul_wrap, shift_right
from onetape.compiled.rows import clear_row, copy_row, put_row, row, row_at

RECORD = np.dtype(
    [("id", "<u8"), ("small", "<i4"), ("tag", "u1"), ("x", "<f8"), ("cells", "<i8", (3,))],
    align=True,
)
words = st.integers(-(2**63), 2**63 - 1)


@kernel
def arithmetic(a, b, n, out):
    out[0] = mul_wrap(a, b)
    out[1] = add_wrap(a, b)
    out[2] = shift_right(a, n)
    out[3] = bit_length(a)
    out[4] = mix(a)


@given(words, words, st.integers(0, 63))
def test_wrapping_arithmetic_is_the_same_in_both(a, b, n):
    compiled, plain = np.zeros(5, np.int64), np.zeros(5, np.int64)

    arithmetic(a, b, n, compiled)
    with mode.running("interpreted"):
        arithmetic(a, b, n, plain)

    assert compiled.tolist() == plain.tolist()
    assert int(compiled[0]) % 2**64 == a * b % 2**64
    assert int(compiled[2]) % 2**64 == (a % 2**64) >> n


@kernel
def bytes_there_and_back(buffer, word, out):
    memory.store_u16be(buffer, 1, word)
    memory.store_u32be(buffer, 3, word)
    memory.store_i64be(buffer, 7, word)
    memory.store_u16le(buffer, 15, word)
    memory.store_u32le(buffer, 17, word)
    memory.store_i64le(buffer, 21, word)
    out[0] = memory.load_u16be(buffer, 1)
    out[1] = memory.load_u32be(buffer, 3)
    out[2] = memory.load_i64be(buffer, 7)
    out[3] = memory.load_u16le(buffer, 15)
    out[4] = memory.load_u32le(buffer, 17)
    out[5] = memory.load_i64le(buffer, 21)
    memory.copy_bytes(buffer, 32, buffer, 0, 29)


@given(words)
def test_integers_in_bytes_are_the_same_in_both(word):
    seen = []
    for how in ("compiled", "interpreted", "boundscheck"):
        with mode.running(how):
            buffer, out = np.zeros(64, np.uint8), np.zeros(6, np.int64)
            bytes_there_and_back(buffer, word, out)
            seen.append((buffer.tobytes(), out.tolist()))

    assert seen[0] == seen[1] == seen[2]
    low16, low32 = word % 2**16, word % 2**32
    assert seen[0][1] == [low16, low32, word, low16, low32, word]


@kernel
def use_rows(block, buffer, value):
    first = row(block, 0)
    first.id = value
    first.small = -5
    first.tag = 200
    first.x = 0.5
    first.cells[2] = value
    clear_row(block, 1).small = first.tag + first.small
    copy_row(block, 2, block, 0)
    put_row(block, 3, row_at(block, buffer, 8))
    return first.id + row(block, 3).small


@given(words, st.binary(min_size=64, max_size=64))
def test_rows_read_and_write_the_same_in_both(value, data):
    seen = []
    for how in ("compiled", "interpreted", "boundscheck"):
        with mode.running(how):
            block = np.zeros(4, RECORD)  # also between the fields, which np.ones leaves as it was
            for name in RECORD.names:
                block[name] = 1
            buffer = np.frombuffer(bytearray(data), np.uint8)
            if how == "interpreted":
                answer = add_wrap(use_rows(block, buffer, value), 0)
            else:
                answer = use_rows(block, buffer, value)
            seen.append((block.tobytes(), answer))

    assert seen[0] == seen[1] == seen[2]


def test_an_unsigned_id_reads_as_its_signed_bit_pattern_in_both():
    block = np.zeros(1, RECORD)
    block["id"] = 2**64 - 1

    @kernel
    def read(block):
        return row(block, 0).id

    assert read(block) == -1
    with mode.running("interpreted"):
        assert read(block) == -1


@pytest.mark.parametrize("how", ["boundscheck", "interpreted"])
def test_the_checked_modes_refuse_what_is_out_of_bounds(how):
    @kernel
    def reach(block, buffer, i, at):
        row(block, i).small = 1
        memory.store_i64le(buffer, at, 1)

    with mode.running(how):
        reach(np.zeros(2, RECORD), np.zeros(8, np.uint8), 1, 0)
        with pytest.raises(IndexError):
            reach(np.zeros(2, RECORD), np.zeros(8, np.uint8), 2, 0)
        with pytest.raises(IndexError):
            reach(np.zeros(2, RECORD), np.zeros(8, np.uint8), 0, 1)


def test_a_float_put_into_an_integer_field_is_found_and_refused():
    from onetape.compiled import intrinsics

    @kernel
    def narrow(block):
        row(block, 0).x = 0.5
        row(block, 0).small = 0.5

    narrow(np.zeros(1, RECORD))
    assert [place.split(": ")[1] for place in intrinsics.narrowings(narrow.dispatcher)] == ["small"]
    with mode.running("interpreted"), pytest.raises(TypeError, match="write"):
        narrow(np.zeros(1, RECORD))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200))
def test_percentiles_of_counts_are_within_the_stated_resolution(values):
    cells = counts.new_counts()
    for value in values:
        counts.record_ns(cells, value)

    for percent in (1, 50, 90, 99, 100):
        rank = max(1, -(-len(values) * percent // 100))
        exact = sorted(values)[rank - 1]
        assert exact <= counts.percentile_ns(cells, percent) <= exact * 1.04 + 1
