"""A node between two topics of a broker on this machine: how fast, and how soon.

    throughput   the whole day is in the topic; from the node's start (compiled, its topic at hand)
                 to the commit of its last row
    latency      blocks come at a rate, each with the time of its sending; until a reader in this
                 process has the rows that they caused: `any` reads what is not yet committed too,
                 `committed` only what is. Percentiles over blocks of rows

Broker, publisher, node and reader share the machine. The digests on the topic must be those of a
run over the file.

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

from onetape.codecs.block import END, read_header
from onetape.connect.kafka.settings import settings
from onetape.connect.kafka.subscriber import Subscriber
from onetape.records import OperatorError
from onetape.runtimes import batch
from onetape.runtimes.answer import Answer
from onetape.runtimes.blocks import blocks_of
from onetape.runtimes.inputs import inputs_of
from onetape.runtimes.progress import Progress
from onetape.runtimes.publish import publish
from onetape.runtimes.run_kafka import Topics, run_kafka
from onetape.runtimes.standard import market_watch
from onetape.sim.exchange import TRADING_DATE, write_file

EVENTS = 4096
RATE = 500_000
SECONDS = 10.0
TRANSACTION_S = 0.05
SOON_S = 0.002  # between transactions where latency counts
WITHIN_S = 300.0
ONETAPE = [sys.executable, "-m", "onetape.cli"]


def run(
    *,
    messages_per_s: float = 800_000,
    seconds: float = SECONDS,
    rate: int = RATE,
    rounds: int = 3,
) -> dict[str, Any]:
    """Figures over a simulated day of `seconds`; OperatorError where there is no broker."""
    from tests import servers

    if lacks := servers.missing("kafka"):
        raise OperatorError(lacks)
    with tempfile.TemporaryDirectory(prefix="onetape-bench-kafka-") as folder:
        day = Path(folder) / "day.itch"
        write_file(day, seconds=seconds, messages_per_s=messages_per_s)
        expected = _plain(day)
        broker = servers.start("kafka")
        try:
            fast = throughput(broker.address, day, Path(folder), rounds)
            soon = latency(broker.address, day, Path(folder), rate, seconds)
        finally:
            broker.stop()
    answers = [fast.pop("digests"), soon.pop("digests")]
    return {"answer_ok": all(one == expected for one in answers), **fast, "latency": soon}


def throughput(address: str, day: Path, folder: Path, rounds: int = 3) -> dict[str, Any]:
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
            Topics(to, topic, out, transaction_s=TRANSACTION_S),
            progress=Progress(quiet=True),
        )
        whole_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        if n == 0 or facts["elapsed_s"] < best["elapsed_s"]:
            best = facts | {"whole_s": whole_s, "cpu_s": cpu_s, "out": out}
    answer = Answer(market_watch())
    for block, _ in _read(address, best["out"], committed=True):
        answer.take(block)
    return {
        "events": best["messages"],
        "events_per_s": round(best["messages"] / best["elapsed_s"]),
        "cpu_ns_per_event": round(best["cpu_s"] / best["messages"] * 1e9, 1),
        "rows": sum(best["rows"].values()),
        "transactions": best["transactions"],
        "bytes_in_per_event": round(put["bytes"] / put["events"], 2),
        "published_per_s": round(put["events"] / put["elapsed_s"]),
        "digests": answer.digests if answer.is_complete else {},
    }


def latency(
    address: str, day: Path, folder: Path, rate: int, seconds: float, events: int = EVENTS
) -> dict[str, Any]:
    """From the sending of a block to the arrival of its rows, at so many events a second."""
    topic = f"bench-{time.time_ns()}"
    out = f"{topic}-rows"
    at = ["--kafka", address, "--topic", topic]
    source = ["--file", str(day), "--date", str(TRADING_DATE), "--events", str(events)]
    transaction = ["--transaction", str(SOON_S * 1000)]
    node = [*at, "--topic-out", out, "--tape", str(folder / out), *transaction]
    came: dict[bool, list[tuple[bytes, int]]] = {True: [], False: []}

    def read(committed: bool) -> None:
        came[committed] += _read(address, out, committed=committed)

    given = inputs_of(market_watch(), day, TRADING_DATE)
    first = islice(blocks_of(market_watch(), given, events=events), 1)
    publish(first, settings(address), topic, 1)  # the manifest: the node can begin
    with _command("run", *node, "--json"):
        _await(folder / out / "live.json")
        readers = [threading.Thread(target=read, args=(one,), daemon=True) for one in came]
        for reader in readers:
            reader.start()
        with _command("publish", *at, *source, "--rate", str(rate)):
            for reader in readers:
                reader.join(WITHIN_S + seconds)
    answer, figures = Answer(market_watch()), {}
    for block, _ in came[True]:
        answer.take(block)
    for committed, blocks in came.items():
        told = [(read_header(block), now_ns) for block, now_ns in blocks]
        # The first blocks meet a node that is cold.
        late_ns = [now_ns - one.ts_made_ns for one, now_ns in told if one.kind != END]
        late_ns = late_ns[len(late_ns) // 5 :] or [0]
        word = "committed" if committed else "any"
        for percent in (50, 99):
            figures[f"{word}_ms_p{percent}"] = round(
                float(np.percentile(late_ns, percent)) / 1e6, 2
            )
    return {
        "rate": rate,
        "block_events": events,
        **figures,
        "digests": answer.digests if answer.is_complete else {},
    }


def _await(path: Path) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not path.exists():
        time.sleep(0.05)
        assert time.monotonic() < end_s, f"{path} was not made"


def _read(address: str, topic: str, *, committed: bool) -> list[tuple[bytes, int]]:
    """(block, when it came) until the END."""
    from onetape.connect.kafka.topics import Admin

    to, found, end_s = settings(address), [], time.monotonic() + WITHIN_S
    while not Admin(to).partitions(topic):
        time.sleep(0.05)
        assert time.monotonic() < end_s, f"{topic} was not made"
    with Subscriber(to, topic, read_committed=committed) as incoming:
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
