"""The block: what goes in comes out, and damage of any kind is refused."""

import contextlib
import random
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onetape.codecs.block import (
    CODECS,
    FRAMES,
    HEADER_BYTES,
    MANIFEST,
    NAME_BYTES,
    ROWS,
    BlockError,
    Header,
    decode,
    encode,
    encode_json,
    json_of,
    read_header,
    stamped,
    told_of,
)
from onetape.codecs.shuffle import apart, together
from onetape.records import OperatorError

I64 = st.integers(-(2**63), 2**63 - 1)
HEADERS = st.builds(
    Header,
    kind=st.integers(1, 5),
    shard=st.integers(0, 9),
    shards=st.integers(10, 65535),
    ordinal=st.integers(0, 2**64 - 1),
    count=st.integers(0, 2**32 - 1),
    name=st.text("abcdefghijkl_ö", max_size=16),
    schema_id=st.integers(0, 2**64 - 1),
    first_sequence=I64,
    last_sequence=I64,
    min_ts_event_ns=I64,
    max_ts_event_ns=I64,
    ts_made_ns=I64,
    codec=st.sampled_from(CODECS),
    writer=st.integers(0, 2**64 - 1),
)


@given(HEADERS, st.binary(max_size=3000))
def test_what_goes_in_comes_out(header, payload):
    block = encode(header, payload)
    found, data = decode(block)
    assert found == replace(header, size_bytes=len(payload)) == read_header(block)
    assert data.tobytes() == payload
    assert data.flags.writeable


@pytest.mark.parametrize("codec", CODECS)
def test_any_flipped_bit_and_any_cut_is_refused(codec):
    block = encode(Header(FRAMES, 1, 2, 7, count=3, name="top", codec=codec), b"some rows " * 20)
    rng = random.Random(1)
    for bit in rng.sample(range(8 * len(block)), 400):
        damaged = bytearray(block)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BlockError):
            decode(bytes(damaged))
    for size in (0, 4, HEADER_BYTES - 1, HEADER_BYTES, len(block) - 1):
        with pytest.raises(BlockError):
            decode(block[:size])
    with pytest.raises(BlockError):
        decode(block + b"x")


@given(st.binary(max_size=400))
def test_bytes_of_others_are_refused(data):
    with pytest.raises(BlockError):
        decode(data)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 19, 255, 256, 270, 4096, 70_000, 300_000])
@pytest.mark.parametrize("content", ["equal", "random", "rows"])
def test_the_size_is_known_from_the_bytes(codec, size, content):
    made = {
        "equal": lambda: bytes(size),
        "random": lambda: random.Random(1).randbytes(size),
        "rows": lambda: (np.arange(size) // 7 % 251).astype(np.uint8).tobytes(),
    }[content]()
    assert decode(encode(Header(FRAMES, codec=codec), made))[1].tobytes() == made


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("says", [1, 99, 101, 5000, 1 << 26])
def test_a_length_that_lies_is_refused(codec, says):
    """Else what the memory held before would come out as payload."""
    block = bytearray(encode(Header(FRAMES, codec=codec), b"payload of a block. " * 5))
    struct.pack_into("<I", block, 72, says)
    lying = stamped(bytes(block), 0)  # with a checksum that holds
    with pytest.raises(BlockError, match=f"holds 100 bytes, and says {says}"):
        decode(lying)


@given(st.binary(min_size=1, max_size=200), st.sampled_from(["lz4", "zstd"]))
def test_no_bytes_of_a_codec_do_harm(stored, codec):
    block = bytearray(encode(Header(FRAMES), stored))
    block[5] = CODECS.index(codec)
    with contextlib.suppress(BlockError):
        decode(stamped(bytes(block), 0))


def test_it_compresses():
    rows = (np.arange(4096, dtype="<i8") // 64).tobytes()
    sizes = {codec: len(encode(Header(FRAMES, codec=codec), rows)) for codec in CODECS}
    assert sizes["none"] == len(rows) + HEADER_BYTES
    assert max(sizes["lz4"], sizes["zstd"]) < sizes["none"] // 2


@given(st.integers(1, 50), st.integers(1, 30), st.integers(0, 9), st.randoms())
def test_rows_whose_bytes_were_put_apart_come_back(count, row_bytes, more, rng):
    rows, rest = rng.randbytes(count * row_bytes), rng.randbytes(count * more)
    stored = apart([rows, rest] if more else [rows], count)
    naive = [x[k::width] for x, width in ((rows, row_bytes), (rest, more)) for k in range(width)]
    assert stored.tobytes() == b"".join(naive)
    assert together(stored, count, row_bytes).tobytes() == rows + rest


@pytest.mark.parametrize("codec", CODECS)
def test_a_block_of_rows_has_them_shuffled_where_that_helps(codec):
    rows = np.arange(4096, dtype="<i8").repeat(4).tobytes()
    header = Header(ROWS, count=4096, codec=codec, row_bytes=32)
    block = encode(header, rows, rows[:4096])
    told, payload = decode(block)
    assert payload.tobytes() == rows + rows[:4096]
    assert told.row_bytes == (0 if codec == "none" else 32)
    assert codec == "none" or len(block) < len(encode(replace(header, row_bytes=0), rows)) // 2


@pytest.mark.parametrize(("count", "row_bytes"), [(0, 8), (7, 8), (8, 14), (105, 1), (8, 65_535)])
def test_rows_that_the_block_does_not_hold_are_refused(count, row_bytes):
    block = bytearray(encode(Header(ROWS, count=8, codec="lz4", row_bytes=8), bytes(104)))
    struct.pack_into("<HI", block, 10, row_bytes, count)
    with pytest.raises(BlockError, match=f"{count} rows of {row_bytes} bytes, and holds 104"):
        decode(stamped(bytes(block), 0))


def test_a_stamp_changes_the_time_alone():
    block = encode(Header(FRAMES, codec="lz4", ordinal=3), b"payload" * 9)
    header, payload = decode(stamped(block, 77))
    assert header == replace(decode(block)[0], ts_made_ns=77)
    assert payload.tobytes() == b"payload" * 9


def test_json_is_an_object_or_refused():
    assert json_of(encode_json(Header(MANIFEST), {"shards": 2})) == {"shards": 2}
    for wrong in (b"[1]", b"{", b"\xff"):
        with pytest.raises(BlockError, match="JSON"):
            json_of(encode(Header(MANIFEST), wrong))


def test_a_manifest_that_lacks_something_is_refused():
    facts = {"framing": {}, "midnight_ns": 0, "sources": [], "shards": 1, "by": ""}
    assert told_of(encode_json(Header(MANIFEST), facts)) == facts
    for name in facts:
        wrong = facts | {name: None}
        with pytest.raises(BlockError, match=f"has None as '{name}'; expected"):
            told_of(encode_json(Header(MANIFEST), wrong))


def test_what_no_block_can_hold_is_said():
    with pytest.raises(OperatorError, match="name has more than"):
        encode(Header(FRAMES, name="x" * (NAME_BYTES + 1)), b"")
    with pytest.raises(OperatorError, match="codec was 'gzip'"):
        encode(Header(FRAMES, codec="gzip"), b"")
