"""The wire when something is against it: a slow feed, a burst, a disk that hangs, nothing at all.

    fix      5 000 messages a second: are alerts within 2 ms at p99.9? If not, were the generator
             and the machine as late?
    burst    50 000 messages a second, ten times that for one second: what was lost, was it
             counted, and how soon is latency what it was before?
    stall    every fdatasync of the journal returns 200 ms late, in every other slice: what does
             that do to alerts? (strace, on the journal's thread alone)
    idle     the processor time of a node that sleeps
    journal  what keeping the tape costs, see `wire_journal`

onetape bench wire_faults
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from bench import wire_journal
from bench.wire import GRACE_NS, HICCUP_SLEEP_NS, MAIN_RATE, Stage, accounts, latencies, percentiles
from bench.wire_ends import ran_ns
from bench.wire_flow import Load

from onetape.records import OperatorError
from onetape.runtimes.edge.hiccup import HiccupMeter

WITHIN_NS = 2_000_000
SLICE_S = 0.25
STALL_US = 200_000


def run(quick: bool = False) -> dict[str, Any]:
    results = {
        "fix": fix(2.0 if quick else 20.0),
        "burst": burst(),
        "stall": stall(2 if quick else 5),
        "idle": idle(2.0 if quick else 10.0),
        "journal": wire_journal.run(1_000_000 if quick else 3_000_000, 2 if quick else 5),
    }
    answer_ok = all(result["answer_ok"] for result in results.values())
    return {"answer_ok": answer_ok, **results}


def fix(seconds: float = 20.0, rate: int = 5_000, wait: str = "spin") -> dict[str, Any]:
    load = Load.of(rate)
    with Stage(load, [[(seconds, 1.0)]], wait=wait, has_echo=False) as stage:
        before = stage.facts
        with HiccupMeter(HICCUP_SLEEP_NS) as meter:
            seen = stage.run_slice("node", 1)
        node = stage.since(before)
    figures = latencies("wire", [seen])
    return {
        **accounts(load, node, [seen]),
        "offered_per_s": rate,
        **figures,
        **percentiles("late", seen["late"], 99.9, 100),
        **percentiles("hiccup", meter.counts, 99, 99.9, 100),
        "over_2ms": int((seen["took_ns"] > WITHIN_NS).sum()),
        "is_met": figures["wire_ns_p99.9"] <= WITHIN_NS,
    }


def burst(rate: int = 50_000, times: float = 10.0, wait: str = "spin") -> dict[str, Any]:
    """back_after_s: from the end of the burst until a slice's median is as it was before."""
    load = Load.of(rate)
    profile = [(2.0, 1.0), (1.0, times), (3.0, 1.0)]
    with Stage(load, [profile], wait=wait, has_echo=False) as stage:
        before = stage.facts
        seen = stage.run_slice("node", 1, grace_ns=4 * GRACE_NS)
        node = stage.since(before)
    slice_of = (seen["due_ns"] / 1e9 // SLICE_S).astype(int)
    took_ns = [seen["took_ns"][slice_of == n] for n in range(int(6 / SLICE_S))]
    p50_ns = [int(np.median(ns)) if len(ns) else 0 for ns in took_ns]
    calm, over = int(2 / SLICE_S), int(3 / SLICE_S)
    calm_ns = int(np.median(p50_ns[:calm]))
    after = [0 < ns <= 2 * calm_ns for ns in p50_ns[over:]]
    return {
        **accounts(load, node, [seen]),
        "offered_per_s": [rate, int(rate * times)],
        "gap_messages": node["lost"],
        "wire_ns_p50_before": calm_ns,
        "wire_ns_p50_burst": int(np.median(p50_ns[calm:over])),
        "wire_ns_p50_after": int(np.median(p50_ns[over:])),
        "back_after_s": SLICE_S * after.index(True) if True in after else None,
        **percentiles("late", seen["late"], 50, 99),
    }


def stall(rounds: int = 5, seconds: float = 1.0, wait: str = "spin") -> dict[str, Any]:
    """p90_ratio: of the stalled slices' median p90 to the others'."""
    if shutil.which("strace") is None:
        return {"answer_ok": True, "skipped": "no strace"}
    load = Load.of(MAIN_RATE)
    seen: dict[str, list[Any]] = {"calm": [], "stalled": []}
    commits = dict.fromkeys(seen, 0)
    with Stage(load, [[(seconds, 1.0)]] * 2 * rounds, wait=wait, has_echo=False) as stage:
        first = stage.facts
        for n in range(2 * rounds):
            how, before = ("calm", "stalled")[n % 2], stage.facts["commits"]
            with _stalled(stage.writer) if how == "stalled" else nullcontext():
                seen[how].append(stage.run_slice("node", 1 + n))
            commits[how] += stage.facts["commits"] - before
        node = stage.since(first)
    figures = {how: latencies("wire", seen[how]) for how in seen}
    counted = accounts(load, node, [one for how in seen for one in seen[how]])
    return counted | {
        "answer_ok": counted["answer_ok"] and commits["stalled"] < commits["calm"] / 2,
        "commits": commits,
        **{f"{how}_ns_p{p}": figures[how][f"wire_ns_p{p}"] for how in seen for p in (50, 90, 99)},
        "p90_ratio": round(figures["stalled"]["wire_ns_p90"] / figures["calm"]["wire_ns_p90"], 3),
    }


@contextmanager
def _stalled(thread: int) -> Iterator[None]:
    """Make every fdatasync of one thread return STALL_US later. Other threads are not traced."""
    inject = f"inject=fdatasync:delay_exit={STALL_US}"
    command = ["strace", "-p", str(thread), "-e", "trace=fdatasync", "-e", inject]
    tracer = subprocess.Popen(
        [*command, "-o", "/dev/null"], stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    try:
        if "attached" not in said:
            raise OperatorError(f"strace cannot trace the journal's thread: {said.strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()


def idle(seconds: float = 10.0) -> dict[str, Any]:
    """Share of one processor that `onetape run` takes, all threads of it, when nothing comes."""
    with tempfile.TemporaryDirectory(prefix="wire-bench-") as folder:
        command = [sys.executable, "-m", "onetape.cli", "run", "standard", "--udp", "127.0.0.1:0"]
        node = subprocess.Popen(
            [*command, "--tape", f"{folder}/tape"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert node.stderr is not None
        said = next((line for line in node.stderr if line.startswith("listening")), "")
        time.sleep(1)
        before_ns = ran_ns(node.pid)
        time.sleep(seconds)
        took_ns = ran_ns(node.pid) - before_ns
        node.send_signal(signal.SIGINT)
        node.communicate()
    return {"answer_ok": said != "", "cpu_share": round(took_ns / 1e9 / seconds, 4)}
