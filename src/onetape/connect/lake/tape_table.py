"""The input of a lake: streams of blocks in a Delta table, a row a block.

What is there is read from the table itself (the ordinals of its files, which the log knows), and a
commit carries how far each stream has come as an application transaction: of two that write the
same stream at once one fails, looks again, and passes over what is there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from onetape.codecs.block import FRAMES, Header, decode, read_header
from onetape.compiled.frame import END, frame_bytes, frame_kind, frame_length
from onetape.connect.lake import TAPE, store
from onetape.records import UNSET, IntegrityError, OperatorError

COMMIT_BYTES = 64 << 20
GROUP_BLOCKS = 64  # of a row group: what a reader holds at once
GROUPS_HELD = 4
PLACE = np.dtype([("ordinal", "<i8"), ("group", "<i4"), ("row", "<i4")])


@dataclass(frozen=True)
class Stream:
    """One shard of a day, as far as it is there.

    files  {path: lowest ordinal}
    holes  blocks that are missing before the last one
    """

    day: date
    shard: int
    shards: int
    blocks: int
    size_bytes: int
    last_sequence: int
    input: str
    has_end: bool
    holes: int
    files: dict[str, int]

    @property
    def next_ordinal(self) -> int:
        return self.blocks + self.holes

    @property
    def is_complete(self) -> bool:
        return self.has_end and not self.holes


def tape_schema() -> Any:
    import pyarrow as pa

    longs = ("count", "first_sequence", "last_sequence", "min_ts_event_ns", "max_ts_event_ns")
    ints = {"shard": pa.int32(), "shards": pa.int32(), "ordinal": pa.int64()}
    ints |= {"kind": pa.int32(), "ends": pa.int32()} | dict.fromkeys(longs, pa.int64())
    fields = {store.DAY: pa.date32()} | ints | {"input": pa.string(), "block": pa.binary()}
    return pa.schema(list(fields.items()))


class TapeTable:
    """`URL/tape`, to be read. `at`: as it was at a version or a time."""

    def __init__(self, url: str | Path, at: int | str | None = None) -> None:
        self.url = store.place(url, TAPE)
        self.table = store.open_table(self.url, at)
        if self.table is None:
            raise OperatorError(
                f"{self.url} is no table of recorded input; make one with onetape lake write "
                f"PIPELINE --file FILE --day YYYY-MM-DD --to {url}"
            )

    def streams(self) -> dict[tuple[date, int], Stream]:
        """All streams, in order."""
        return streams_of(self.table)

    def blocks(self, stream: Stream) -> Iterator[Any]:
        """The blocks of a stream in order, each a buffer; IntegrityError at one that is missing.

        Compaction, whosever, may put the blocks of a file in another order: their ordinals are read
        first. A few row groups are held at a time. Some GB/s from a warm disk.
        """
        import pyarrow as pa

        which = [("day", "=", stream.day), ("shard", "=", stream.shard)]
        dataset = self.table.to_pyarrow_dataset(file_pruning_predicate=which)
        try:
            groups, places = _groups(dataset)
            ordinals = places["ordinal"]
            if len(wrong := np.flatnonzero(ordinals != np.arange(len(ordinals)))):
                at = int(wrong[0])
                raise IntegrityError(
                    f"{self.url}: block {ordinals[at]} of shard {stream.shard} of {stream.day} "
                    f"came where block {at} was expected"
                )
            held: dict[int, Any] = {}
            for _, group, row in places.tolist():
                if group not in held:
                    if len(held) == GROUPS_HELD:
                        del held[next(iter(held))]
                    part = groups[group].to_table(columns=["block"], use_threads=False)
                    held[group] = part.column(0).combine_chunks()
                yield memoryview(held[group][row].as_buffer())
        except (OSError, pa.ArrowException) as why:
            raise IntegrityError(
                f"{self.url}: {str(why)[:300]}; if a vacuum removed a file, that version is past "
                "its retention"
            ) from why


def _groups(dataset: Any) -> tuple[list[Any], Any]:
    """Its row groups, and where each block is: (ordinal, row group, row in it), by ordinal."""
    groups: list[Any] = []
    found = []
    for fragment in dataset.get_fragments():
        ordinals = fragment.to_table(columns=["ordinal"], use_threads=False)["ordinal"].to_numpy()
        at = 0
        for number, info in enumerate(fragment.row_groups):
            place = np.empty(info.num_rows, PLACE)
            place["ordinal"] = ordinals[at : at + info.num_rows]
            place["group"], place["row"] = len(groups), np.arange(info.num_rows)
            groups.append(fragment.subset(row_group_ids=[number]))
            found.append(place)
            at += info.num_rows
    return groups, np.sort(np.concatenate(found), order="ordinal")


def streams_of(table: Any) -> dict[tuple[date, int], Stream]:
    import pyarrow as pa

    found: dict[tuple[date, int], list[dict[str, Any]]] = {}
    for file in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        day = file["partition.day"]
        day = day if isinstance(day, date) else date.fromisoformat(str(day))
        found.setdefault((day, int(file["partition.shard"])), []).append(file)
    return {key: _stream(*key, files) for key, files in sorted(found.items())}


def _stream(day: date, shard: int, files: list[dict[str, Any]]) -> Stream:
    inputs = {file[f"{end}.input"] for file in files for end in ("min", "max")}
    if len(inputs) != 1:
        raise IntegrityError(
            f"{day}, shard {shard}: its blocks are of several inputs ({', '.join(sorted(inputs))})"
        )
    blocks = sum(file["num_records"] for file in files)
    until = max(file["max.ordinal"] for file in files) + 1
    return Stream(
        day=day,
        shard=shard,
        shards=max(file["max.shards"] for file in files),
        blocks=blocks,
        size_bytes=sum(file["size_bytes"] for file in files),
        last_sequence=max(file["max.last_sequence"] for file in files),
        input=inputs.pop(),
        has_end=any(file["max.ends"] == 1 for file in files),
        holes=until - blocks,
        files={file["path"]: file["min.ordinal"] for file in files},
    )


class TapeWriter:
    """Streams of one day into `URL/tape`; what is there already is passed over.

    input    16 hex digits: of what the streams are made. OperatorError if the day is of another
    replace  instead of what is there of the day, in one commit with the first new blocks

    skipped, written  blocks of this run
    """

    def __init__(self, url: str | Path, day: date, input: str, *, replace: bool = False) -> None:
        self.url, self.day, self.input = store.place(url, TAPE), day, input
        self._replaces = replace
        self.skipped = self.written = 0
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self._there: dict[int, int] = {}
        self._table = store.make_table(self.url, tape_schema(), [store.DAY, "shard"])
        self._look()

    def write(self, blocks: Iterable[tuple[int, bytes]]) -> bool:
        """All blocks of all shards, those of a shard in order; whether all streams have their end.

        The last block of a stream without an end is left out: the tape it is from goes on, and
        another time that block will hold more.
        """
        held: dict[int, bytes] = {}
        for shard, block in blocks:
            if shard in held:
                self._keep(held[shard])
            held[shard] = block
        has_end = {shard: _is_end(block) for shard, block in held.items()}
        for shard, block in held.items():
            if has_end[shard]:
                self._keep(block, ends=1)
        self._commit()
        return all(has_end.values())

    def _keep(self, block: bytes, ends: int = 0) -> None:
        header = read_header(block)
        if header.ordinal < self._there.get(header.shard, 0):
            self.skipped += 1
            return
        self._rows.append(self._row(header, block, ends))
        self._size += len(block)
        if self._size >= COMMIT_BYTES:
            self._commit()

    def _row(self, header: Header, block: bytes, ends: int) -> dict[str, Any]:
        names = ("shard", "shards", "ordinal", "kind", "count", "first_sequence", "last_sequence")
        row = {name: getattr(header, name) for name in names}
        for name in ("min_ts_event_ns", "max_ts_event_ns"):
            value = getattr(header, name)
            row[name] = None if value == UNSET else value
        return row | {store.DAY: self.day, "ends": ends, "input": self.input, "block": block}

    def _commit(self) -> None:
        """What is kept, in one version of the table."""
        import pyarrow as pa

        for _ in range(store.TRIES):
            if not self._rows:
                return
            data = pa.Table.from_pylist(self._rows, tape_schema())
            marks = {_mark(self.day, row["shard"]): row["ordinal"] for row in self._rows}
            instead_of = store.days_are([self.day]) if self._replaces else None
            try:
                store.write(
                    self._table,
                    data,
                    marks,
                    instead_of=instead_of,
                    properties=writer_properties(),
                )
            except store.TakenBefore:
                self._look()
                kept = [r for r in self._rows if r["ordinal"] >= self._there.get(r["shard"], 0)]
                self.skipped += len(self._rows) - len(kept)
                self._rows, self._size = kept, sum(len(row["block"]) for row in kept)
                continue
            self._replaces = False
            self.written += len(self._rows)
            self._there |= {row["shard"]: row["ordinal"] + 1 for row in self._rows}
            self._rows, self._size = [], 0
            return
        raise store.busy(self.url)

    def _look(self) -> None:
        """What is there of the day, now."""
        self._table = store.open_table(self.url)
        found = [s for (day, _), s in streams_of(self._table).items() if day == self.day]
        others = {stream.input for stream in found} - {self.input}
        if others and not self._replaces:
            raise OperatorError(
                f"{self.url} has {self.day} from another input ({others.pop()}, this is "
                f"{self.input}; shards, events and codec count too); --replace puts this one in "
                "its place, --day names another day"
            )
        if not others:
            self._replaces = False  # begun before: it goes on
            self._there = {stream.shard: stream.next_ordinal for stream in found}


def writer_properties() -> Any:
    """Blocks are compressed already, and long: small row groups, no dictionary."""
    library = store.deltalake()
    plain = library.ColumnProperties(dictionary_enabled=False, statistics_enabled="NONE")
    return library.WriterProperties(
        compression="UNCOMPRESSED",
        max_row_group_size=GROUP_BLOCKS,
        column_properties={"block": plain},
    )


def _mark(day: date, shard: int) -> str:
    return f"tape/{day}/{shard}"


def _is_end(block: bytes) -> bool:
    """Is the last frame of a block the end of a source?"""
    header, payload = decode(block)
    if header.kind != FRAMES:
        return False
    at = kind = 0
    while at < len(payload):
        kind = int(frame_kind(payload, at))
        at += int(frame_bytes(frame_length(payload, at)))
    return kind == END
