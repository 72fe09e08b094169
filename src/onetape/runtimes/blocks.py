"""Recorded input as streams of blocks, one a shard: what a topic or a tape table holds.

A feed of ITCH is divided by instrument (`codecs/sharding`), whole frames of anything else go into
one shard as they are. So many events a block: a cluster's cost is one a record.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onetape.codecs import sharding
from onetape.codecs.block import FRAMES, MANIFEST, BlockError, Header, decode, encode, encode_json
from onetape.codecs.feed import new_feed
from onetape.codecs.messages_in import messages_in
from onetape.codecs.numbered import BASE_BYTES, PREFIX_BYTES
from onetape.compiled.frame import (
    DATA,
    END,
    HEADER_BYTES,
    TICK,
    frame_bytes,
    frame_kind,
    frame_length,
    frame_source,
)
from onetape.engine.frames import FramePacker, Run
from onetape.engine.graph import Pipeline
from onetape.engine.partition import BY, PARTS_MAX, partitioned
from onetape.engine.planner import plan
from onetape.records import OperatorError, empty_block
from onetape.records.market import MarketEvent
from onetape.runtimes.inputs import Inputs, inputs_of_tape

EVENTS = 4096
EVENTS_MAX = 16384
FRAMES_BYTES = 256 << 10  # of whole frames in a block, where events are not counted
BODY_MAX = 64  # bytes of the longest message of ITCH 5.0, with room

Block = tuple[int, bytes]  # shard, and the block


def blocks_of(
    pipeline: Pipeline,
    inputs: Inputs,
    *,
    shards: int = 1,
    by: str = BY,
    events: int = EVENTS,
    codec: str = "lz4",
) -> Iterator[Block]:
    """All of the input as (shard, block), blocks of a shard in order: MANIFEST, then FRAMES.

    events  of a block, at most; a tape in one shard keeps its frames as they are, the clock's too

    DeclarationError: the pipeline does not divide by that key. OperatorError: its input does not.
    PeerError: a message of the input stands in the way. Some 7 M messages/s a core.
    """
    if not 1 <= shards <= PARTS_MAX:
        raise OperatorError(f"shards were {shards}; expected 1 to {PARTS_MAX}")
    if not 1 <= events <= EVENTS_MAX:
        raise OperatorError(f"events of a block were {events}; expected 1 to {EVENTS_MAX}")
    framing = plan(pipeline, inputs.framing).framing
    is_one_feed = len(pipeline.sources) == 1 and pipeline.sources[0].feed == "itch"
    divides = is_one_feed and framing[pipeline.sources[0].name] == "length_prefixed"
    divides = divides and (shards > 1 or not inputs.is_taped)
    if shards > 1:
        partitioned(pipeline, by)
        if not divides or by != BY:
            raise OperatorError(
                f"only one recorded feed of ITCH is divided, by {BY}; this input goes in one shard"
            )
    if divides:
        framing = {pipeline.sources[0].name: "numbered"}
    facts = {
        "framing": framing,
        "midnight_ns": inputs.midnight_ns,
        "sources": [source.name for source in pipeline.sources],
        "shards": shards,
        "by": by,
    }
    for shard in range(shards):
        yield shard, encode_json(Header(MANIFEST, shard, shards), facts)
    begin = Header(FRAMES, 0, shards, 1, codec=codec)
    if divides:
        yield from _divided(inputs, begin, events)
    else:
        yield from _whole(pipeline, framing, inputs.runs(), begin, events)


def blocks_of_tape(pipeline: Pipeline, folder: str | Path, **options: Any) -> Iterator[Block]:
    """The frames of a tape as blocks: `blocks_of`, of what a run has recorded."""
    return blocks_of(pipeline, inputs_of_tape(pipeline, folder), **options)


def runs_of(blocks: Iterable[Any]) -> Iterator[Run]:
    """The frames in the blocks of one shard, in order; each run is good until the next.

    BlockError: a block is missing, or none of frames. MANIFEST is passed over.
    """
    ordinal = None
    for block in blocks:
        header, payload = decode(block)
        if ordinal is not None and header.ordinal != ordinal:
            raise BlockError(f"{header.place} came where block {ordinal} was expected")
        ordinal = header.ordinal + 1
        if header.kind == MANIFEST:
            continue
        if header.kind != FRAMES:
            raise BlockError(f"{header.place} holds no frames")
        yield payload, 0, check_frames(header, payload)


def check_frames(header: Header, payload: Any) -> int:
    """The end of whole frames in a payload; BlockError if they do not fill it."""
    at = 0
    while at + HEADER_BYTES <= len(payload):
        at += int(frame_bytes(frame_length(payload, at)))
    if at != len(payload):
        raise BlockError(f"{header.place}: its frames end at {at} of {len(payload)} bytes")
    return at


def _divided(inputs: Inputs, begin: Header, events: int) -> Iterator[Block]:
    """The messages of one feed, each in its shard."""
    shards = begin.shards
    room = BASE_BYTES + events * (PREFIX_BYTES + BODY_MAX)
    out, fill = np.zeros((shards, room), np.uint8), sharding.new_fill(shards)
    feed, scratch = new_feed(inputs.midnight_ns), empty_block(MarketEvent, 1)
    ordinals = [begin.ordinal] * shards
    packers = [FramePacker() for _ in range(shards)]

    def block(shard: int) -> Block:
        told, size = fill[shard], int(fill[shard]["size_bytes"])
        buffer, _, end = packers[shard].data(out[shard, :size])
        header = replace(
            begin,
            shard=shard,
            ordinal=ordinals[shard],
            count=int(told["count"]),
            first_sequence=int(told["first_sequence"]),
            last_sequence=int(told["last_sequence"]),
            min_ts_event_ns=int(told["min_ts_event_ns"]),
            max_ts_event_ns=int(told["max_ts_event_ns"]),
        )
        fill[shard] = 0
        ordinals[shard] += 1
        return shard, encode(header, buffer[:end])

    for buffer, at, end in inputs.runs():
        for kind, first, until in _payloads(buffer, at, end):
            if kind == TICK:
                raise OperatorError(
                    "the tape has moments at which its feed was silent and time went on by the "
                    "clock; what those did depends on all instruments: use one shard"
                )
            if kind != DATA:
                continue
            while True:
                first, shard, why = sharding.split(
                    feed, scratch, buffer, first, until, out, fill, events
                )
                if why == sharding.AT_END:
                    break
                if why != sharding.FULL:
                    raise sharding.undivided(why, int(feed["next_sequence"][0]))
                yield block(shard)
    for shard in range(shards):
        if fill[shard]["count"]:
            yield block(shard)
        buffer, _, end = packers[shard].end()
        header = replace(begin, shard=shard, ordinal=ordinals[shard])
        yield shard, encode(header, buffer[:end])


def _payloads(buffer: Any, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, begin, end) of the payload of each frame."""
    while at < end:
        length = int(frame_length(buffer, at))
        yield int(frame_kind(buffer, at)), at + HEADER_BYTES, at + HEADER_BYTES + length
        at += int(frame_bytes(length))


def _whole(
    pipeline: Pipeline, framing: dict[str, str], runs: Iterable[Run], begin: Header, events: int
) -> Iterator[Block]:
    """Frames as they are: those that bring data or time, in one shard."""
    kept: list[bytes] = []
    size, count, header = 0, 0, begin

    def block() -> Block:
        return 0, encode(replace(header, count=count), b"".join(kept))

    for buffer, at, end in runs:
        while at < end:
            length = int(frame_length(buffer, at))
            following = at + int(frame_bytes(length))
            if int(frame_kind(buffer, at)) in (DATA, TICK, END):
                kept.append(buffer[at:following].tobytes())
                size += following - at
                count += _events_of(pipeline, framing, buffer, at)
            at = following
            if size >= FRAMES_BYTES or len(kept) >= events:
                yield block()
                kept, size, count = [], 0, 0
                header = replace(header, ordinal=header.ordinal + 1)
    if kept:
        yield block()


def _events_of(pipeline: Pipeline, framing: dict[str, str], buffer: Any, at: int) -> int:
    """How many events the frame at buffer[at] brings."""
    if int(frame_kind(buffer, at)) != DATA:
        return 0
    number = int(frame_source(buffer, at)) & 255
    if number >= len(pipeline.sources):  # of one that the pipeline leaves out
        return 0
    source = pipeline.sources[number]
    length = int(frame_length(buffer, at))
    if not source.feed:
        return length // int(source.of.dtype.itemsize)
    payload = buffer[at + HEADER_BYTES : at + HEADER_BYTES + length]
    return messages_in(source.feed, framing.get(source.name, ""), payload)
