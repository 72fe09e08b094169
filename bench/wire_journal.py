"""What keeping the tape costs: the same node with its journal on a disk, in memory, and without.

Frames go in as fast as the node takes them; the three take turns in one run. "none" has a writer
that says all is durable and writes nothing, so the difference is all that journalling takes:
checksums, writing, syncing, and the processor that another thread does not get meanwhile.
"""

import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bench.wire import COMMIT_EVERY_NS
from bench.wire_flow import Load, make

from onetape.compiled.atomics import load_acquire, store_release
from onetape.compiled.frame import DATA
from onetape.compiled.kernel import kernel
from onetape.native.clock import sleep_ns
from onetape.runtimes.edge.node import EdgeNode
from onetape.runtimes.standard import market_watch
from onetape.tape import writer
from onetape.tape.ring import DURABLE, DURABLE_OFFSET, HEAD, OFFSET, STOP, WRITTEN, append

MEMORY = Path("/dev/shm")
NAP_NS = 20_000


def run(messages: int = 3_000_000, rounds: int = 5) -> dict[str, Any]:
    """Messages a second; cost: the median over the rounds of 1 - disk / none."""
    flow = make(load := Load.of(100_000), [[(messages / load.rate, 1.0)]])
    expected = len(flow.due_ns) * load.packet_messages
    ways = {"disk": None, "memory": MEMORY if MEMORY.is_dir() else None, "none": None}
    per_s: dict[str, list[float]] = {way: [] for way in ways}
    answer_ok = True
    for n in range(1 + rounds):  # the first warms up
        for way, folder in ways.items():
            with patch.object(writer, "write_loop", discard if way == "none" else WRITE_LOOP):
                taken, took_s = _saturate(flow, folder)
            answer_ok = answer_ok and taken == expected
            if n > 0:
                per_s[way].append(taken / took_s)
    return {
        "answer_ok": answer_ok,
        **{f"{way}_messages_per_s": round(np.median(every)) for way, every in per_s.items()},
        **{f"cost_{way}": _cost(per_s, way) for way in ("disk", "memory")},
    }


def _cost(per_s: dict[str, list[float]], way: str) -> float:
    return round(1 - float(np.median(np.divide(per_s[way], per_s["none"]))), 3)


def _saturate(flow: Any, folder: Path | None) -> tuple[int, float]:
    """(messages the node took, seconds until the last of them was run)."""
    where = tempfile.mkdtemp(prefix="wire-bench-", dir=folder)
    try:
        with EdgeNode(
            market_watch(),
            Path(where) / "tape",
            framing={"itch": "moldudp64"},
            wait="yield",
            commit_every_ns=COMMIT_EVERY_NS,
        ) as node:
            arguments = (node.inbox, node.inbox_control, flow.data, flow.begin)
            feed_frames(*arguments, 0)  # compiles
            feeder = threading.Thread(target=feed_frames, args=(*arguments, len(flow.due_ns)))
            began_s = time.perf_counter()
            feeder.start()
            while feeder.is_alive() or not node.is_idle():
                for _ in node.drain():
                    pass
                time.sleep(0.002)
            took_s = time.perf_counter() - began_s
            return int(node.engine.feed_state("itch")["messages"]), took_s
    finally:
        shutil.rmtree(where)


@kernel
def feed_frames(inbox, control, data, begin, count):
    """Put `count` datagrams into a node's inbox, waiting where it is full."""
    for n in range(count):
        while append(inbox, control, 0, DATA, 0, data, begin[n], begin[n + 1] - begin[n]) < 0:
            sleep_ns(NAP_NS)


@kernel
def discard(ring, control, files, job, mark, latencies):
    """In the place of the journal's writer: everything is durable as soon as it is seen."""
    while True:
        stop = load_acquire(control, STOP)
        offset = load_acquire(control, OFFSET)
        head = load_acquire(control, HEAD)
        if head == control[WRITTEN]:
            if stop != 0:
                return
            sleep_ns(NAP_NS)
            continue
        store_release(control, WRITTEN, head)
        store_release(control, DURABLE_OFFSET, offset)
        store_release(control, DURABLE, head)


WRITE_LOOP = writer.write_loop
