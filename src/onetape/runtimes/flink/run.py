"""`onetape run PIPELINE --on flink`: over a file on this machine, or from topic to topic."""

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from onetape.connect.kafka.settings import settings
from onetape.engine.graph import Pipeline
from onetape.native.interrupts import noting_interrupts
from onetape.records import OperatorError
from onetape.runtimes.blocks import EVENTS
from onetape.runtimes.flink.cluster import LocalCluster
from onetape.runtimes.flink.environment import Environment, find
from onetape.runtimes.flink.java_kafka import java_properties
from onetape.runtimes.flink.jobs import LOOK_S, Running
from onetape.runtimes.flink.options import CHECKPOINT_S, check, settings_of
from onetape.runtimes.flink.recorded import run_recorded
from onetape.runtimes.flink.rest import Cluster
from onetape.runtimes.flink.streams import Ends, make_output, manifest_in
from onetape.runtimes.flink.submit import Job
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.run.options import given
from onetape.runtimes.settings import load_with_settings

SHOW_S = 1.0


def run_on(args: argparse.Namespace) -> int:
    """The command; what it does is in the arguments."""
    check(args)
    pipeline = load_with_settings(args)
    if args.file:
        return _run_file(pipeline, args)
    return _run_topics(pipeline, args)


def _run_file(pipeline: Pipeline, args: argparse.Namespace) -> int:
    progress = Progress(quiet=args.json)

    def show(running: Running, blocks: int) -> None:
        with suppress(OperatorError):
            done = running.cluster.counters(running.job)
            progress.update(
                int(done.get("blocks", 0)), blocks, int(done.get("events", 0)), "events"
            )

    answer, facts = run_recorded(
        pipeline,
        inputs_of(pipeline, given(args.file), args.date),
        parallelism=args.parallelism,
        shards=args.shards if args.shards > 1 else args.parallelism,
        mode="process" if args.process else "thread",
        events=int(args.block_events) or EVENTS,
        checkpoint_s=_checkpoint_s(args),
        folder=_state(args, ""),
        settings=settings_of(args.flink_settings),
        show=show,
    )
    progress.close()
    facts |= {
        "messages": answer.events,
        "rows": answer.rows,
        "digests": answer.digests,
        "state_digests": {str(shard): said for shard, said in answer.state_digests.items()},
    }
    if args.json:
        print(json.dumps(facts))
        return 0
    slots = f"{args.parallelism} slot{'s' * (args.parallelism > 1)}"
    print(f"{answer.events:,} events in {facts['elapsed_s']:.2f} s on Flink, {slots}")
    for name, digest in answer.digests.items():
        print(f"  {name:12s} {answer.rows[name]:>12,} rows   digest {digest}")
    return 0


def _run_topics(pipeline: Pipeline, args: argparse.Namespace) -> int:
    environment = find()
    if args.cluster:
        Cluster(args.cluster).check()
    name = args.name or Path(args.pipeline).stem
    folder = _state(args, name)
    assert folder is not None
    with ExitStack() as stack:
        local = None
        if not args.cluster:
            local = LocalCluster(environment, folder, slots=args.parallelism, spares=args.spares)
            stack.enter_context(local)
            local.start()
        cluster = local.rest if local else Cluster(args.cluster)
        job = job_of(pipeline, name, cluster, environment, args)
        running = Running(job, environment, folder, local=local)
        print(
            f"onetape: job {name} ({running.job}) on {cluster.address}; see it: onetape flink "
            f"status {name} --cluster {cluster.address}",
            file=sys.stderr,
        )
        ends = Ends(settings(args.kafka, args.kafka_options), args.topic_out)
        with noting_interrupts() as asked:
            facts = _attend(running, Progress(quiet=args.json), ends, asked)
        if has_ended := bool(ends.told) and ends.look():
            facts |= _answered(ends)
        if not facts["finished"]:
            why = "stopped, nothing is lost"
            if has_ended:
                why = f"all shards of {args.topic} have ended"
            if local is None:
                said = f"{why}; " if has_ended else ""
                print(f"onetape: {said}job {name} runs on at {cluster.address}", file=sys.stderr)
            else:
                saved = running.stop()
                facts |= {"savepoint": saved}
                again = f"onetape run {args.pipeline} ... --from {saved}"
                print(f"onetape: {why}; to go on: {again}", file=sys.stderr)
        if args.json:
            print(json.dumps(facts))
        else:
            counted, which = facts["counters"], " or more: Flink tells its counts some seconds late"
            if has_ended:
                counted = {"events": facts["messages"], "rows": sum(facts["rows"].values())}
                which = ""
            shown = (f"{counted.get(n, 0):,.0f} {n}" for n in ("events", "rows"))
            print(", ".join(shown) + which)
    return 0


def job_of(
    pipeline: Pipeline,
    name: str,
    cluster: Cluster,
    environment: Environment,
    args: argparse.Namespace,
) -> Job:
    """The job that the options say; looks at its topics."""
    is_remote = bool(args.cluster)
    known = settings(args.kafka, args.kafka_options)
    as_java = java_properties(known.options)
    manifest = manifest_in(known, args.topic)
    make_output(known, args.topic_out, manifest, begins=not args.start)
    return Job(
        cluster.address,
        name,
        pipeline.code.text(),
        "python3" if is_remote else str(environment.python),
        mode="process" if args.process else "thread",
        parallelism=args.parallelism,
        checkpoint_ms=max(1, round(_checkpoint_s(args) * 1000)),
        manifest=manifest,
        kafka=known.brokers,
        consumer=as_java,
        producer=as_java,
        topic=args.topic,
        topic_out=args.topic_out,
        start=_start(args.start),
        settings=settings_of(args.flink_settings),
        warm=not is_remote,
    )


def _attend(
    running: Running, progress: Progress, ends: Ends, asked: threading.Event
) -> dict[str, Any]:
    """Until all shards have ended, the job ends by itself, or Ctrl-C; a line of progress a second.

    The topic is asked for the ends while nothing moves: what Flink counts begins anew with a task.
    """
    shown_s = 0.0
    facts = _facts(running)
    while not asked.is_set():
        if running.look() == "FINISHED":
            return facts | {"finished": True}
        if time.monotonic() - shown_s > SHOW_S:
            shown_s = time.monotonic()
            before, facts = facts, _facts(running)
            progress.update(0, 0, int(facts["counters"].get("events", 0)), "events")
            with suppress(OperatorError):  # of a broker that is away: the job says it, if it lasts
                if facts == before and ends.look():
                    break
        time.sleep(LOOK_S)
    return _facts(running) | {"finished": False}


def _answered(ends: Ends) -> dict[str, Any]:
    """What the shards say that have ended, however often their tasks were made anew."""
    rows = Counter[str]()
    for one in ends.told.values():
        rows.update(one.get("rows", {}))
    return {
        "messages": sum(one["events"] for one in ends.told.values()),
        "rows": dict(rows),
        "state_digests": {str(n): one["state_digest"] for n, one in sorted(ends.told.items())},
    }


def _facts(running: Running) -> dict[str, Any]:
    counters: dict[str, float] = {}
    with suppress(OperatorError):
        counters = running.cluster.counters(running.job)
    return {"job": running.job, "losses": running.losses, "counters": counters}


def _checkpoint_s(args: argparse.Namespace) -> float:
    return CHECKPOINT_S if args.checkpoint is None else float(args.checkpoint)


def _start(given: str | None) -> str:
    """A savepoint of this machine by its path, else as it is (s3://...)."""
    if not given or "://" in given or given.startswith("file:"):
        return given or ""
    path = Path(given).resolve()
    if not (path / "_metadata").exists():
        raise OperatorError(f"--from {given} is no savepoint: there is no _metadata in it")
    return path.as_uri()


def _state(args: argparse.Namespace, name: str) -> Path | None:
    """Where a cluster of this machine keeps what outlives it."""
    if args.state:
        return Path(args.state).resolve()
    if not name:
        return None
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local/state")
    return Path(base) / "onetape" / "flink" / name
