"""What runs inside a Flink task, in Flink's environment: old NumPy, Numba, and code of ours.

A task's working copies live on the function's instance: after a restart, also one in place, Flink
makes a new instance, and each shard is restored from what Flink kept when its next block comes.
"""

import builtins
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# PyFlink's workers replace print by a bound method, and Numba looks print up in its module.
_home = sys.modules.get(getattr(builtins.print, "__module__", None) or "builtins")
if _home is not None and not hasattr(_home, "print"):
    _home.print = builtins.print  # type: ignore[attr-defined]

from pyflink.common import Types  # noqa: E402
from pyflink.datastream import KeyedProcessFunction, ProcessFunction  # noqa: E402
from pyflink.datastream.state import MapStateDescriptor  # noqa: E402

from onetape.codecs.block import read_header  # noqa: E402
from onetape.records import OnetapeError, OperatorError  # noqa: E402
from onetape.runtimes.code import Code  # noqa: E402
from onetape.runtimes.flink.blocks_file import BlocksFile  # noqa: E402
from onetape.runtimes.flink.kept import Kept  # noqa: E402
from onetape.runtimes.worker import Worker  # noqa: E402

KEPT = "kept"
COUNTED = ("events", "blocks", "rows", "folds")


class Turn(KeyedProcessFunction):
    """Blocks of the shards that this task has, one after the other, through their workers."""

    def __init__(self, code: str, codec: str, manifest: dict[str, Any] | None) -> None:
        self._text, self._codec, self._manifest = code, codec, manifest

    def open(self, runtime_context: Any) -> None:
        self._code = Code(**json.loads(self._text))
        self._pipeline = self._code.pipeline()
        self._shards: dict[int, Kept] = {}
        self._spare: Worker | None = None
        if self._manifest:
            self._spare = self._warm(self._manifest)
        # Pickled, because a state of plain byte arrays is converted byte by byte in thread mode.
        descriptor = MapStateDescriptor(KEPT, Types.LONG(), Types.PICKLED_BYTE_ARRAY())
        self._state = runtime_context.get_map_state(descriptor)
        group = runtime_context.get_metrics_group().add_group("onetape")
        self._counters = {n: group.counter(n) for n in COUNTED}
        # A gauge that calls into Python would do it on a thread of Flink's reporter.
        self._told = {n: group.distribution(n) for n in ("state_bytes", "turn_us")}

    def process_element(self, value: Any, ctx: Any) -> Iterator[bytes]:
        began_ns = time.perf_counter_ns()
        header = read_header(value)
        try:
            made = self._turn(header, value)
        except OnetapeError as why:
            first, last = header.first_sequence, header.last_sequence
            events = f", events {first} to {last}" if header.count else ""
            raise OperatorError(f"{header.place}{events}: {why}") from why
        self._counters["blocks"].inc(1)
        self._counters["events"].inc(header.count)
        self._told["turn_us"].update((time.perf_counter_ns() - began_ns) // 1000)
        yield from made

    def _turn(self, header: Any, block: bytes) -> list[bytes]:
        kept = self._shards.get(header.shard)
        if kept is None:
            worker, self._spare = self._spare or Worker(self._pipeline, codec=self._codec), None
            kept = self._shards[header.shard] = Kept(worker, self._state, self._code)
        folds = kept.folds
        made = kept.turn(block, self._state)
        if kept.folds > folds:
            self._counters["folds"].inc(1)
            self._told["state_bytes"].update(kept.size_bytes)
        self._counters["rows"].inc(sum(read_header(one).count for one in made))
        return made

    def _warm(self, manifest: dict[str, Any]) -> Worker:
        """Compile, or load what was compiled, before the first block."""
        worker = Worker(self._pipeline, codec=self._codec)
        worker.warm(manifest["framing"], manifest["shards"], manifest["by"])
        return worker


class FromFile(ProcessFunction):
    """The block of each number, from a file that this machine has."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, runtime_context: Any) -> None:
        self._blocks = BlocksFile(Path(self._path))

    def process_element(self, value: Any, ctx: Any) -> Iterator[bytes]:
        yield self._blocks[value]
