"""The contract of every engine that runs a pipeline by blocks: `turn(block) -> blocks`.

    worker = Worker(pipeline)
    for block in stream_of_one_shard:
        out.extend(worker.turn(block))

Pure but for the arrays it works on: no engine, clock or thread is seen from here. The same worker
stands in a Flink task, a Spark partition, behind a topic and in a test; what it makes of a stream
depends on the stream alone. Blocks seen before are passed over, a missing one is an error, so what
delivers at least once is enough in front of it.
"""

from collections.abc import Iterable
from typing import Any

from onetape.codecs.block import (
    END,
    FRAMES,
    MANIFEST,
    BlockError,
    Header,
    decode,
    encode_json,
    json_of,
    read_header,
)
from onetape.engine.blocks import encode_rows
from onetape.engine.digest import state_digest
from onetape.engine.engine import Counts, Engine
from onetape.engine.graph import Pipeline
from onetape.engine.partition import partitioned
from onetape.engine.planner import plan
from onetape.records import OperatorError
from onetape.runtimes.base import from_pieces, to_pieces
from onetape.runtimes.batch import set_midnight
from onetape.runtimes.blocks import check_frames

OUTPUT_ROWS = 1 << 14


class Worker:
    """A pipeline over the stream of one shard.

    codec         of the blocks it makes
    output_rows   of its rings: what a block of rows holds at most
    next_ordinal  of the block that is expected
    doubled       blocks passed over, as seen before
    is_over       all its sources have ended
    """

    def __init__(
        self, pipeline: Pipeline, *, codec: str = "lz4", output_rows: int = OUTPUT_ROWS
    ) -> None:
        self.pipeline = pipeline
        self.next_ordinal = self.doubled = 0
        self.is_over = False
        self.manifest: dict[str, Any] = {}
        self.engine: Engine | None = None
        self._codec, self._output_rows = codec, output_rows
        self._made = dict.fromkeys(pipeline.outputs, 0)  # blocks of each output so far
        self._numbers: Any = None  # of the nodes of a part, in the whole pipeline
        self._shard, self._shards = 0, 1

    def warm(self, framing: dict[str, str], shards: int = 1, by: str = "") -> None:
        """Compile what a stream with such a manifest will need, or find it on disk."""
        self._engine_for({"framing": framing, "midnight_ns": 0, "shards": shards, "by": by}, 0)

    def turn(self, block: Any) -> list[bytes]:
        """The blocks that this one makes: ROWS in order, and one END behind the last of all.

        BlockError: the block is damaged, of another stream, or one before it is missing.
        StepError: an operator raised. The worker is then good for nothing; make a new one.
        """
        header = read_header(block)
        if header.ordinal < self.next_ordinal:
            self.doubled += 1
            return []
        if header.ordinal > self.next_ordinal:
            raise BlockError(
                f"{header.place} came where block {self.next_ordinal} was expected: "
                f"{header.ordinal - self.next_ordinal} are missing in the stream"
            )
        if header.kind == MANIFEST:
            self._begin(header, json_of(block))
            made: list[bytes] = []
        elif header.kind != FRAMES or self.engine is None or not self.manifest:
            raise BlockError(f"{header.place} is not of a stream of frames, or its manifest is not")
        else:
            if (header.shard, header.shards) != (self._shard, self._shards):
                raise BlockError(
                    f"{header.place} of {header.shards} came into the stream of shard "
                    f"{self._shard} of {self._shards}"
                )
            made = self._feed(self.engine, *decode(block))
        self.next_ordinal += 1
        return made

    def counts(self) -> Counts:
        if self.engine is None:
            raise OperatorError("the stream has not begun: no manifest has come")
        return self.engine.counts()

    def save(self) -> list[bytes]:
        """All that the stream has come to, as pieces of at most a MiB: for `restore`.

        O(bytes of state that were ever touched).
        """
        facts = {
            "manifest": self.manifest,
            "shard": self._shard,
            "next_ordinal": self.next_ordinal,
            "doubled": self.doubled,
            "is_over": self.is_over,
            "made": self._made,
            "driver": self.engine.plan.driver if self.engine else "",
            "events": self.engine.counts().events if self.engine else 0,
        }
        return to_pieces(facts, self.engine)

    def restore(
        self, base: Iterable[bytes], since: Iterable[Any] = (), *, upgrade: bool = False
    ) -> None:
        """Go to where `save` was called, then run the blocks since; what they make was delivered.

        upgrade  take the state of another version, if its layout is the same

        OperatorError: the base is of another pipeline.
        """
        facts, put = from_pieces(base)
        if facts["manifest"]:
            engine = self._engine_for(facts["manifest"], facts["shard"])
            if facts["driver"] != engine.plan.driver and not upgrade:
                raise OperatorError(
                    f"the state is of another version of the pipeline (driver {facts['driver']}, "
                    f"this one is {engine.plan.driver}); run that version, or begin without "
                    "its state: with --carry another folder"
                )
            put(engine)
            self.manifest = facts["manifest"]
        self.next_ordinal, self.is_over = facts["next_ordinal"], facts["is_over"]
        self.doubled, self._made = facts["doubled"], facts["made"]
        for block in since:
            self.turn(block)

    def _begin(self, header: Header, manifest: dict[str, Any]) -> None:
        lacks = {"framing", "midnight_ns", "sources", "shards", "by"} - set(manifest)
        if lacks or manifest["shards"] != header.shards:
            raise BlockError(f"{header.place}: the manifest lacks {sorted(lacks) or 'its shards'}")
        check_stream(self.pipeline, manifest)
        self._engine_for(manifest, header.shard)
        self.manifest = manifest

    def _engine_for(self, manifest: dict[str, Any], shard: int) -> Engine:
        """The engine of one shard; the one there is, where it is for the same."""
        shards = manifest["shards"]
        pipeline, part = self.pipeline, None
        if shards > 1:
            part = partitioned(pipeline, manifest["by"])
            pipeline = part.pipeline
        planned = plan(pipeline, manifest["framing"])
        turn = None
        if self.engine is not None and self.engine.plan.driver == planned.driver:
            turn, planned = self.engine.turn, self.engine.plan
        self.engine = Engine(planned, self._output_rows, turn)
        set_midnight(self.engine, manifest["midnight_ns"])
        if part is not None:
            part.assign(self.engine, shard, shards)
            self._numbers = part.numbers
        self._shard, self._shards = shard, shards
        return self.engine

    def _feed(self, engine: Engine, header: Header, payload: Any) -> list[bytes]:
        if self.is_over:
            raise BlockError(f"{header.place} comes behind the end of all its sources")
        made = []
        for name, rows, origins in engine.feed(payload, 0, check_frames(header, payload)):
            if self._numbers is not None:
                origins["node"] = self._numbers[origins["node"]]
            told = self._told(name, header.ts_made_ns)
            made.append(encode_rows(told, self.pipeline.outputs[name].of, rows, origins))
            self._made[name] += 1
        if bool(engine.sources["ended"].all()):
            self.is_over = True
            made.append(self._end(engine, header.ts_made_ns))
        return made

    def _told(self, name: str, ts_made_ns: int) -> Header:
        return Header(
            END,
            self._shard,
            self._shards,
            self._made.get(name, 0),
            name=name,
            ts_made_ns=ts_made_ns,
            codec=self._codec,
        )

    def _end(self, engine: Engine, ts_made_ns: int) -> bytes:
        counts = engine.counts()
        facts = {
            "events": counts.events,
            "late": counts.late,
            "bad": counts.bad_frames + counts.bad_events,
            "rows": counts.rows,
            "blocks": self._made,
            "blocks_taken": self.next_ordinal + 1,
            "state_digest": state_digest(engine),
            "driver": engine.plan.driver,
        }
        return encode_json(self._told("", ts_made_ns), facts)


def check_stream(pipeline: Pipeline, manifest: dict[str, Any], stream: str = "the stream") -> None:
    """OperatorError: a stream's blocks are of other sources than the pipeline reads."""
    sources = [source.name for source in pipeline.sources]
    if manifest["sources"] != sources:
        raise OperatorError(
            f"{stream} is of {', '.join(manifest['sources'])}, and the pipeline reads "
            f"{', '.join(sources)}; give it the stream that was made for it"
        )
