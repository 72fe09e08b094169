"""From a datagram's due time to its alert: through the real node, and through a bare echo.

The three processes are in `wire_ends`, what is sent in `wire_flow`. Slices of node and echo take
turns in one run, on the same processor, with the same datagrams; who has no turn is stopped. Every
alert that the rule demands must come back once, or be among messages that are counted as lost.

    wire     from the time a message was due to the arrival of its alert, at the generator
    echo     the same with the echo in the node's place
    service  one datagram in the node: parsed, book, windows, rule, rows sent
    late     how late the generator was, which is part of `wire` and `echo`
    hiccup   how much a thread oversleeps here: what the machine adds to anything, now and then

A percentile is the median of the slices' percentiles, so one disturbed slice does not decide;
p99.9 and the longest are of all slices together.

others_cpu says how much of a processor was used by what is not the bench: near 0, or the figures
are of a machine that was busy.

onetape bench wire [--rate N] [--wait spin|yield|sleep] [--seconds S] [--commit-every MS]
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from bench import wire_ends
from bench.wire_flow import Load

from onetape.compiled.counts import new_counts, percentile_ns
from onetape.records import OperatorError
from onetape.runtimes.edge.hiccup import HiccupMeter

RATES = (1_000, 10_000, 100_000, 500_000)  # messages a second
MAIN_RATE = 100_000
COMMIT_EVERY_NS = 20_000_000  # with two processors, the journal's is the generator's
HICCUP_SLEEP_NS = 4_000_000  # often enough, and it takes no more than half a percent of a core
START_S = 120.0  # compiling included
GRACE_NS = 500_000_000  # how long answers are waited for after the last datagram


class Stage:
    """Generator and node, and the echo if wanted, ready for slices. A context manager.

    profiles   of the slices, see `wire_flow.make`
    """

    def __init__(
        self,
        load: Load,
        profiles: Any,
        *,
        wait: str = "spin",
        commit_every_ns: int = COMMIT_EVERY_NS,
        has_echo: bool = True,
        folder: str | None = None,
    ) -> None:
        self.load, self.profiles, self.has_echo = load, profiles, has_echo
        self.wait, self.commit_every_ns = wait, commit_every_ns
        self.folder = Path(tempfile.mkdtemp(prefix="wire-bench-", dir=folder))
        # So that no day ends during the run; the venue's midnight is what we say it is.
        self.midnight_ns = (int(time.time()) - 3600) * 10**9

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            self._stack = stack
            cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
            here, there = cpus[:2] if len(cpus) > 1 else (None, None)
            self._pipes: dict[str, Any] = {}
            self._pids: dict[str, int] = {}
            day = self.midnight_ns
            self._start("generator", wire_ends.generator, self.load, self.profiles, day, here)
            backs, answers = self._hear("generator")
            tape = self.folder / "tape"
            self.facts: dict[str, Any] = {}
            self.sent = 0  # datagrams
            self._start(
                "node", wire_ends.node, backs["node"], tape, self.wait, self.commit_every_ns, day,
                there, here,
            )  # fmt: skip
            address, self.writer = self._hear("node")
            self.addresses = {"node": address}
            if self.has_echo:
                self._start("echo", wire_ends.echo, backs["echo"], answers, self.wait, day, there)
                self.addresses["echo"] = self._hear("echo")
                os.kill(self._pids["echo"], signal.SIGSTOP)
            self.run_slice("node", 0)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *why: Any) -> None:
        self._stack.__exit__(*why)

    def run_slice(self, who: str, n: int, grace_ns: int = GRACE_NS) -> dict[str, Any]:
        """Send slice n, or MORE, to `who`, the other stopped; what the generator saw."""
        for other, pid in self._pids.items():
            if other != "generator":
                os.kill(pid, signal.SIGCONT if other == who else signal.SIGSTOP)
        self._pipes["generator"].send((who, self.addresses[who], n, grace_ns))
        seen: dict[str, Any] = self._hear("generator")
        if who == "node":
            self.sent += seen["packets"]
            self.look()
        return seen

    def look(self) -> dict[str, Any]:
        """The node's counters, when it has run all that was sent."""
        self._pipes["node"].send(self.sent)
        self.facts = self._hear("node")
        return self.facts

    def others_ns(self) -> int:
        """Processor time so far of everything on this machine but the bench."""
        return wire_ends.others_ns([os.getpid(), *self._pids.values()])

    def since(self, before: dict[str, Any]) -> dict[str, Any]:
        """What the node's counters have grown by."""
        return {name: self.facts[name] - before[name] for name in before}

    def _start(self, name: str, run: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=run, args=(theirs, *arguments), daemon=True)
        process.start()
        theirs.close()
        assert process.pid is not None
        self._pipes[name], self._pids[name] = ours, process.pid
        self._stack.callback(self._end, name, process)

    def _end(self, name: str, process: Any) -> None:
        if name != "echo" and process.is_alive():
            os.kill(process.pid, signal.SIGCONT)
            with suppress(BrokenPipeError):  # it has just ended by itself
                self._pipes[name].send(None)
            process.join(10)
        process.kill()
        process.join()

    def _hear(self, name: str) -> Any:
        if not self._pipes[name].poll(START_S):
            raise OperatorError(f"the {name} of the bench has said nothing for {START_S:g} s")
        try:
            return self._pipes[name].recv()
        except EOFError:
            raise OperatorError(f"the {name} of the bench ended early; see above") from None


def run(
    *,
    rates: tuple[int, ...] = RATES,
    wait: str = "spin",
    seconds: float = 1.0,
    rounds: int = 5,
    commit_every_ns: int = COMMIT_EVERY_NS,
) -> dict[str, Any]:
    """All rates; the figures of MAIN_RATE, or of the last one, also by themselves."""
    table = [measure(rate, wait, seconds, rounds, commit_every_ns) for rate in rates]
    main = next((row for row in table if row["offered_per_s"] == MAIN_RATE), table[-1])
    names = ["offered_per_s", "service_ns_p99"]
    names += [f"{who}_ns_p{p}" for who in ("wire", "echo") for p in (50, 90, 99)]
    return {
        "answer_ok": all(row["answer_ok"] for row in table),
        **{name: main[name] for name in names},
        "wait": wait,
        "commit_every_ms": commit_every_ns / 1e6,
        "rates": table,
    }


def measure(
    rate: int, wait: str, seconds: float, rounds: int, commit_every_ns: int
) -> dict[str, Any]:
    """One rate: `rounds` slices of `seconds` each for the node, and as many for the echo."""
    load = Load.of(rate)
    seen: dict[str, list[Any]] = {"node": [], "echo": []}
    hiccups, took_s, others_ns = new_counts(), 0.0, 0
    profiles = [[(seconds, 1.0)]] * rounds
    with Stage(load, profiles, wait=wait, commit_every_ns=commit_every_ns) as stage:
        before = stage.facts
        for n in range(1, rounds + 1):
            began_s, others_ns = time.monotonic(), others_ns - stage.others_ns()
            with HiccupMeter(HICCUP_SLEEP_NS) as meter:
                seen["node"].append(stage.run_slice("node", n))
            took_s += time.monotonic() - began_s
            others_ns += stage.others_ns()
            hiccups += meter.counts
            seen["echo"].append(stage.run_slice("echo", n))
        node = stage.since(before)
    return {
        "offered_per_s": rate,
        "packet_messages": load.packet_messages,
        **accounts(load, node, seen["node"]),
        **latencies("wire", seen["node"]),
        **latencies("echo", seen["echo"]),
        **percentiles("service", node["service"], 50, 90, 99),
        **percentiles("to_sink", node["to_sink"], 50, 99),
        **percentiles("late", sum(one["late"] for one in seen["node"]), 50, 90, 99, 99.9),
        **percentiles("hiccup", hiccups, 50, 99, 99.9, 100),
        "batch_packets": round(node["packets"] / max(node["batches"], 1), 2),
        "commits_per_s": round(node["commits"] / took_s),
        "node_cpu": round(node["cpu_ns"] / 1e9 / took_s, 3),
        "loop_cpu": round(node["loop_ns"] / 1e9 / took_s, 3),
        "writer_cpu": round(node["writer_ns"] / 1e9 / took_s, 3),
        "loop_pushed_out": round(node["loop_ready_ns"] / 1e9 / took_s, 4),
        "others_cpu": round(others_ns / 1e9 / took_s, 3),
        "generator_cpu": round(sum(one["cpu_s"] for one in seen["node"]) / took_s, 3),
    }


def accounts(load: Load, node: dict[str, Any], seen: list[Any]) -> dict[str, Any]:
    """answer_ok: every planted alert came, and no other; where messages were lost, as many were
    counted: by the kernel that dropped them, the generator that could not send them, or the feed,
    to which they came after they had been given up, too early, or with a number not yet believed.
    """
    alerts = sum(len(one["planted_ns"]) for one in seen)
    lost = sum(one["packets"] for one in seen) * load.packet_messages - node["messages"]
    dropped = node["kernel_drops"] + sum(one["unsent"] for one in seen)
    by_feed = node["after_loss"] + node["not_held"] + node["far"] * load.packet_messages
    came = all(np.array_equal(np.sort(one["due_ns"]), one["planted_ns"]) for one in seen)
    is_all = came and node["opened"] == alerts
    return {
        "answer_ok": bool(
            lost == dropped * load.packet_messages + by_feed and (is_all or lost > 0)
        ),
        "alerts": alerts,
        "lost_alerts": alerts - sum(len(one["due_ns"]) for one in seen),
        "lost_messages": lost,
        "dropped_packets": dropped,
        "left_out_by_feed": by_feed,
    }


def latencies(name: str, seen: list[Any]) -> dict[str, int]:
    """Medians over the slices; the far tail of all together. Slices without answers say 0."""
    took = [one["took_ns"] for one in seen if len(one["took_ns"])] or [np.zeros(1)]
    every = np.concatenate(took)
    figures = {
        f"{name}_ns_p{p}": int(np.median([np.percentile(one, p) for one in took]))
        for p in (50, 90, 99)
    }
    return figures | {
        f"{name}_ns_p99.9": int(np.percentile(every, 99.9)),
        f"{name}_ns_max": int(every.max()),
    }


def percentiles(name: str, counts: Any, *percents: float) -> dict[str, int]:
    return {f"{name}_ns_p{p:g}": percentile_ns(counts, p) for p in percents}
