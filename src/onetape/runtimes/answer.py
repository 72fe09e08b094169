"""What blocks of rows come to: the digests of a run, whichever engines made them.

Digests chain the rows of a key and add up the chains, so shards may come in any interleaving; the
blocks of one shard and output must come in order, whole and once. Where an output has no
instrument its rows are one chain: such a stream has one shard.
"""

from collections.abc import Mapping
from typing import Any

from onetape.codecs.block import END, ROWS, WRITER, BlockError, Header, read_header, told_of
from onetape.engine.blocks import rows_of
from onetape.engine.digest import digests_of
from onetape.engine.graph import Pipeline


class Writers:
    """Which blocks of a stream count: those of a writer until a newer one begins (WRITER).

    newest  {shard: number of its writer}
    """

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}

    def counts(self, header: Header) -> bool:
        """Is the block, which comes next in its topic, of the stream?"""
        if header.writer < self.newest.get(header.shard, 0):
            return False
        self.newest[header.shard] = header.writer
        return header.kind != WRITER


class Answer:
    """Give it every block that came out: `take(block)`; BlockError at loss, doubles or damage.

    begun  {(shard, output): blocks that came before}, where streams go on from another run
    """

    def __init__(
        self, pipeline: Pipeline, begun: Mapping[tuple[int, str], int] | None = None
    ) -> None:
        self.pipeline = pipeline
        self.ends: dict[int, dict[str, Any]] = {}  # of each shard that has ended: what it counted
        self.shards = 0
        self._digests = digests_of(self)
        self._next: dict[tuple[int, str], int] = dict(begun or {})
        self._writers = Writers()

    def take(self, block: Any) -> tuple[str, Any, Any] | None:
        """(output, rows, origins) of a block of ROWS; None of an END or what does not count."""
        header = read_header(block)
        if not self._writers.counts(header):
            return None
        if header.shard in self.ends:
            raise BlockError(f"{header.place} comes behind the end of its shard")
        if self.shards not in (0, header.shards):
            raise BlockError(f"{header.place} is of {header.shards} shards, not {self.shards}")
        self.shards = header.shards
        if header.kind == END:
            self._end(header.shard, told_of(block))
            return None
        if header.kind != ROWS or header.name not in self.pipeline.outputs:
            known = ", ".join(self.pipeline.outputs)
            raise BlockError(f"{header.place} is no block of rows of the outputs {known}")
        where = header.shard, header.name
        expected = self._next.get(where, 0)
        if header.ordinal != expected:
            what = "came twice" if header.ordinal < expected else "came too early: some are lost"
            raise BlockError(f"{header.place} {what}; expected block {expected}")
        self._next[where] = expected + 1
        _, rows, origins = rows_of(block, self.pipeline.outputs[header.name].of)
        self._digests[header.name].update(rows, origins)
        return header.name, rows, origins

    @property
    def is_complete(self) -> bool:
        """Have all shards come to their end?"""
        return 0 < self.shards == len(self.ends)

    @property
    def digests(self) -> dict[str, str]:
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    @property
    def rows(self) -> dict[str, int]:
        return {name: digest.rows_count for name, digest in self._digests.items()}

    @property
    def state_digests(self) -> dict[int, str]:
        """Of each shard that has ended."""
        return {shard: facts["state_digest"] for shard, facts in sorted(self.ends.items())}

    @property
    def events(self) -> int:
        """That the shards which have ended took."""
        return sum(facts["events"] for facts in self.ends.values())

    def _end(self, shard: int, facts: dict[str, Any]) -> None:
        for name, blocks in facts["blocks"].items():
            came = self._next.get((shard, name), 0)
            if came != blocks:
                raise BlockError(f"shard {shard} made {blocks} blocks of {name}, and {came} came")
        self.ends[shard] = facts
