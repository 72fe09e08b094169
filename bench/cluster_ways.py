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
from pathlib import Path
from typing import Any

from bench import cluster_flink
from bench import cluster_here as here
from bench.cluster_cpu import Meter
from bench.cluster_recovery import lacks as lacks_flink

from onetape.records import OperatorError
from onetape.runtimes import environments
from onetape.sim.exchange import TRADING_DATE

LIMIT_S = 1500
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
    cpu_s: float
    memory_bytes: int
    digests: Any


def command(*words: str) -> Callable[[Days], dict[str, Any]]:
    """Of `onetape run standard ... --json`, with {day}, {date} and {out} filled in."""

    def run(days: Days) -> dict[str, Any]:
        short, long = (run_once(words, day) for day, _ in days)
        (_, few), (_, many) = days
        events = many - few
        wall_s = max(long.wall_s - short.wall_s, 1e-3)
        cpu_s = max(long.cpu_s - short.cpu_s, 1e-3)
        return {
            "digests": [short.digests, long.digests],
            "events_per_s": round(events / wall_s),
            "events_per_core_s": round(events / cpu_s),
            "cpu_ns_per_event": round(cpu_s / events * 1e9, 1),
            "start_s": round(max(short.wall_s - few * wall_s / events, 0.0), 1),
            "memory_mb": round(long.memory_bytes / 1e6),
        }

    return run


def run_once(words: tuple[str, ...], day: Path) -> Ran:
    """One run of the command. OperatorError: it failed; the end of what it said."""
    with tempfile.TemporaryDirectory(prefix="onetape-bench-") as folder:
        given = {"day": str(day), "date": str(TRADING_DATE), "out": folder}
        log = Path(folder) / "log"
        began_s = time.perf_counter()
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [*ONETAPE, "run", "standard", *(word.format(**given) for word in words), "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
            )
        with Meter(job=process.pid) as meter:
            said, _ = process.communicate(timeout=LIMIT_S)
            wall_s = time.perf_counter() - began_s
            cpu_s, memory_bytes = meter.cpu_s("job"), meter.memory_bytes("job")
        if process.returncode:
            end = log.read_text(errors="replace")[-2000:]
            raise OperatorError(f"onetape run standard {' '.join(words)} failed: {end}")
    digests = json.loads(said.decode().strip().splitlines()[-1])["digests"]
    return Ran(wall_s, cpu_s, memory_bytes, digests)


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


def has_environment(engine: str) -> Callable[[], str]:
    def lacks() -> str:
        try:
            environments.find(engine)
        except OperatorError as why:
            return str(why)
        return ""

    return lacks


FILE = ("--file", "{day}", "--date", "{date}")
WAYS = {
    "edge": Way(lambda: "", command(*FILE, "--tape", "{out}/tape")),
    "flink, 1 TaskManager": Way(lacks_flink, flink(1, "thread"), 1),
    "flink, 2 TaskManagers": Way(lacks_flink, flink(2, "thread"), 1),
    "flink, in processes": Way(lacks_flink, flink(1, "process"), 1),
    "sail": Way(has_environment("sail"), command(*FILE, "--on", "sail")),
    "spark": Way(has_environment("spark"), command(*FILE, "--on", "spark")),
}
