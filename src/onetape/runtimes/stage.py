"""One stage of a pipeline in parts: its engines, and their rows put in the order of one part."""

import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from onetape.compiled.bits import shift_right
from onetape.compiled.frame import DATA, END, HEADER_BYTES, PAYLOAD_MAX, TICK
from onetape.compiled.kernel import kernel
from onetape.compiled.rows import row
from onetape.engine import layout
from onetape.engine.engine import Engine
from onetape.engine.frames import Run
from onetape.engine.graph import Pipeline
from onetape.engine.partition import partitioned
from onetape.engine.planner import plan
from onetape.engine.stages import INDEX_BITS, MORE_BIT, Stages
from onetape.records import UNSET, DeclarationError
from onetape.records.declare import raw_rows
from onetape.runtimes.batch import BATCH_OUTPUT_ROWS, set_midnight

PLACE_BITS = layout.ROOT_NODES_MAX.bit_length() - 1
FRAME_BYTES = PAYLOAD_MAX >> 1
_HEADER = struct.Struct("<IIqqHHI")

Made = dict[str, tuple[Any, Any]]  # rows and origins of each output


class Reached(NamedTuple):
    """How far time has come, and where in it each feed lost its first message."""

    watermark_ns: int
    lost_ns: Any


class Stage:
    """So many engines of one pipeline, each with the keys that are its own.

    numbers  of its nodes, in the whole pipeline
    """

    def __init__(
        self,
        pipeline: Pipeline,
        numbers: Any,
        count: int,
        by: str,
        framing: dict[str, str] | None = None,
        midnight_ns: int = 0,
    ) -> None:
        part = partitioned(pipeline, by) if by else None
        self.pipeline = part.pipeline if part else pipeline
        self.numbers = numbers[part.numbers] if part else numbers
        planned = plan(self.pipeline, framing, placed=True)
        self.engines: list[Engine] = []
        for number in range(count):
            turn = self.engines[0].turn if self.engines else None
            engine = Engine(planned, BATCH_OUTPUT_ROWS, turn)
            set_midnight(engine, midnight_ns)
            if part is not None:
                part.assign(engine, number, count)
            self.engines.append(engine)

    def fed(self, engine: Engine, frames: Run) -> tuple[Made, Reached]:
        """What one engine makes of the frames, and how far time has come with them."""
        kept: dict[str, list[tuple[Any, Any]]] = {name: [] for name in self.pipeline.outputs}
        for name, rows, origins in engine.feed(*frames):
            kept[name].append((raw_rows(rows).copy(), origins.copy()))
        made = {}
        for name, blocks in kept.items():
            empty = raw_rows(np.empty(0, self.pipeline.outputs[name].of.dtype))
            made[name] = (
                np.concatenate([empty, *(block for block, _ in blocks)]),
                np.concatenate([np.empty(0, layout.ORIGIN), *(caused for _, caused in blocks)]),
            )
        has_begun = int(engine.run["events"][0]) > 0  # before that, time may still go back
        watermark_ns = int(engine.run["watermark_ns"][0]) if has_begun else UNSET
        return made, Reached(watermark_ns, engine.arrays.get("n_lost", np.empty(0)).copy())

    def in_order(self, made: list[Made]) -> Made:
        """The rows of all parts in the order of their roots, as bytes."""
        joined = {}
        for name in self.pipeline.outputs:
            rows = np.concatenate([part[name][0] for part in made])
            origins = np.concatenate([part[name][1] for part in made])
            if sum(len(part[name][0]) > 0 for part in made) > 1:
                order = merged(origins, [len(part[name][0]) for part in made])
                rows, origins = rows[order], origins[order]
            joined[name] = (rows, origins)
        return joined

    def told(self, made: Made) -> Made:
        """As one part tells its rows."""
        for name, (rows, origins) in made.items():
            origins["node"] = self.numbers[origins["node"]]
            origins["tape_offset"] = 0  # a place is of no use to others
            made[name] = (rows.view(self.pipeline.outputs[name].of.dtype), origins)
        return made

    def joined(self, made: list[Made]) -> Made:
        return self.told(self.in_order(made))


class Second:
    """The stage behind the parts: takes what they hand over, in order, and the time reached."""

    def __init__(self, cut: Stages, count: int) -> None:
        assert cut.second is not None
        self._edges = cut.edges
        try:
            self.stage = Stage(cut.second, cut.numbers[1], count if cut.key else 1, cut.key)
        except DeclarationError:  # in parts by that key it does not go: all of it in one
            self.stage = Stage(cut.second, cut.numbers[1], 1, "")
        self._has_ended = False
        self._handed = 0  # rows so far

    def after(self, first: Stage, made: list[Made], reached: Reached) -> Made:
        """What both stages make, when the parts have made this."""
        rows = first.in_order(made)
        names = list(rows)
        counts = [len(rows[name][0]) for name in names]
        origins = np.concatenate([rows[name][1] for name in names])
        order = merged(origins, counts)
        roots = np.empty(len(order), np.int64)
        roots[order] = _numbered(origins[order])
        bounds = np.concatenate([[0], np.cumsum(counts)])
        of = dict(zip(names, np.split(roots, bounds[1:-1]), strict=True))
        handed = [name for name in names if name in self._edges]
        which = np.repeat(np.arange(len(names)), counts)[order]
        edges = np.array([self._edges.get(name, -1) for name in names])[which]
        is_handed = edges >= 0
        caused = roots[order][is_handed]
        more = np.append(caused[1:] == caused[:-1], False)[: len(caused)]
        for name in handed:
            hands = rows[name][0].view(first.pipeline.outputs[name].of.dtype)
            hands["hand_cause"] |= more[edges[is_handed] == self._edges[name]] * MORE_BIT
        of_edges = {self._edges[name]: rows[name][0] for name in handed}
        frames = self._frames(edges[is_handed], of_edges, reached.watermark_ns)
        for engine in self.stage.engines:
            if "n_lost" in engine.arrays:
                engine.arrays["n_lost"][:] = reached.lost_ns
        with ThreadPoolExecutor(len(self.stage.engines)) as pool:
            done = list(pool.map(lambda engine: self.stage.fed(engine, frames), self.stage.engines))
        behind = self.stage.in_order([part for part, _ in done])
        kept = {name: rows[name] for name in names if name not in self._edges}
        self._number(kept, of, behind, caused)
        self._handed += len(caused)
        return first.told(kept) | self.stage.told(behind)

    def _frames(self, edges: Any, rows: dict[int, Any], watermark_ns: int) -> Run:
        """Frames of the rows in their order, then of the time, at the end the ends."""
        pieces: list[bytes] = []

        def add(edge: int, kind: int, payload: bytes, ts_recv_ns: int = UNSET) -> None:
            header = _HEADER.pack(len(payload), 0, 0, ts_recv_ns, edge, kind, 0)
            assert len(header) == HEADER_BYTES
            pieces.append(header + payload + bytes(-len(payload) % 8))

        bounds = [*np.flatnonzero(np.diff(edges, prepend=-1)).tolist(), len(edges)]
        taken = dict.fromkeys(rows, 0)
        for begin, end in pairwise(bounds):
            edge = int(edges[begin])
            at, until = taken[edge], taken[edge] + end - begin
            most = max(1, FRAME_BYTES // rows[edge].dtype.itemsize)
            for row_at in range(at, until, most):
                add(edge, DATA, rows[edge][row_at : min(row_at + most, until)].tobytes())
            taken[edge] = until
        if watermark_ns >= layout.FAR and not self._has_ended:
            self._has_ended = True
            for edge in rows:
                add(edge, END, b"")
        elif watermark_ns != UNSET and not self._has_ended:
            add(0, TICK, b"", watermark_ns)
        buffer = np.frombuffer(bytearray(b"".join(pieces)), np.uint8)
        return buffer, 0, len(buffer)

    def _number(self, kept: Made, of: dict[str, Any], behind: Made, caused: Any) -> None:
        """Number the rows of each root, those of both stages together, as one part does."""
        parts = []
        for name, (_, origins) in kept.items():
            within = origins["index"].astype(np.int64) << INDEX_BITS
            parts.append((origins, np.arange(len(origins)), of[name], within))
        for _, origins in behind.values():
            places = origins["tape_offset"]
            at = np.flatnonzero(places >> PLACE_BITS & 3 == layout.AT_EVENT)
            root = caused[(places[at] >> (PLACE_BITS + 2)) - 1 - self._handed]
            parts.append((origins, at, root, origins["index"][at]))
        roots = np.concatenate([root for _, _, root, _ in parts])
        places_within = np.concatenate([index for _, _, _, index in parts])
        order = np.lexsort((places_within, roots))
        is_first = np.diff(roots[order], prepend=-1) != 0
        count = np.arange(len(order))
        rank = np.empty(len(order), np.int64)
        rank[order] = count - np.maximum.accumulate(np.where(is_first, count, 0))
        begin = 0
        for origins, at, root, _ in parts:
            origins["index"][at] = rank[begin : begin + len(root)]
            begin += len(root)


def merged(origins: Any, counts: list[int]) -> Any:
    """Indices into runs of rows, each in order, that put all of them in order."""
    ends = np.cumsum(counts)
    order = np.empty(len(origins), np.int64)
    merge_runs(origins, ends - counts, ends, order)
    return order


@kernel
def merge_runs(origins, heads, ends, order):
    """Merge runs that are in order. heads: where each begins, moved to its end; O(rows x runs)."""
    for n in range(order.shape[0]):
        best = -1
        for run in range(ends.shape[0]):
            if heads[run] < ends[run]:
                if best < 0 or comes_before(origins, heads[run], heads[best]):
                    best = run
        order[n] = heads[best]
        heads[best] += 1


@kernel
def comes_before(origins, i, j):
    """Was row i made before row j? Timers of one moment fire by time, step, key."""
    a, b = row(origins, i), row(origins, j)
    moment_a = shift_right(a.tape_offset, PLACE_BITS)
    moment_b = shift_right(b.tape_offset, PLACE_BITS)
    if moment_a != moment_b:
        return moment_a < moment_b
    if a.sequence != b.sequence and a.root == layout.TIMER_ROOT:
        return a.sequence < b.sequence
    if a.tape_offset != b.tape_offset:
        return a.tape_offset < b.tape_offset
    if a.key != b.key and a.root == layout.TIMER_ROOT:
        return a.key < b.key
    return a.index < b.index


def _numbered(origins: Any) -> Any:
    """0, 1, 2 ... for the roots of rows that are in order."""
    if not len(origins):
        return np.empty(0, np.int64)
    changed = np.zeros(len(origins), bool)
    for name in ("tape_offset", "sequence", "key", "root"):
        changed[1:] |= origins[name][1:] != origins[name][:-1]
    return np.cumsum(changed)
