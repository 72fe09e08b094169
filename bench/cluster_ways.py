"""A day through an engine, in processes of its own.

A command runs twice, over a short day and a long one, and its rates are of the difference: so the
start of an engine (a JVM, an environment, compiled code from disk) is no part of them, and is told
as `start_s`. Flink over Kafka is watched from its output topic instead. Processor time is that of
the whole tree of processes; a broker's is told apart.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import cluster_flink, cluster_topics
from bench import cluster_here as here
from bench.cluster_cpu import Meter
from bench.cluster_recovery import lacks as lacks_flink

from onetape.records import OperatorError
from onetape.runtimes import environments
from onetape.runtimes.answer import Answer
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import TRADING_DATE

LIMIT_S = 1500
LEAST_S = 0.05  # of a difference
BLOCK = 4096
ONETAPE = [sys.executable, "-m", "onetape.cli"]

Days = list[tuple[Path, int]]  # the short one and the long one, and how many events they have
Digests = dict[str, str]


@dataclass(frozen=True)
class Way:
    """`run(days)` gives figures, and the digests of the days it ran: of the last `days` ones."""

    lacks: Callable[[], str]  # what is missing for it, as a sentence; else ""
    run: Callable[[Days], dict[str, Any]]
    days: int = 2


@dataclass(frozen=True)
class Ran:
    wall_s: float
    cpu_s: dict[str, float]
    memory_bytes: int
    digests: Any


def command(*words: str) -> Callable[[Days], dict[str, Any]]:
    """Of `onetape ... --json`, with {day}, {date} and {out} filled in."""

    def run(days: Days) -> dict[str, Any]:
        run_once(words, days[0][0])  # what is to be compiled, is
        return _difference(days, *(run_once(words, day) for day, _ in days))

    return run


def edge_on_kafka(days: Days) -> dict[str, Any]:
    """A node from a topic to a topic, each row once: `onetape run --kafka`."""
    from tests import servers

    broker = servers.start("kafka")
    try:
        ran = []
        for day, _ in days:
            topic, out = (cluster_topics.make(broker.address, name, 1) for name in ("in", "out"))
            cluster_topics.publish(broker.address, topic, here.made(day, BLOCK))
            words = (
                "run",
                "standard",
                "--kafka",
                broker.address,
                "--topic",
                topic,
                "--topic-out",
                out,
            )
            ran.append(run_once((*words, "--tape", "{out}/tape"), day, broker=broker.pid()))
            answer = Answer(market_watch())
            for came in cluster_topics.read(broker.address, out, 1):
                if came is not None:
                    answer.take(came.block)
            if answer.digests != ran[-1].digests:
                return {"digests": answer.digests}
    finally:
        broker.stop()
    return _difference(days, *ran)


def _difference(days: Days, short: Ran, long: Ran) -> dict[str, Any]:
    (_, few), (_, many) = days
    events = many - few
    wall_s = long.wall_s - short.wall_s
    cpu_s = {name: long.cpu_s[name] - short.cpu_s[name] for name in long.cpu_s}
    digests = [short.digests, long.digests]
    if min(wall_s, cpu_s["job"]) < LEAST_S:
        return {"digests": digests, "said": "the days are too short to tell"}
    return {
        "digests": digests,
        "events_per_s": round(events / wall_s),
        "events_per_core_s": round(events / cpu_s["job"]),
        "cpu_ns_per_event": round(cpu_s["job"] / events * 1e9, 1),
        **(
            {"broker_cpu_ns_per_event": round(cpu_s["broker"] / events * 1e9, 1)}
            if "broker" in cpu_s
            else {}
        ),
        "start_s": round(max(short.wall_s - few * wall_s / events, 0.0), 1),
        "memory_mb": round(long.memory_bytes / 1e6),
    }


def run_once(words: tuple[str, ...], day: Path, *, has_digests: bool = True, **beside: int) -> Ran:
    """One run of the command, and what servers beside it did. OperatorError: how it failed."""
    with tempfile.TemporaryDirectory(prefix="onetape-bench-") as folder:
        given = {"day": str(day), "date": str(TRADING_DATE), "out": folder}
        log = Path(folder) / "log"
        began_s = time.perf_counter()
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [*ONETAPE, *(word.format(**given) for word in words), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
            )
        with Meter(job=process.pid, **beside) as meter:
            said, _ = process.communicate(timeout=LIMIT_S)
            wall_s = time.perf_counter() - began_s
            cpu_s = {name: meter.cpu_s(name) for name in ("job", *beside)}
            memory_bytes = meter.memory_bytes("job")
        if process.returncode:
            end = log.read_text(errors="replace")[-2000:]
            raise OperatorError(f"onetape {' '.join(words)} failed: {end}")
    facts = json.loads(said.decode().strip().splitlines()[-1])
    if "days" in facts:  # of `onetape batch`
        (facts,) = facts["days"].values()
    return Ran(wall_s, cpu_s, memory_bytes, facts["digests"] if has_digests else {})


def flink(shards: int, mode: str) -> Callable[[Days], dict[str, Any]]:
    """Kafka to Flink to Kafka: a TaskManager a shard."""

    def run(days: Days) -> dict[str, Any]:
        from tests import servers

        broker = servers.start("kafka")
        try:
            blocks = here.made(days[-1][0], BLOCK, shards=shards)
            figures = cluster_flink.throughput(broker, blocks, shards=shards, mode=mode)
        finally:
            broker.stop()
        return figures | {"digests": [figures["digests"]]}

    return run


def over_lake(days: Days) -> dict[str, Any]:
    """Days that are in a tape table already, one thread; rows are counted, not written."""
    ran = []
    for day, _ in days:
        with tempfile.TemporaryDirectory(prefix="onetape-bench-") as lake:
            write = (
                "lake",
                "write",
                "standard",
                "--file",
                "{day}",
                "--day",
                "{date}",
                "--to",
                lake,
            )
            run_once(write, day, has_digests=False)
            ran.append(run_once(("batch", "standard", "--from-lake", lake, "--threads", "1"), day))
    return _difference(days, *ran)


def lacks_kafka() -> str:
    from tests import servers

    return servers.missing("kafka")


def lacks_delta() -> str:
    return "" if find_spec("deltalake") else "no Delta: pip install 'onetape[lake]'"


def has_environment(engine: str) -> Callable[[], str]:
    def lacks() -> str:
        try:
            environments.find(engine)
        except OperatorError as why:
            return str(why)
        return ""

    return lacks


FILE = ("run", "standard", "--file", "{day}", "--date", "{date}")
WAYS = {
    "edge": Way(lambda: "", command(*FILE, "--tape", "{out}/tape")),
    "edge-kafka": Way(lacks_kafka, edge_on_kafka),
    "flink-1": Way(lacks_flink, flink(1, "thread"), 1),
    "flink-2": Way(lacks_flink, flink(2, "thread"), 1),
    "flink-processes": Way(lacks_flink, flink(1, "process"), 1),
    "lake": Way(lacks_delta, over_lake),
    "sail": Way(has_environment("sail"), command(*FILE, "--on", "sail")),
    "spark": Way(has_environment("spark"), command(*FILE, "--on", "spark")),
}
