"""Frames made in memory: what the driver reads is what was packed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.parts import Tick
from tests.engine.running import DATA, END, HEADER, TICK, UNSET, block_of, make

import onetape as ot
from onetape.compiled import mode
from onetape.compiled.frame import PAYLOAD_MAX
from onetape.engine.frames import FramePacker, frames_of
from onetape.records import OperatorError


def fields(run):
    buffer, begin, end = run
    header = HEADER.unpack_from(buffer[begin:end].tobytes())
    return header, buffer[begin + HEADER.size : begin + HEADER.size + header[0]].tobytes(), end


@given(st.lists(st.binary(max_size=70), max_size=6), st.integers(0, 2**16 - 1))
def test_headers_say_what_was_packed(payloads, source_id):
    packer = FramePacker(source_id, offset=5)

    for n, payload in enumerate(payloads):
        header, found, size = fields(packer.data(payload, ts_recv_ns=n))

        assert header == (len(payload), 0, 5 + n, n, source_id, DATA, 0)
        assert found == payload
        assert size % 8 == 0 <= size - HEADER.size - len(payload) < 8


def test_ticks_and_the_end_have_no_payload():
    packer = FramePacker(3)

    assert fields(packer.tick(77))[0] == (0, 0, 0, 77, 3, TICK, 0)
    assert fields(packer.end())[0] == (0, 0, 1, UNSET, 3, END, 0)


def test_a_payload_has_a_largest_size():
    packer = FramePacker()

    assert fields(packer.data(bytes(PAYLOAD_MAX)))[2] == HEADER.size + PAYLOAD_MAX
    with pytest.raises(OperatorError, match="a payload of 1048577 bytes; a frame holds at most"):
        packer.data(bytes(PAYLOAD_MAX + 1))


def test_a_run_of_payloads_ends_its_source():
    rows = [Tick(n, 1, n) for n in range(5)]
    with mode.running("interpreted"):
        engine = make(ot.Pipeline(out=ot.source(Tick)))
        payloads = [(None, block_of(rows[:2]).tobytes()), (9, block_of(rows[2:]).tobytes())]

        made = [
            row
            for run in frames_of(payloads)
            for _, block, _ in engine.feed(*run)
            for row in block.tolist()
        ]

    assert made == rows
    assert engine.counts().frames == 3
    assert engine.sources["ended"].tolist() == [1]
