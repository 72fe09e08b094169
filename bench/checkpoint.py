"""Checkpoints beside a run: what they cost, what the hot loop notices, how long a restore takes.

A keyed operator holds `mb` megabytes, in records of 1 KiB. All keys are made, then events come at a
steady pace, to a twentieth of the keys that lie together (young orders, say), in frames of 100. The
loop runs alone, then beside a follower that catches up and saves. What is told is the service of a
frame, inside the loop: alone; while the follower runs all of the tape and saves all of its state,
as it does once, at a start; and while it saves what has changed, as ever after.

The state that is restored is compared with the follower's, byte for byte.

python -m bench.checkpoint [MB ...]
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import onetape as ot
from onetape.compiled.counts import percentile_ns
from onetape.engine import state
from onetape.engine.digest import digests_of
from onetape.engine.engine import Engine
from onetape.native.threads import stand_back
from onetape.runtimes.edge.follower import Follower, newest, put_back
from onetape.runtimes.edge.node import EdgeNode

SIZES_MB = (16, 256, 1024)
ROW_BYTES = 1024
FRAME_EVENTS, FRAMES_PER_S = 100, 1000
HOT = 20  # one of so many keys is in use
REST_S = 0.5  # between checkpoints; a run has 30


@ot.record
class Event:
    ts_event_ns: ot.i64
    key: ot.i64


@ot.operator(key="key")
class Held:
    count: ot.i64 = 0
    last_ns: ot.Array[ot.i64, 127] = 0

    def on_event(self, e: Event) -> Event | None:
        if self.count == 0:
            for i in range(127):  # no two keys hold the same
                self.last_ns[i] = e.key * 127 + i
        self.last_ns[self.count % 127] = e.ts_event_ns
        self.count += 1
        return None


def run(sizes: tuple[int, ...] = SIZES_MB, seconds: float = 10.0) -> dict[str, Any]:
    """A column of figures for each size."""
    found = [measure(mb, seconds) for mb in sizes]
    return {"answer_ok": all(one.pop("answer_ok") for one in found), "sizes": found}


def measure(mb: int, seconds: float) -> dict[str, Any]:
    keys = mb * (1 << 20) // ROW_BYTES
    pipeline = ot.Pipeline(out=Held(ot.source(Event), capacity={"keys": keys}))
    with tempfile.TemporaryDirectory(prefix="checkpoint-bench-") as folder:
        tape = Path(folder) / "tape"
        with EdgeNode(pipeline, tape, wait="sleep", wait_ns=20_000) as node:
            pace = _Pace(node, keys)
            pace.fill()
            saver = _Saver(node, Follower(node.plan, tape, node.manifest["driver"]), seconds)
            saver.start()
            pace.run(saver.is_alive)
            list(node.stop())
        if saver.fault is not None:
            raise saver.fault
        restored = _restore(node.plan, tape, saver.follower)
    return {"state_mb": mb, **saver.figures, **restored}


class _Pace:
    """Pushes frames of events into the node, at a steady pace or as fast as it takes them."""

    def __init__(self, node: EdgeNode, keys: int) -> None:
        self.node, self.keys, self.ts_ns = node, keys, 1
        self.random = np.random.default_rng(1)

    def fill(self) -> None:
        """Every key once."""
        for begin in range(0, self.keys, 4096):
            self._push(np.arange(begin, min(begin + 4096, self.keys)))
        list(self.node.drain_until_idle())

    def run(self, goes_on: Any) -> None:
        """Push while `goes_on()`."""
        hot, began_s, frames = max(self.keys // HOT, 1), time.perf_counter(), 0
        while goes_on():
            due = int((time.perf_counter() - began_s) * FRAMES_PER_S)
            for _ in range(due - frames):
                self._push(self.keys - 1 - self.random.integers(0, hot, FRAME_EVENTS))
            frames = due
            time.sleep(0.001)
        list(self.node.drain_until_idle())

    def _push(self, keys: Any) -> None:
        block = np.zeros(len(keys), Event.dtype)
        block["ts_event_ns"], block["key"] = self.ts_ns, keys
        self.ts_ns += 1
        while not self.node.push(block.tobytes()):
            list(self.node.drain())


class _Saver(threading.Thread):
    """A follower's work, measured, and what the loop did meanwhile."""

    def __init__(self, node: EdgeNode, follower: Follower, seconds: float) -> None:
        super().__init__(daemon=True)
        self.node, self.follower, self.seconds = node, follower, seconds
        self.figures: dict[str, Any] = {}
        self.fault: Exception | None = None

    def run(self) -> None:
        stand_back()
        try:
            with self._loop_meanwhile("alone"):
                time.sleep(self.seconds)
            with self._loop_meanwhile("whole"):
                self.follower.catch_up()
                self._save("whole")
                self.follower.catch_up()
                self.follower.save()  # the other family's
            with self._loop_meanwhile("changed"):
                end_s = time.perf_counter() + self.seconds
                while time.perf_counter() < end_s:
                    time.sleep(REST_S)
                    self.follower.catch_up()
                    self._save("changed")
        except Exception as why:
            self.fault = why

    def _save(self, which: str) -> None:
        before, began_s, cpu_s = self.follower.saved_bytes, time.perf_counter(), time.thread_time()
        self.follower.save()
        self.figures[f"{which}_s"] = round(time.perf_counter() - began_s, 3)
        self.figures[f"{which}_cpu_s"] = round(time.thread_time() - cpu_s, 3)
        self.figures[f"{which}_mb"] = round((self.follower.saved_bytes - before) / 1e6, 1)

    @contextmanager
    def _loop_meanwhile(self, phase: str) -> Iterator[None]:
        before = self.node.around.service.copy()
        yield
        made = self.node.around.service - before
        for name, percent in (("p50", 50), ("p99", 99), ("p999", 99.9), ("max", 100)):
            self.figures[f"{phase}_us_{name}"] = percentile_ns(made, percent) / 1000


def _restore(plan: Any, tape: Path, follower: Follower) -> dict[str, Any]:
    """From the folder to an engine that is ready; the compiled driver is there."""
    engine, digests = Engine(plan), digests_of(plan)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    found, damaged = newest(tape, follower.driver)
    assert found is not None, damaged
    read_s = time.perf_counter() - began_s
    put_back(found, engine, digests)
    ready_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    theirs = state.save(follower.engine)
    same = all(np.array_equal(a, theirs[n]) for n, a in state.save(engine).items())
    is_newest = found.offset == follower.saved_offset
    return {
        "answer_ok": same and is_newest and not damaged,
        "read_s": round(read_s, 3),
        "restore_s": round(ready_s, 3),
        "restore_cpu_s": round(cpu_s, 3),
    }


if __name__ == "__main__":
    print(json.dumps(run(tuple(map(int, sys.argv[1:])) or SIZES_MB), indent=1))
