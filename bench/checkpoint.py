"""Checkpoints beside a run: what they cost, what the hot loop notices, how long a restore takes.

A keyed operator holds `mb` megabytes, in records of 1 KiB. All keys are made, then events come at a
steady pace, to a twentieth of the keys that lie together (young orders, say), in frames of 100. For
so many seconds the loop runs alone, then as long with a follower beside it that catches up and
saves, again and again, without a rest. `service` is the time of a frame inside the loop.

The state that is restored is compared with the follower's, byte for byte.

python -m bench.checkpoint [MB ...]
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import onetape as ot
from onetape.compiled.counts import percentile_ns
from onetape.engine import state
from onetape.engine.digest import digests_of
from onetape.engine.engine import Engine
from onetape.runtimes.course import Course
from onetape.runtimes.edge.follower import Follower, newest, put_back
from onetape.runtimes.edge.node import EdgeNode

SIZES_MB = (16, 256, 1024)
ROW_BYTES = 1024
FRAME_EVENTS, FRAMES_PER_S = 100, 1000
HOT = 20  # one of so many keys is in use
SAVES = 5  # the first two are whole: one of each family


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
            alone = pace.run(lambda since_s: since_s < seconds)
            saver = _Saver(Follower(Course(Engine(node.plan), None), tape))
            saver.start()
            beside = pace.run(lambda _: saver.is_alive())
            saver.join()
            list(node.stop())
        if saver.fault is not None:
            raise saver.fault
        restored = _restore(node.plan, tape, saver.follower)
    whole, changed = saver.saves[0], saver.saves[-1]
    return {
        "state_mb": mb,
        **{f"alone_{name}": value for name, value in alone.items()},
        **{f"beside_{name}": value for name, value in beside.items()},
        "whole_s": whole["s"],
        "whole_cpu_s": whole["cpu_s"],
        "whole_mb": whole["mb"],
        "changed_s": changed["s"],
        "changed_cpu_s": changed["cpu_s"],
        "changed_mb": changed["mb"],
        **restored,
    }


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

    def run(self, goes_on: Any) -> dict[str, float]:
        """Push while `goes_on(seconds since the begin)`; the loop's figures."""
        hot, began_s, frames = max(self.keys // HOT, 1), time.perf_counter(), 0
        counts = self.node.around.service
        before = counts.copy()
        while goes_on(time.perf_counter() - began_s):
            due = int((time.perf_counter() - began_s) * FRAMES_PER_S)
            for _ in range(due - frames):
                self._push(self.keys - 1 - self.random.integers(0, hot, FRAME_EVENTS))
            frames = due
            time.sleep(0.001)
        list(self.node.drain_until_idle())
        made = counts - before
        return {
            "us_p50": percentile_ns(made, 50) / 1000,
            "us_p99": percentile_ns(made, 99) / 1000,
            "us_p999": percentile_ns(made, 99.9) / 1000,
            "us_max": percentile_ns(made, 100) / 1000,
        }

    def _push(self, keys: Any) -> None:
        block = np.zeros(len(keys), Event.dtype)
        block["ts_event_ns"], block["key"] = self.ts_ns, keys
        self.ts_ns += 1
        while not self.node.push(block.tobytes()):
            list(self.node.drain())


class _Saver(threading.Thread):
    """A follower's work, without its rests, measured."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(daemon=True)
        self.follower, self.saves = follower, list[dict[str, float]]()
        self.fault: Exception | None = None

    def run(self) -> None:
        try:
            for _ in range(SAVES):
                self.follower.catch_up()
                before = self.follower.saved_bytes
                began_s, cpu_s = time.perf_counter(), time.thread_time()
                self.follower.save()
                made = (self.follower.saved_bytes - before) / 1e6
                took = {"s": time.perf_counter() - began_s, "cpu_s": time.thread_time() - cpu_s}
                self.saves.append({name: round(v, 3) for name, v in took.items()} | {"mb": made})
        except Exception as why:
            self.fault = why


def _restore(plan: Any, tape: Path, follower: Follower) -> dict[str, Any]:
    """From the folder to an engine that is ready; the compiled driver is there."""
    course, digests = Course(Engine(plan), None), digests_of(plan)
    began_s = time.perf_counter()
    found, damaged = newest(tape, [plan.driver])
    assert found is not None, damaged
    read_s = time.perf_counter() - began_s
    course.restore(found)
    put_back(found, digests, plan)
    ready_s = time.perf_counter() - began_s
    theirs = state.save(follower.engine)
    same = all(np.array_equal(a, theirs[n]) for n, a in state.save(course.engine).items())
    is_newest = found.offset == follower.saved_offset
    return {
        "answer_ok": same and is_newest and not damaged,
        "read_s": round(read_s, 3),
        "restore_s": round(ready_s, 3),
    }


if __name__ == "__main__":
    print(json.dumps(run(tuple(map(int, sys.argv[1:])) or SIZES_MB), indent=1))
