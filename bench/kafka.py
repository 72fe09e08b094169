"""A node between two topics of a broker on this machine: how fast, and how soon.

    throughput   the whole day is in the topic; from the node's start (compiled, its topic at hand)
                 to the confirmation of its last row, the best of the rounds
    latency      blocks come at a rate, each with the time of its sending: until a reader in this
                 process has the rows that they caused. Percentiles over blocks of rows without the
                 first fifth, which meets a node that is cold; the median of the rounds

Both without transactions (`--transaction 0`); with transactions beside it (`transactions`). Broker,
publisher, node and reader share the machine. The digests on the topic must be those of a run over
the file.

onetape bench kafka [--rate EVENTS_PER_S]
"""

import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from bench.itch import simulated_file

from onetape.codecs.block import END, ROWS, read_header
from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.publish import publish
from onetape.runtimes.run.kafka import Topics, run_kafka
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import TRADING_DATE

EVENTS = 4096
RATE, SOON_EVENTS = 200_000, 1024  # where latency counts: events a second, and of a block
MESSAGES = 16_000_000
TRANSACTION_S = 0.05
WITHIN_S = 300.0
ONETAPE = [sys.executable, "-m", "onetape.cli"]


def run(
    *,
    messages: int = MESSAGES,
    rate: int = RATE,
    rounds: int = 3,
) -> dict[str, Any]:
    """Figures over a simulated day; latency over an eighth of it. OperatorError: no broker."""
    from tests import servers

    if lacks := servers.missing("kafka"):
        raise OperatorError(lacks)
    day, short = simulated_file(messages, seed=7), simulated_file(messages // 8, seed=7)
    with tempfile.TemporaryDirectory(prefix="onetape-bench-kafka-") as folder:
        where = Path(folder)
        broker = servers.start("kafka")
        try:
            fast = throughput(broker.address, day, where, rounds)
            slow = throughput(broker.address, day, where, 1, TRANSACTION_S)
            soon = [latency(broker.address, short, where, rate) for _ in range(rounds)]
        finally:
            broker.stop()
    of_day, of_short = _plain(day), _plain(short)
    answer_ok = fast.pop("digests") == slow.pop("digests") == of_day
    answer_ok &= all(one.pop("digests") == of_short for one in soon)
    slow = {"every_ms": TRANSACTION_S * 1000, "events_per_s": slow["events_per_s"]}
    told = {name: float(np.median([one[name] for one in soon])) for name in soon[0]}
    told["rate"], told["block_events"] = rate, SOON_EVENTS
    return {"answer_ok": answer_ok, **fast, "transactions": slow, "latency": told}


def throughput(
    address: str, day: Path, folder: Path, rounds: int, transaction_s: float = 0.0
) -> dict[str, Any]:
    """Events a second of a node between topics, the best of the rounds, each with its own topic."""
    to, topic = settings(address), f"bench-{time.time_ns()}"
    blocks = blocks_of(market_watch(), inputs_of(market_watch(), day, TRADING_DATE), events=EVENTS)
    put = publish(blocks, to, topic, 1)
    best: dict[str, Any] = {}
    for n in range(rounds):
        out = f"{topic}-rows-{n}"
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        facts = run_kafka(
            market_watch(),
            folder / out,
            Topics(to, topic, out, transaction_s=transaction_s),
            progress=Progress(quiet=True),
        )
        whole_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        if n == 0 or facts["elapsed_s"] < best["elapsed_s"]:
            best = facts | {"whole_s": whole_s, "cpu_s": cpu_s, "out": out}
    answer = Answer(market_watch())
    for block, _ in _read(address, best["out"]):
        answer.take(block)
    return {
        "events": best["messages"],
        "events_per_s": round(best["messages"] / best["elapsed_s"]),
        "cpu_ns_per_event": round(best["cpu_s"] / best["messages"] * 1e9, 1),
        "rows": sum(best["rows"].values()),
        "bytes_in_per_event": round(put["bytes"] / put["events"], 2),
        "published_per_s": round(put["events"] / put["elapsed_s"]),
        "digests": answer.digests if answer.is_complete else {},
    }


def latency(
    address: str, day: Path, folder: Path, rate: int, events: int = SOON_EVENTS
) -> dict[str, Any]:
    """From the sending of a block to the arrival of its rows, at so many events a second."""
    topic = f"bench-{time.time_ns()}"
    out = f"{topic}-rows"
    at = ["--kafka", address, "--topic", topic]
    source = ["--file", str(day), "--date", str(TRADING_DATE), "--events", str(events)]
    node = [*at, "--topic-out", out, "--tape", str(folder / out), "--transaction", "0"]
    came: list[tuple[bytes, int]] = []

    given = inputs_of(market_watch(), day, TRADING_DATE)
    first = islice(blocks_of(market_watch(), given, events=events), 1)
    publish(first, settings(address), topic, 1)  # the manifest: the node can begin
    with _command("run", *node, "--json"):
        _await(folder / out / "live.json")
        reader = threading.Thread(target=lambda: came.extend(_read(address, out)), daemon=True)
        reader.start()
        with _command("publish", *at, *source, "--rate", str(rate), "--transaction", "0"):
            reader.join(WITHIN_S)
    answer = Answer(market_watch())
    for block, _ in came:
        answer.take(block)
    told = [(read_header(block), now_ns) for block, now_ns in came]
    late_ns = [now_ns - one.ts_made_ns for one, now_ns in told if one.kind == ROWS]
    late_ns = late_ns[len(late_ns) // 5 :] or [0]
    return {
        **{f"ms_p{n}": round(float(np.percentile(late_ns, n)) / 1e6, 2) for n in (50, 90, 99)},
        "digests": answer.digests if answer.is_complete else {},
    }


def _await(path: Path) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not path.exists():
        time.sleep(0.05)
        assert time.monotonic() < end_s, f"{path} was not made"


def _read(address: str, topic: str) -> list[tuple[bytes, int]]:
    """(block, when it came) until the END."""
    from onetape.connect.kafka.topics import Admin

    to, found, end_s = settings(address), [], time.monotonic() + WITHIN_S
    while not Admin(to).partitions(topic):
        time.sleep(0.05)
        assert time.monotonic() < end_s, f"{topic} was not made"
    with Subscriber(to, topic) as incoming:
        incoming.assign({0: None})
        while time.monotonic() < end_s:
            for taken in incoming.take(0.1):
                found.append((taken.value, time.time_ns()))
                if read_header(taken.value).kind == END:
                    return found
    raise AssertionError(f"{topic} has no end within {WITHIN_S:g} s")


class _command:
    """A command of its own process, which must have done well by the end of the block."""

    def __init__(self, command: str, *words: str) -> None:
        self._words = [*ONETAPE, command, "standard", *words]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            self._words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._process.wait(60)
        finally:
            self._process.kill()
            _, said = self._process.communicate()
        if kind is None and self._process.returncode:
            raise OperatorError(f"{' '.join(self._words)}: {said}")


def _plain(day: Path) -> dict[str, str]:
    pipeline = market_watch()
    given = inputs_of(pipeline, day, TRADING_DATE)
    engine = batch.make_engine(pipeline, given.framing, given.midnight_ns)
    return batch.run(engine, given.runs()).digests
