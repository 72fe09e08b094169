"""`onetape run PIPELINE --on sail|spark`: recorded input as blocks through the engine, and rows.

The command reads the input and writes it as blocks, a file a shard; or names those of a lake. The
engine runs them in its own environment and leaves blocks; the command checks that none is lost or
doubled, and hands the rows to Parquet files and to whatever sinks the pipeline names.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes import environments
from onetape.runtimes.code import Code
from onetape.runtimes.delivery import Delivery
from onetape.runtimes.inputs import has_tables, inputs_of
from onetape.runtimes.manifest import write_result
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.options import given
from onetape.runtimes.settings import load_with_settings
from onetape.runtimes.spark import tables
from onetape.runtimes.spark.clusters import check_cluster
from onetape.runtimes.spark.made import Made, Rows, made_in
from onetape.runtimes.spark.process import run_job
from onetape.runtimes.spark.streams import Streams, of_lake, written

BLOCKS = "blocks"  # in the folder of the outputs: what the engine made
# Options of `run` that are of streams or of Flink, and their values when they are not given.
OF_OTHERS: dict[str, Any] = {
    "kafka": None, "nats": None, "topic_out": None, "checkpoint": None, "checkpoints": None,
    "parallelism": None, "process": False, "start": None, "state": None, "flink_settings": [],
}  # fmt: skip


def run_on(args: argparse.Namespace) -> int:
    pipeline = load_with_settings(args)
    environments.find(args.on)  # before anything is read
    _check(args)
    began_s = time.perf_counter()
    with closing(Progress(quiet=args.json)) as progress, scratch(args.out) as folder:
        streams, symbols = _streams(pipeline, args, folder, progress)
        times = run_streams(
            pipeline,
            streams,
            folder,
            engine=args.on,
            cluster=args.cluster,
            keeps_state=args.carry is not None,
            progress=progress,
        )
        made = made_in(folder / BLOCKS, pipeline, streams.since)
        _check_end(made, streams.manifest["shards"], keeps_state=args.carry is not None)
        rows = made.rows(folder / BLOCKS)
        delivered = deliver(pipeline, made, rows, args.out, symbols)
        told = {"on": args.on, "shards": streams.manifest["shards"], "delivered": delivered}
        facts = facts_of(made, times) | told
        if args.carry is not None:
            tables.keep(args.carry, streams.day, streams.input, made.state)
        facts["elapsed_s"] = round(time.perf_counter() - began_s, 6)
        if args.out is not None:
            shutil.rmtree(args.out / BLOCKS, ignore_errors=True)
            (folder / BLOCKS).rename(args.out / BLOCKS)
            write_result(args.out, facts)
    print(json.dumps(facts) if args.json else "\n".join(lines_of(facts)))
    return 0


def run_streams(
    pipeline: Pipeline,
    streams: Streams,
    folder: Path,
    *,
    engine: str,
    progress: Progress,
    cluster: str | None = None,
    keeps_state: bool = False,
) -> dict[str, float]:
    """Run them on an engine, which leaves its blocks in `folder / BLOCKS`: what took how long.

    OperatorError: the engine is not there, or the job failed. The whole time is that of starting an
    engine (Sail 0.3 s, Spark 5 s and more) and of the job.
    """
    code = pipeline.code
    if not isinstance(code, Code):
        raise OperatorError(
            "the pipeline was made in a program, and an engine's workers load it from a file; put "
            "it into one as `pipeline`, and name that file"
        )
    since = streams.since
    job = {
        "cluster": cluster,
        "code": code.text(),
        "manifest": streams.manifest,
        "inputs": {str(shard): paths for shard, paths in streams.inputs.items()},
        "base": [str(since.path)] if since else [],
        "pieces": {str(s): len(pieces) for s, pieces in since.pieces.items()} if since else {},
        "keeps_state": keeps_state,
        "out": str(folder / BLOCKS),
    }
    return run_job(engine, job, folder, progress, streams.events)


def facts_of(made: Made, times: dict[str, float]) -> dict[str, Any]:
    """What `--json` prints, when all rows were read."""
    answer = made.answer
    ends = list(answer.ends.values())
    events = answer.events if answer.is_complete else times["events"]
    return {
        "messages": max(events, made.events_before),
        "messages_before": made.events_before,
        "rows": answer.rows,
        "late": sum(facts["late"] for facts in ends),
        "digests": answer.digests,
        "state_digests": {str(shard): digest for shard, digest in answer.state_digests.items()},
        **{name: round(times[name], 6) for name in ("warm_s", "start_s", "job_s")},
    }


def lines_of(facts: dict[str, Any]) -> list[str]:
    """What a run came to, for a person."""
    job_s = facts["job_s"]
    many = f"{facts['shards']} shard{'s' * (facts['shards'] != 1)}"
    before = facts["messages_before"]
    new = facts["messages"] - before
    lines = [
        f"{new:,} events on {facts['on']} in {job_s:.2f} s, {many}, "
        f"{new / max(job_s, 1e-9):,.0f} a second "
        f"(with all around it {facts['elapsed_s']:.2f} s)"
        + (f"; {before:,} were in the state it began with" if before else "")
    ]
    for name, digest in facts["digests"].items():
        lines.append(f"  {name:12s} {facts['rows'][name]:>12,} rows   digest {digest}")
    return [*lines, *(f"  {line}" for line in facts["delivered"])]


@contextmanager
def scratch(out: Path | None) -> Iterator[Path]:
    """A folder for what is not kept, on the disk of the outputs; those appear when all is done."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".onetape-", dir=out)).resolve()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def deliver(
    pipeline: Pipeline, made: Made, rows: Iterator[Rows], out: Path | None, symbols: Any
) -> list[str]:
    """All rows to the sinks; what became of them."""
    known = made.symbols if made.symbols is not None else symbols
    with Delivery(pipeline, out=out, symbols=known) as delivery:
        for name, taken, origins in rows:
            delivery.take(name, taken, origins)
        delivery.finish()
    return delivery.told()


def _streams(
    pipeline: Pipeline, args: argparse.Namespace, folder: Path, progress: Progress
) -> tuple[Streams, Any]:
    """(what to run, symbols where a table tells them)"""
    if args.from_lake is None:
        inputs = inputs_of(pipeline, given(args.file), args.date)
        symbols = inputs.symbols(None) if has_tables(pipeline) else None  # type: ignore[arg-type]
        return written(pipeline, inputs, folder, args.shards, progress), symbols
    return of_lake(args.from_lake, args.date, args.carry), None


def _check(args: argparse.Namespace) -> None:
    for name, default in OF_OTHERS.items():
        if getattr(args, name) != default:
            option = {"start": "--from", "flink_settings": "-D"}.get(name)
            option = option or f"--{name.replace('_', '-')}"
            raise OperatorError(f"{option} does nothing with --on {args.on}; leave it out")
    if args.cluster is not None:
        check_cluster(args.cluster)  # at once, before anything is read
    if args.carry is not None and args.from_lake is None:
        raise OperatorError("--carry is of days in a lake: give --from-lake URL")
    if args.from_lake is not None and args.shards != 1:
        raise OperatorError("--shards of a tape table are those it was written with; leave it out")


def _check_end(made: Made, shards: int, *, keeps_state: bool) -> None:
    missing = sorted(set(range(shards)) - set(made.ends))
    if missing and not (keeps_state and len(made.state) == shards):
        raise OperatorError(
            f"the streams of shards {', '.join(map(str, missing))} have no end: is the table still "
            "being written? To go on with them later, keep their state (--carry DIR)"
        )
