"""Workers over streams of blocks come to the answer of a plain run: any shards, any split."""

import random
from dataclasses import replace

import numpy as np
import pytest
from tests.runtimes.counted import Number
from tests.runtimes.counted import pipeline as counted

import onetape as ot
from onetape.codecs.block import (
    FRAMES,
    MANIFEST,
    BlockError,
    Header,
    decode,
    encode_json,
    read_header,
)
from onetape.codecs.sharding import owner
from onetape.compiled.frame import END, frame_kind
from onetape.connect.itch_file import open_itch
from onetape.engine.engine import Engine
from onetape.engine.frames import FramePacker
from onetape.records import DeclarationError, IntegrityError, OperatorError, PeerError
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.base import from_pieces
from onetape.runtimes.blocks import blocks_of, blocks_of_tape, runs_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.standard import market_watch
from onetape.runtimes.worker import Worker
from onetape.sim.exchange import write_file


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    path = tmp_path_factory.mktemp("day") / "day.itch"
    write_file(path, seed=3, seconds=2.0, instruments=12, episodes=1)
    return path


@pytest.fixture(scope="module")
def plain(day):
    pipeline = market_watch()
    inputs = inputs_of(pipeline, day)
    engine = batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns)
    return batch.run(engine, inputs.runs())


def streams(day, **options):
    """{shard: its blocks}"""
    pipeline, found = market_watch(), {}
    for shard, block in blocks_of(pipeline, inputs_of(pipeline, day), **options):
        found.setdefault(shard, []).append(block)
    return found


def answered(made):
    answer = Answer(market_watch())
    for block in made:
        answer.take(block)
    assert answer.is_complete
    return answer


@pytest.mark.parametrize(
    ("shards", "events", "codec"), [(1, 4096, "lz4"), (1, 100, "none"), (3, 256, "zstd")]
)
def test_any_number_of_shards_gives_the_plain_answer(day, plain, shards, events, codec):
    found = streams(day, shards=shards, events=events, codec=codec)
    assert sorted(found) == list(range(shards))
    rng, made = random.Random(shards), []
    workers = {shard: Worker(market_watch(), codec=codec) for shard in found}
    places = dict.fromkeys(found, 0)
    while places:  # any interleaving
        shard = rng.choice(sorted(places))
        made += workers[shard].turn(found[shard][places[shard]])
        places[shard] += 1
        if places[shard] == len(found[shard]):
            assert workers[shard].is_over
            del places[shard]
    answer = answered(made)
    assert answer.digests == plain.digests
    assert answer.rows == plain.counts.rows
    assert answer.events == plain.counts.events
    if shards == 1:
        assert answer.state_digests == {0: plain.state_digest}


def test_a_block_tells_what_is_in_it(day):
    found = streams(day, shards=2, events=64)
    for shard, blocks in found.items():
        assert [read_header(block).ordinal for block in blocks] == list(range(len(blocks)))
        assert read_header(blocks[0]).kind == MANIFEST
        last = 0
        for block in blocks[1:-1]:
            header = read_header(block)
            assert (header.kind, header.shard, header.shards) == (FRAMES, shard, 2)
            assert 0 < header.count <= 64
            assert last < header.first_sequence <= header.last_sequence
            assert header.min_ts_event_ns <= header.max_ts_event_ns
            last = header.last_sequence


def test_runs_of_a_stream_feed_any_engine(day, plain):
    blocks = streams(day, events=256)[0]
    pipeline = market_watch()
    framing = {"itch": "numbered"}
    engine = batch.make_engine(pipeline, framing, inputs_of(pipeline, day).midnight_ns)
    assert batch.run(engine, runs_of(blocks)).digests == plain.digests
    with pytest.raises(BlockError, match="block 2 was expected"):
        list(runs_of([blocks[0], blocks[1], blocks[3]]))


def test_a_base_and_the_blocks_since_are_the_whole_past(day, plain):
    blocks = streams(day, events=128)[0]
    at, behind = len(blocks) // 3, len(blocks) // 2
    first = Worker(market_watch())
    made = [made for block in blocks[:at] for made in first.turn(block)]
    base = first.save()
    assert max(map(len, base)) <= 1 << 20
    made += [made for block in blocks[at:behind] for made in first.turn(block)]
    again = Worker(market_watch())
    again.restore(base, blocks[at:behind])
    made += [made for block in blocks[behind:] for made in again.turn(block)]
    answer = answered(made)
    assert answer.digests == plain.digests
    assert answer.state_digests == {0: plain.state_digest}


def test_a_base_from_before_the_beginning(day):
    empty = Worker(market_watch())
    again = Worker(market_watch())
    again.restore(empty.save())
    assert again.next_ordinal == 0


def test_a_base_with_a_piece_missing_or_of_another_pipeline_is_refused(day):
    blocks = streams(day)[0]
    first = Worker(market_watch())
    for block in blocks[:3]:
        first.turn(block)
    base = first.save()
    assert from_pieces(base)[0]["events"] == first.counts().events > 0
    with pytest.raises(IntegrityError, match="pieces"):
        Worker(market_watch()).restore(base[:-1])
    other = ot.Pipeline(trades=ot.source("itch").trades())
    with pytest.raises(OperatorError, match="run that version, or begin without its state"):
        Worker(other).restore(base)
    with pytest.raises(OperatorError, match="laid out otherwise"):
        Worker(other).restore(base, upgrade=True)


def test_doubles_are_passed_over_and_gaps_refused(day):
    blocks = streams(day, events=128)[0]
    worker = Worker(market_watch())
    for block in blocks[:4]:
        worker.turn(block)
    assert worker.turn(blocks[2]) == []
    assert worker.doubled == 1
    with pytest.raises(BlockError, match="1 are missing"):
        worker.turn(blocks[5])
    worker.turn(blocks[4])  # the one that was expected still goes


def test_what_is_no_stream_is_refused(day):
    blocks = streams(day, shards=2)
    with pytest.raises(BlockError, match="block 0 was expected"):
        Worker(market_watch()).turn(blocks[0][1])
    worker = Worker(market_watch())
    worker.turn(blocks[0][0])
    with pytest.raises(BlockError, match="stream of shard 0 of 2"):
        worker.turn(blocks[1][1])
    other = ot.Pipeline(numbers=ot.source(Number, name="numbers"))
    with pytest.raises(OperatorError, match="the pipeline reads numbers"):
        Worker(other).turn(blocks[0][0])


def test_an_answer_sees_loss_and_doubles(day):
    blocks = streams(day, events=128)[0]
    worker = Worker(market_watch())
    made = [made for block in blocks for made in worker.turn(block)]
    tops = [n for n, block in enumerate(made) if read_header(block).name == "top_of_book"]
    answer = Answer(market_watch())
    answer.take(made[tops[0]])
    with pytest.raises(BlockError, match="came twice"):
        answer.take(made[tops[0]])
    with pytest.raises(BlockError, match="some are lost"):
        answer.take(made[tops[2]])
    lacking = Answer(market_watch())
    with pytest.raises(BlockError, match="blocks of top_of_book"):
        for n, block in enumerate(made):
            if n != tops[-1]:
                lacking.take(block)


def test_only_what_goes_by_instrument_is_divided(day):
    by_size = ot.Pipeline(
        all=ot.source("itch").trades().window("1s", by="qty_lots").agg(trades=ot.count())
    )
    with pytest.raises(DeclarationError, match="keyed by 'qty_lots'"):
        list(blocks_of(by_size, inputs_of(by_size, day), shards=2))
    numbers = counted()
    with pytest.raises((OperatorError, DeclarationError)):
        list(blocks_of(numbers, inputs_of(market_watch(), day), shards=2))


def test_a_feed_with_a_refused_message_goes_in_one_shard(day, tmp_path):
    data = bytearray(day.read_bytes())
    at = messages = 0
    while data[at + 2] != ord("A"):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
        messages += 1
    data[at + 2 + 19] = ord("Z")  # its side
    damaged = tmp_path / "damaged.itch"
    damaged.write_bytes(data)
    with pytest.raises(PeerError, match=f"message {messages + 1} .* refused"):
        streams(damaged, shards=2)
    pipeline = market_watch()
    inputs = inputs_of(pipeline, damaged)
    engine = batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns)
    plain = batch.run(engine, inputs.runs())
    worker = Worker(market_watch())
    made = [made for block in streams(damaged)[0] for made in worker.turn(block)]
    assert answered(made).digests == plain.digests


def test_blocks_of_a_tape_are_its_frames(tmp_path):
    from onetape.runtimes.edge.node import EdgeNode

    rows = np.zeros(1000, Number.dtype)
    rows["ts_event_ns"], rows["key"] = range(1, 1001), np.arange(1000) % 7
    with EdgeNode(counted(), tmp_path / "tape") as node:
        for begin in range(0, 1000, 50):
            while not node.push(rows[begin : begin + 50].tobytes()):
                list(node.drain())
        while not node.push_end():
            list(node.drain())
        list(node.stop())
        expected = node.engine.counts().rows
    worker, answer = Worker(counted()), Answer(counted())
    events = 0
    for _, block in blocks_of_tape(counted(), tmp_path / "tape", events=3):
        events += read_header(block).count
        for made in worker.turn(block):
            answer.take(made)
    assert answer.rows == expected
    assert events == 1000  # not its 20 frames


def test_ticks_of_a_tape_are_kept_in_one_shard_and_refused_in_two(day):
    pipeline, inputs = market_watch(), inputs_of(market_watch(), day)
    late_ns = inputs.midnight_ns + 20 * 3_600 * 10**9

    def runs():  # good until the next, each of them
        for buffer, begin, end in inputs.runs():
            if frame_kind(buffer, begin) == END:
                yield FramePacker().tick(late_ns)
            yield buffer, begin, end

    taped = replace(inputs, runs=runs, is_taped=True)
    engine = batch.make_engine(pipeline, inputs.framing, inputs.midnight_ns)
    plain = batch.run(engine, runs())
    assert plain.counts.ticks == 1
    worker = Worker(market_watch())
    made = [made for _, block in blocks_of(pipeline, taped) for made in worker.turn(block)]
    assert answered(made).digests == plain.digests
    assert worker.counts().ticks == 1
    with pytest.raises(OperatorError, match="use one shard"):
        list(blocks_of(pipeline, taped, shards=2))


def test_the_owner_is_the_one_of_parts():
    shards = [owner(key, 4) for key in range(1000)]
    assert {shards.count(n) for n in range(4)} <= set(range(200, 300))
    assert [owner(key, 4) for key in range(1000)] == shards


def test_a_manifest_that_lacks_something_is_refused():
    with pytest.raises(BlockError, match="lacks"):
        Worker(counted()).turn(encode_json(Header(MANIFEST), {"framing": {}, "shards": 1}))


def test_an_engine_is_made_once_per_stream(day):
    worker = Worker(market_watch())
    worker.warm({"itch": "numbered"})
    before = worker.engine
    assert isinstance(before, Engine)
    worker.turn(streams(day)[0][0])
    assert worker.engine.turn is before.turn
    with pytest.raises(BlockError):
        worker.turn(b"nothing of the kind")


def test_a_file_that_is_opened_again_gives_the_same_blocks(day):
    assert open_itch(day).framing == "length_prefixed"
    assert streams(day, shards=2) == streams(day, shards=2)
    assert decode(streams(day)[0][0])[0].kind == MANIFEST
