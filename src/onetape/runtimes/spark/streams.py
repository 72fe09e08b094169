"""What an engine is given to run: recorded input as files of blocks, or those of a lake."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from onetape.codecs.block import json_of
from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import Inputs
from onetape.runtimes.progress import Progress
from onetape.runtimes.spark import tables


@dataclass
class Streams:
    """What is to be run: files of blocks, and what their manifests say.

    events      in them; 0: not known
    since       the state that they go on from; None: they begin
    day, input  of a lake
    """

    inputs: tables.Inputs
    manifest: dict[str, Any]
    events: int = 0
    since: tables.Kept | None = None
    day: date = date.min
    input: str = ""


def written(
    pipeline: Pipeline, inputs: Inputs, folder: Path, shards: int, progress: Progress
) -> Streams:
    """The input as files of blocks in the folder. Some 5 M messages/s."""

    def seen(count: int) -> None:
        progress.update(0, 0, count, "events read")

    blocks = blocks_of(pipeline, inputs, shards=shards)
    return Streams(*tables.write_blocks(blocks, folder / "in", seen))


def of_lake(url: str, day: date | None, carry: Path | None) -> Streams:
    """The streams of a day in a lake: from their beginning, or on from the state in `carry`.

    A day that grows is gone on with where the last run ended; so is one whose streams do not begin
    with it, from the day before. OperatorError: there is no such day, or no such state.
    """
    from onetape.connect.lake.tape_table import TapeTable

    table = TapeTable(url if "://" in url else Path(url).resolve())
    there = table.streams()
    days = sorted({found for found, _ in there})
    if day is None and len(days) == 1:
        day = days[0]
    if day not in days:
        shown = ", ".join(str(found) for found in days[-5:]) or "none"
        lacks = "say which" if day is None else f"{day} is not one of them; give another"
        raise OperatorError(f"{table.url} has the days {shown}; {lacks}: --date YYYY-MM-DD")
    assert day is not None
    streams = [stream for (found, _), stream in there.items() if found == day]
    inputs = {
        stream.shard: [f"{table.url}/{path}" for path in sorted(stream.files)] for stream in streams
    }
    input = streams[0].input
    begins = all(0 in stream.files.values() for stream in streams)
    since = tables.kept(carry, day) if carry is not None else None
    if since is not None and since.day == day and since.input != input:
        raise OperatorError(
            f"{since.path} is the state of {day} as it was before it was written anew (input "
            f"{since.input}, now {input}); remove it to run the day from its beginning"
        )
    if since is not None and (since.day == day or not begins):
        manifest = since.facts(streams[0].shard)["manifest"]
        return Streams(inputs, manifest, since=since, day=day, input=input)
    if not begins:
        raise OperatorError(
            f"the streams of {day} go on from the day before; give the folder where its state was "
            "left (--carry DIR), or begin with the first day"
        )
    manifest = json_of(next(iter(table.blocks(streams[0]))))
    events = max(stream.last_sequence for stream in streams)
    return Streams(inputs, manifest, events, day=day, input=input)
