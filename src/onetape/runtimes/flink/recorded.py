"""A recorded file through Flink, without Kafka: blocks in a file, a cluster of this machine, files.

What `onetape run --on flink --file` does, and what a comparison of runtimes calls.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onetape.engine.graph import Pipeline
from onetape.records import OperatorError
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import EVENTS, blocks_of
from onetape.runtimes.code import Code
from onetape.runtimes.flink import blocks_file
from onetape.runtimes.flink.cluster import LocalCluster
from onetape.runtimes.flink.environment import find
from onetape.runtimes.flink.jobs import LOOK_S, Running
from onetape.runtimes.flink.submit import Job
from onetape.runtimes.inputs import Inputs

Show = Callable[[Running, int], None]


def run_recorded(
    pipeline: Pipeline,
    inputs: Inputs,
    *,
    parallelism: int = 1,
    shards: int | None = None,
    mode: str = "thread",
    events: int = EVENTS,
    codec: str = "lz4",
    checkpoint_s: float = 1,
    folder: Path | None = None,
    settings: dict[str, str] | None = None,
    take: Callable[[str, Any, Any], None] = lambda *_: None,
    show: Show = lambda *_: None,
) -> tuple[Answer, dict[str, Any]]:
    """Run all of the input; (answer, facts of the run).

    shards    as many as slots, if it is not said
    pipeline  loaded from a file, or the standard one: a task loads it anew
    take      sees the rows of each block, a shard's in order: (output, rows, origins)

    OperatorError: why the job failed. Some 15 s more than the run itself takes, for Flink to start.
    """
    if not isinstance(pipeline.code, Code):
        raise OperatorError("a pipeline for Flink is loaded from a file, as onetape run does")
    environment = find()
    with TemporaryDirectory(prefix="onetape-flink-") as own:
        where = folder or Path(own)
        where.mkdir(parents=True, exist_ok=True)
        made = blocks_of(pipeline, inputs, shards=shards or parallelism, events=events, codec=codec)
        path, out = where / "input.blocks", where / "output"
        manifests: list[bytes] = []
        count = blocks_file.write(path, _noted(made, manifests))
        out.mkdir(parents=True, exist_ok=True)
        with LocalCluster(environment, where, slots=parallelism) as cluster:
            cluster.start()
            job = Job(
                cluster.rest.address,
                "recorded",
                pipeline.code.text(),
                str(environment.python),
                mode=mode,
                parallelism=parallelism,
                checkpoint_ms=max(1, round(checkpoint_s * 1000)),
                codec=codec,
                manifest=manifest_of(manifests[0]),
                file=str(path),
                blocks=count,
                folder=str(out),
                settings=settings or {},
            )
            running = Running(job, environment, where, local=cluster)
            began_s = time.perf_counter()
            while (state := running.look()) != "FINISHED":
                if state == "RUNNING":
                    show(running, count)
                time.sleep(LOOK_S)
            elapsed_s = time.perf_counter() - began_s
        answer = answer_of(pipeline, out, take)
    facts = {"blocks": count, "elapsed_s": round(elapsed_s, 3), "losses": running.losses}
    return answer, facts


def answer_of(
    pipeline: Pipeline, folder: Path, take: Callable[[str, Any, Any], None] = lambda *_: None
) -> Answer:
    """What the files of a job come to. PeerError: a block is lost, or came twice."""
    paths = sorted(path for path in folder.rglob("part-*") if path.is_file())
    answer = Answer(pipeline)
    for block in blocks_file.in_order(blocks_file.read(paths)):
        rows = answer.take(block)
        if rows is not None:
            take(*rows)
    return answer


def manifest_of(block: bytes) -> dict[str, Any]:
    from onetape.codecs.block import json_of

    return json_of(block)


def _noted(blocks: Any, first: list[bytes]) -> Any:
    for _, block in blocks:
        if not first:
            first.append(block)
        yield block
