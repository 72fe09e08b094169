"""Small tables of a lake for tests: streams of random frames, rows of a record with odd types."""

from datetime import date

import numpy as np

import onetape as ot
from onetape.codecs.block import FRAMES, MANIFEST, Header, encode, encode_json
from onetape.connect.lake.tape_table import TapeTable, TapeWriter
from onetape.engine.frames import FramePacker
from onetape.records import UNSET, empty_block

DAY, NEXT = date(2026, 1, 5), date(2026, 1, 6)
DAY_NS = 86_400 * 10**9
INPUT = "0123456789abcdef"


def stream(shard=0, shards=1, blocks=20, size=100, ends=True):
    """(shard, block)s: a manifest, frames of random bytes, and the end of the source."""
    rng, packer = np.random.default_rng(shard), FramePacker()
    made = [(shard, encode_json(Header(MANIFEST, shard, shards), {"n": shard}))]
    for ordinal in range(1, blocks):
        frame, _, end = packer.data(rng.bytes(size))
        if ends and ordinal == blocks - 1:
            frame, _, end = packer.end()
        header = Header(FRAMES, shard, shards, ordinal, 1, codec="lz4", last_sequence=ordinal)
        made.append((shard, encode(header, frame[:end])))
    return made


def both(blocks=20):
    """Two shards, mixed."""
    pairs = zip(stream(0, 2, blocks), stream(1, 2, blocks), strict=True)
    return [each for pair in pairs for each in pair]


def write_both(url, blocks, done):
    """In a process of its own."""
    done.put(TapeWriter(url, DAY, INPUT).write(both(blocks)))


def read(url, day=DAY):
    table = TapeTable(url)
    return {
        shard: [bytes(block) for block in table.blocks(stream)]
        for (of, shard), stream in table.streams().items()
        if of == day
    }


def by_shard(blocks):
    found = {}
    for shard, block in blocks:
        found.setdefault(shard, []).append(block)
    return found


@ot.record
class Odd:
    ts_event_ns: ot.i64
    ts_other_ns: ot.i64
    instrument_id: ot.u32
    big: ot.u64
    small: ot.u8
    prices: ot.Array[ot.i64, 3]


def odd(count, first=0, big=2**64 - 1):
    rows = empty_block(Odd, count)
    rows["ts_event_ns"] = [DAY_NS * 20_458 + 123 + first + n for n in range(count)]
    rows["ts_other_ns"] = UNSET
    rows["instrument_id"], rows["big"], rows["small"] = 2**32 - 1, big, 255
    rows["prices"] = [[n, 2 * n, UNSET] for n in range(count)]
    return rows
